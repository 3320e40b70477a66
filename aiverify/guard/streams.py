"""Loads from an open file or a buffer: the bytes that are left in it are judged, and a copy of them is loaded."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeAlias

from aiverify.guard.deciding import Decider
from aiverify.guard.interface import Admission, Twin
from aiverify.guard.loading import examining, loading

Target: TypeAlias = "str | bytes | os.PathLike[Any] | IO[bytes]"


def is_path(target: object) -> bool:
    """Whether ``target`` names a file."""
    return isinstance(target, (str, bytes, os.PathLike))


def as_path(target: Any) -> Path:
    """The path that ``target`` names."""
    return Path(os.fsdecode(target))


@contextlib.contextmanager
def admitted(
    gate: Decider, target: Any, suffix: str = "", suits: Callable[[Twin], bool] | None = None
) -> Iterator[tuple[Admission, Any]]:
    """Inside, ``target`` is being loaded: its admission, and what a loader is to open instead of it.

    That is of ``target`` itself, or of a twin that ``suits``. It is a path for a path, and an open file for
    anything that can be read. How far the loader has read that file is how far ``target`` has been read afterwards,
    where it can be told.
    """
    if is_path(target):
        admission = gate.admit(os.fsdecode(target), suits)
        with loading(admission):
            yield admission, str(admission.sealed)
        return
    with _copy(target, suffix) as (copy, start):
        source = _source(target)
        admission = gate.admit(str(copy), suits, source)
        with examining():
            file = admission.sealed.open("rb")
        with file, loading(replace(admission, file=source)):
            yield admission, file
            with contextlib.suppress(Exception):
                target.seek(start + file.tell())


@contextlib.contextmanager
def _copy(target: Any, suffix: str) -> Iterator[tuple[Path, int]]:
    """What is left in ``target``, as a file, and where it begins. It has the name of the file that was opened.

    Whatever ``target`` does to be read is under the guard like anything else.
    """
    name = getattr(target, "name", None)
    called = Path(name).name if isinstance(name, str) and name else f"stream{suffix}"
    start = 0
    with contextlib.suppress(Exception):
        start = target.tell()
    with tempfile.TemporaryDirectory(prefix="aiverify-") as folder:
        copy = Path(folder) / called
        with copy.open("wb") as file:
            shutil.copyfileobj(target, file, 1 << 20)
        yield copy, start


def _source(target: Any) -> str:
    """What messages name: the file that was opened, or bytes that are in no file."""
    name = getattr(target, "name", None)
    return name if isinstance(name, str) and Path(name).is_file() else "a stream"
