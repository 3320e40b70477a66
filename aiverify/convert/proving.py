"""How the check of a receipt fails, and how it opens files that somebody else wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aiverify.convert.plan import ConversionError


class ReceiptError(ConversionError):
    """The receipt, or a file that it is about, cannot be read: nothing was proved and nothing was disproved."""


class DisprovedError(ReceiptError):
    """A file is not what the receipt says."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file ``path``; what is no regular file is not waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        yield file
