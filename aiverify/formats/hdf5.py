"""HDF5, the older home of Keras models: what leads out of the file, and what the configuration makes a loader do.

The file is described by the HDF5 library itself, in a child process with limits (``hdf5_child``): a crash there is a
finding here. h5py is an extra; without it, the file is said to be unexamined.

Source: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (superblock); keras ``legacy_h5_format.py``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from aiverify.finding import Severity, Unexamined
from aiverify.formats.complaints import Complaints
from aiverify.formats.content import Allowance, Content
from aiverify.formats.interface import Examination, Format
from aiverify.formats.keras import judge_configuration
from aiverify.formats.safetensors import shown
from aiverify.rules import finding

SECONDS = 30
MEMORY = 2 << 30

_BOOT = """
import sys
seconds, memory, sys.path[:] = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
from aiverify.formats.hdf5_child import main
main(seconds, memory)
"""


def examine_hdf5(content: Content, path: str, allowance: Allowance) -> Examination:
    """Examine one HDF5 file. One that is no file of its own is copied into one without a name, from ``allowance``."""
    file, size = content.file, content.size
    examination = Examination(format=Format.HDF5)
    if importlib.util.find_spec("h5py") is None:
        reason = "HDF5 is examined with h5py: install it with `pip install 'aiverify-weights[hdf5]'`"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
        return examination
    end = _end_of_file(file)
    if end is not None and size > end:
        text = f"{size - end} bytes follow the end of the HDF5 file"
        examination.findings.append(finding("AIV414", text, file=path, offset=end))
    try:
        with _own(content, allowance) as own:
            described = _described(own)
    except _ChildError as error:
        examination.findings.append(finding("AIV404", f"the HDF5 library does not read it: {error}", file=path))
        examination.unexamined.append(Unexamined(file=path, reason=str(error)))
        return examination
    _judge(described, path, examination)
    return examination


@contextlib.contextmanager
def _own(content: Content, allowance: Allowance) -> Iterator[BinaryIO]:
    """A file of the operating system with the bytes of ``content``. Raises _ChildError when there is no room for it."""
    try:
        content.file.fileno()
    except (OSError, ValueError):
        if content.size > allowance.inflated:
            raise _ChildError(f"{content.size} bytes are more than may be put aside for it") from None
        allowance.inflated -= content.size
        with tempfile.TemporaryFile() as copy:
            content.file.seek(0)
            try:
                shutil.copyfileobj(content.file, copy, 1 << 20)
                copy.flush()
            except OSError as error:
                raise _ChildError(f"no room to put it aside: {error.strerror or error}") from error
            yield cast("BinaryIO", copy)
        return
    yield content.file


class _ChildError(Exception):
    """The child did not describe the file."""


def _described(file: BinaryIO) -> dict[str, object]:
    command = [sys.executable, "-I", "-c", _BOOT, str(SECONDS), str(MEMORY), *sys.path]
    file.seek(0)
    try:
        child = subprocess.run(  # noqa: S603 - a fixed command with our own module path
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise _ChildError(f"no answer within {2 * SECONDS} s") from None
    if child.returncode < 0:
        raise _ChildError(f"it stopped with signal {-child.returncode}")
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise _ChildError(f"it stopped with status {child.returncode}") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise _ChildError(str(answer.get("error") if isinstance(answer, dict) else answer)[:300])
    return answer


def _end_of_file(file: BinaryIO) -> int | None:
    """Where the superblock says that the file ends; ``None`` for a superblock of which nothing is known here."""
    file.seek(0)
    head = file.read(64)
    version = head[8] if len(head) > 8 else -1
    if version in (0, 1):
        place, width = (40 if version == 0 else 44), head[13]
    elif version in (2, 3):
        place, width = 28, head[9]
    else:
        return None
    return int.from_bytes(head[place : place + 8], "little") if width == 8 and len(head) >= place + 8 else None


def _judge(described: dict[str, object], path: str, examination: Examination) -> None:
    complaints = Complaints(examination, path)
    for place, what, target in _rows(described.get("outside"), 3):
        complaints.say("AIV415", f"{shown(place)} takes its data from {shown(target)} ({what})")
    for place, number in _rows(described.get("filters"), 2):
        complaints.say("AIV413", f"{shown(place)} is packed with the filter {number}, which a library unpacks")
    for place, kind in _rows(described.get("programs"), 2):
        complaints.say("AIV411", f"the attribute {shown(place)} is {kind}")
    pickled = described.get("pickled")
    for place in pickled if isinstance(pickled, list) else []:
        text = f"the rows of {shown(str(place))} are objects, which pandas and PyTables unpickle"
        complaints.say("AIV411", text, severity=Severity.MEDIUM)
        complaints.gap(f"the rows of {shown(str(place))} were not read")
    unread = described.get("unread")
    for place in unread if isinstance(unread, list) else []:
        complaints.gap(f"the attribute {shown(str(place))} was not read")
    attributes = described.get("attributes")
    for name, text in (attributes if isinstance(attributes, dict) else {}).items():
        if str(name).endswith(("@model_config", "@training_config")):
            try:
                configuration = json.loads(text)
            except (ValueError, RecursionError):
                complaints.say("AIV504", f"{shown(str(name))} is not JSON")
                continue
            examination.findings += judge_configuration(configuration, path)


def _rows(value: object, width: int) -> list[list[str]]:
    """The rows of a list that the child gave, as text."""
    rows = value if isinstance(value, list) else []
    kept = [row for row in rows if isinstance(row, list) and len(row) == width]
    return [[str(item) for item in row] for row in kept]
