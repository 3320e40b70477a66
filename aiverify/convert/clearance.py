"""What the rest of a run says before twins get their names: digests, what goes beside them, or that they may not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiverify.convert.plan import ConversionError, SourceChangedError
from aiverify.convert.writer import open_regular

_MAX_COMPANION = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A small file that goes beside the twins as it is: its POSIX path, where it lies, and the SHA-256 it must have."""

    path: str
    location: Path
    sha256: str

    def content(self) -> Iterator[bytes]:
        """Its bytes. Raises SourceChangedError if they are not the ones that were examined, and ConversionError."""
        with open_regular(self.location, follow=True) as file:
            size = os.fstat(file).st_size if file is not None else _MAX_COMPANION + 1
            if file is None or size > _MAX_COMPANION:
                raise ConversionError(
                    f"{self.path} is too large to be copied beside the twins", hint="Leave it out with --exclude."
                )
            with os.fdopen(os.dup(file), "rb") as opened:
                content = opened.read(size + 1)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise SourceChangedError(f"{self.path} was changed since it was examined")
        yield content


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """What is known when nothing more can speak against the twins.

    ``sha256`` of the checkpoints by path, as far as they were hashed. ``companions`` are copied as they are.
    ``salvaged``: the source is blocked.
    """

    sha256: Mapping[str, str] = field(default_factory=dict)
    companions: Sequence[Companion] = ()
    salvaged: bool = False


class WithheldError(ConversionError):
    """The twins may not be written. Nothing was."""
