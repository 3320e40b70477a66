"""One file in, one examination out: recognise the content, and give it to the reader of its format.

A format without a reader is said to be unexamined. No exception of a reader means "clean". Files inside a file come
back here through ``Nesting``. Readers that a checkpoint does not need are imported when they are, as in ``readers``.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiverify.finding import Severity, Unexamined
from aiverify.formats.archives import ArchiveError, counts_from_start, ends_in_zip, read_zip
from aiverify.formats.beside import Folder, ends_like_table
from aiverify.formats.compressed import examine_compressed, stands_in
from aiverify.formats.content import Content, on_disk
from aiverify.formats.disguise import runs_as_pickle
from aiverify.formats.foreign import is_booster
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions, State, state_of
from aiverify.formats.messages import kind_of_message
from aiverify.formats.names import is_training_state, keeps_promise
from aiverify.formats.nesting import Nesting
from aiverify.formats.pickle import examine_pickle
from aiverify.formats.readers import READERS
from aiverify.formats.sniff import HEAD, UNDECIDED, hdf5_starts, is_pickle, sniff
from aiverify.formats.tar import begins_like_tar, examine_tar_archive, is_torch_tar, list_tar
from aiverify.formats.torch_legacy import begins_like_legacy, examine_legacy
from aiverify.formats.zip_archive import examine_zip
from aiverify.formats.zip_records import last_end
from aiverify.rules import finding

_NOT_EXAMINED = {
    Format.SEVEN_ZIP: "a 7z archive: unpack it and examine what comes out",
    Format.ARCHIVE: "an archive of another kind (rar, cab, ar): unpack it and examine what comes out",
}
_TRAINED = frozenset((Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.TORCH_TAR, Format.PICKLE))
_OWN_CONFIGURATION = frozenset(("aiverify.toml", "aiverify.lock"))


def recognise(location: Path, path: str) -> Format:
    """What the file at ``location`` is, by its first bytes. Raises FormatError if it cannot be read."""
    try:
        with location.open("rb", buffering=0) as raw, on_disk(raw) as content:
            return _recognise(content, path, Folder(location))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of mmap, when the file is cut to nothing while it is open
        raise FormatError(f"{path}: changed while it was read: {error}") from error


def examine(location: Path, path: str, options: ScanOptions, state: State | None = None) -> Examination:
    """Examine the file at ``location``, which the artifact calls ``path``. Raises FormatError if it cannot be read.

    With a ``state``, a file in another one is a finding: it may be gone again before anybody else looks.
    """
    try:
        with location.open("rb", buffering=0) as raw, on_disk(raw) as content:
            meant = state is None or state_of(os.fstat(raw.fileno())) == state
            examination = _examine(content, path, options, Nesting(_READERS, Folder(location)))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of mmap, when the file is cut to nothing while it is open
        raise FormatError(f"{path}: changed while it was read: {error}") from error
    if not meant:
        text = "changed on disk during the run: another file lay there when it was examined"
        examination.findings.append(finding("AIV103", text, file=path))
    if path.rpartition("/")[2] in _OWN_CONFIGURATION:
        examination.findings.append(finding("AIV601", "a configuration of aiverify; it was not read", file=path))
    if examination.format in _TRAINED and is_training_state(path):
        text = "the name of a file that keeps training going; a load for inference leaves it alone"
        examination.findings.append(finding("AIV315", text, file=path))
    return examination


def _examine(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    kind = _recognise(content, path, nesting.folder)
    examination = _dispatch(content, path, kind, options, nesting)
    _look_behind(content, kind, examination, path, options, nesting)
    if not keeps_promise(path, examination.format):
        text = f"the content is {examination.format}, which the name does not say"
        examination.findings.append(finding("AIV401", text, file=path, severity=_gravity(examination.format)))
    return examination


def _recognise(content: Content, path: str, folder: Folder | None) -> Format:
    head = bytes(content.data[:HEAD])
    kind = sniff(head, path, content.size)
    if kind in (Format.EMPTY, Format.TORCH_LEGACY) or (is_pickle(head) and kind is not Format.SAFETENSORS):
        return kind
    other = _by_structure(content, path, kind, folder) if kind in UNDECIDED else kind
    if other is Format.PICKLE or runs_as_pickle(content.data):
        return Format.PICKLE
    return other


def _by_structure(content: Content, path: str, kind: Format, folder: Folder | None) -> Format:
    """What a file is that does not say so in its first bytes, and would be taken for ``kind``."""
    if kind is Format.FOREIGN and path.lower().endswith(".json"):
        from aiverify.formats.config import MAX_JSON

        # Who looks for a file of this name reads JSON, whatever another loader makes of its first bytes.
        return kind if content.size <= MAX_JSON and is_booster(bytes(content.data)) else Format.JSON
    message = kind_of_message(content.data)
    if message is not None and kind in (Format.JSON, Format.YAML, Format.TEMPLATE):
        from aiverify.formats.config import is_configuration

        if is_configuration(content.data, kind):
            return kind  # the same: a text can be a protocol buffer to its last byte
    if message is not None:
        return message if isinstance(message, Format) else Format.FOREIGN
    if kind is Format.TEXT and "." not in path.rpartition("/")[2] and bytes(content.data[:1]) in (b"{", b"["):
        from aiverify.formats.config import is_configuration

        if is_configuration(content.data, Format.JSON, deep=False):
            return Format.JSON
    if kind is Format.UNKNOWN:
        from aiverify.formats.msgpack import begins_like_flax

        if begins_like_flax(content.data):
            return Format.MSGPACK
    if kind in (Format.UNKNOWN, Format.PICKLE, Format.TENSORFLOW):
        numbers = folder is not None and folder.numbers_of() is not None
        if numbers or (path.endswith(".index") and ends_like_table(bytes(content.data[-16:]))):
            return Format.RAW
    return kind


def _look_behind(
    content: Content, kind: Format, examination: Examination, path: str, options: ScanOptions, nesting: Nesting
) -> None:
    """Examine what other readers find in a file behind its beginning.

    Readers of zip archives look for them from the end, the one of HDF5 at 512 bytes and every power of two above.
    torch tries tar before it unpickles, and the first header of a tar archive may begin like anything.
    """
    if kind is not Format.TAR and begins_like_tar(bytes(content.data[:HEAD])):
        text = f"the file begins as {kind}, and is a tar archive besides"
        examination.findings.append(finding("AIV402", text, file=path))
        nesting.look(content, path, examination, path, options, member="tar archive", reader="tar")
    if kind not in (Format.HDF5, Format.ZIP, Format.TAR):  # whose first member may begin there
        for start in hdf5_starts(content.data):
            text = f"an HDF5 file begins at byte {start} of the file, which begins as {kind}"
            examination.findings.append(finding("AIV402", text, file=path, offset=start))
            nesting.look(content, path, examination, path, options, member=f"HDF5 at byte {start}", reader="hdf5")
    if kind in (Format.EMPTY, Format.ZIP) or not ends_in_zip(content.file, content.size):
        return
    whole = kind in _PICKLED and not any(item.rule == "AIV308" for item in examination.findings)
    if not counts_from_start(content.file, content.size) and (whole or _is_part(content, kind)):
        return
    text = f"a zip archive ends the file, which begins as {kind}"
    examination.findings.append(finding("AIV402", text, file=path))
    nesting.look(content, path, examination, path, options, member="zip archive at the end", reader="zip")


def _is_part(content: Content, kind: Format) -> bool:
    """Whether the archive that ends ``content`` lies in one member of it, or is what is compressed in it.

    It is examined as such then.
    """
    if kind not in _HOLDERS:
        return False
    try:
        start = read_zip(content.file, content.size).before
    except ArchiveError:
        return True
    if kind is Format.TAR:
        end = last_end(content.file, content.size) or 0
        members = list_tar(content.data).members
        return any(member.start <= start and end < member.start + member.size for member in members)
    return kind is not Format.COMPRESSED or stands_in(content, start)


def _as_torch_loads(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    """As ``torch.load`` reads it: a zip or tar archive, and else pickles, whatever it looks like."""
    head = bytes(content.data[:HEAD])
    if head.startswith(b"PK\x03\x04"):
        return examine_zip(content, path, options, nesting)
    if begins_like_tar(head):
        return _tar(content, path, options, nesting)
    if begins_like_legacy(head):
        return examine_legacy(content.data, path, options, nesting)
    return examine_pickle(content.data, path, options, nesting)


def _as_pickle(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    return examine_pickle(content.data, path, options, nesting)


def _tar(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    if is_torch_tar(content.data):
        from aiverify.formats.torch_tar import examine_tar

        return examine_tar(content.data, path, options)
    return examine_tar_archive(content, path, options, nesting)


_READERS = {
    "content": _examine,
    "torch": _as_torch_loads,
    "pickle": _as_pickle,
    "zip": examine_zip,
    "tar": _tar,
    "hdf5": READERS[Format.HDF5],
}
# Formats that hold archives as their parts, and those that may hold one as a value: it counts its offsets from its own
# beginning then, and not from that of the file.
_HOLDERS = frozenset((Format.TAR, Format.COMPRESSED, Format.SEVEN_ZIP, Format.ARCHIVE))
_PICKLED = frozenset((Format.PICKLE, Format.TORCH_LEGACY, Format.NPY))


def _gravity(kind: Format) -> Severity:
    """A wrong name matters when the content is something that a loader would open or run."""
    return Severity.MEDIUM if kind in (Format.TEXT, Format.JSON, Format.MEDIA, Format.EMPTY) else Severity.HIGH


def _dispatch(content: Content, path: str, kind: Format, options: ScanOptions, nesting: Nesting) -> Examination:
    if kind is Format.SAFETENSORS:
        from aiverify.formats import safetensors

        return safetensors.examine(content.file, content.size, path)
    if kind is Format.ZIP:
        return examine_zip(content, path, options, nesting)
    if kind is Format.TAR:
        return _tar(content, path, options, nesting)
    if kind is Format.COMPRESSED:
        return examine_compressed(content, path, options, nesting)
    if kind is Format.NPY:
        return _npy(content, path, options, nesting)
    if kind is Format.TORCH_LEGACY:
        return examine_legacy(content.data, path, options, nesting)
    if kind is Format.PICKLE:
        return examine_pickle(content.data, path, options, nesting)
    if kind in READERS:
        return READERS[kind](content, path, options, nesting)
    return _by_kind(path, kind)


def _npy(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    from aiverify.formats.arrays import NamedArray, as_checkpoint
    from aiverify.formats.checkpoint import StorageRange
    from aiverify.formats.numpy import examine_npy, is_single, read_array_header

    examination = examine_npy(content.data, path, options, nesting)
    if not examination.unexamined and is_single(content.data):  # a twin of the first would lose the others
        array = NamedArray("array", read_array_header(content.data), StorageRange(0, content.size))
        examination.checkpoint = as_checkpoint([array])
    return examination


def _by_kind(path: str, kind: Format) -> Examination:
    """Formats that nothing here reads."""
    examination = Examination(format=kind)
    if kind is Format.EXECUTABLE:
        examination.findings.append(finding("AIV408", "a native program or library", file=path))
    elif kind is Format.SCRIPT:
        examination.findings.append(finding("AIV505", "a script", file=path))
    elif kind is Format.PYTHON:
        examination.findings.append(finding("AIV502", "Python source", file=path))
    elif kind is Format.LFS_POINTER:
        reason = "a Git LFS pointer stands in for the file: fetch the content with `git lfs pull`"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    elif kind is Format.UNKNOWN:
        examination.unexamined.append(Unexamined(file=path, reason="an unknown format"))
    elif kind in _NOT_EXAMINED:
        reason = f"{_NOT_EXAMINED[kind]}: recognised, but not examined"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    return examination
