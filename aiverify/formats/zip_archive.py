"""Zip archives as whatever their entries make them: a checkpoint, an exported program, arrays, or files in a folder.

Every entry is examined, whatever it is called. One of an archive that no loader gives a meaning is a file of its own.
Most archives are checkpoints: what knows the others is imported when there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiverify.finding import Unexamined
from aiverify.formats import torch_package
from aiverify.formats.archives import ArchiveError, Entry, read_zip
from aiverify.formats.content import Content
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.nesting import Nesting, report_faults
from aiverify.formats.torch import examine_checkpoint, is_checkpoint, located
from aiverify.formats.zip_members import open_member, read_member
from aiverify.rules import finding

if TYPE_CHECKING:
    from aiverify.formats.arrays import NamedArray
    from aiverify.formats.checkpoint import Checkpoint

_IN_MEMORY = 256 << 20
_OF_TORCH = frozenset({Format.TORCH_ZIP, Format.TORCH_EXPORT})


def examine_zip(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    """Examine the archive ``content`` as whatever its entries make it."""
    if path.lower().endswith(".distcp"):
        from aiverify.formats.distributed import archives_in, examine_parts

        if len(parts := archives_in(content)) > 1:
            return examine_parts(content, parts, path, options, nesting)
    examination = Examination(format=Format.ZIP)
    try:
        listing = read_zip(content.file, content.size)
    except ArchiveError as error:
        examination.unexamined.append(Unexamined(file=path, reason=f"not a readable zip archive: {error}"))
        return examination
    if listing.before:
        reason = f"{listing.before} bytes that do not belong to the archive"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    for oddity in listing.oddities:
        text = f"{oddity.member}: {oddity.text}" if oddity.member else oddity.text
        examination.findings.append(finding(oddity.rule, text, file=path, member=oddity.member, offset=oddity.offset))
    entries = [entry for entry in listing.entries if not entry.name.endswith("/") or entry.size]
    archive = ZipArchive(content, path, options, examination, nesting, entries)
    archive.examine()
    if examination.format in _OF_TORCH and (
        archive.ambiguous or any(item.rule == "AIV402" for item in listing.oddities)
    ):
        examination.checkpoint = None  # which bytes its tensors are is for each version of torch to say
    return examination


class ZipArchive:
    """One archive, its entries, and how to look into them. ``ambiguous``: to PyTorch, two of them have one name."""

    def __init__(
        self,
        content: Content,
        path: str,
        options: ScanOptions,
        examination: Examination,
        nesting: Nesting,
        entries: Sequence[Entry],
    ) -> None:
        self.source = content
        self.path = path
        self.options = options
        self.examination = examination
        self.nesting = nesting
        self.entries = entries
        self.ambiguous = False

    def examine(self) -> None:
        """Examine every entry."""
        names = [entry.name for entry in self.entries]
        if any(name.casefold().endswith("data.pkl") for name in names):
            self._letter_case()
        if (prefix := is_checkpoint(names)) is not None:
            self.examination.format = Format.TORCH_ZIP
            examine_checkpoint(self, prefix)
        else:
            self._examine_others(names)
        torch_package.judge_package(self)

    def _examine_others(self, names: Sequence[str]) -> None:
        from aiverify.formats import keras_archive, skops, torchserve
        from aiverify.formats.torch_pt2 import exported_prefix

        if (root := exported_prefix(names)) is not None:
            self.examination.format = Format.TORCH_EXPORT
            self._exported(root)
        elif names and all(name.endswith(".npy") for name in names):
            self.examination.format = Format.NPZ
            self._arrays()
        else:
            for entry in self.entries:
                self.look(entry)
            if keras_archive.is_keras(names):
                self.examination.format = Format.KERAS
            skops.judge_schema(self)
            torchserve.judge_manifest(self)

    # How to look into an entry

    def look(self, entry: Entry) -> Examination | None:
        """Examine ``entry`` as a file of its own."""
        try:
            with open_member(self.source, entry, self.nesting.allowance) as inner:
                return self.nesting.look_inflated(inner, entry.name, self.examination, self.path, self.options)
        except FormatError as error:
            self.unexamined(entry, str(error))
            return None

    def content(self, entry: Entry) -> bytes | None:
        """The bytes of ``entry``, or ``None`` after saying why not. With a wrong CRC they are there all the same."""
        try:
            data, result = read_member(self.source, entry, self.nesting.allowance, limit=_IN_MEMORY)
        except FormatError as error:
            self.unexamined(entry, str(error))
            return None
        report_faults(result, self.examination, self.path, entry.name)
        return data

    def unexamined(self, entry: Entry | None, reason: str) -> None:
        """Say that ``entry``, or the archive as a whole, was not looked at."""
        member = entry.name if entry else None
        self.examination.unexamined.append(Unexamined(file=self.path, member=member, reason=reason))

    def found(self, rule: str, text: str, entry: Entry, offset: int | None = None) -> None:
        """Report something about ``entry``."""
        self.examination.findings.append(finding(rule, text, file=self.path, member=entry.name, offset=offset))

    # Archives with a meaning

    def _letter_case(self) -> None:
        """Names that are equal but for letter case, which the reader inside PyTorch ignores."""
        seen: dict[str, str] = {}
        for entry in self.entries:
            other = seen.setdefault(entry.name.casefold(), entry.name)
            if other != entry.name:
                self.ambiguous = True
                self.found("AIV402", f"{entry.name} and {other} are one name to PyTorch", entry, entry.header)

    def _exported(self, root: str) -> None:
        from aiverify.formats.torch_pt2 import Archive, examine_exported

        self._letter_case()
        examine_exported(
            Archive(
                entries=self.entries,
                prefix=root,
                path=self.path,
                examination=self.examination,
                content=self.content,
                nested=self._nested,
                other=self._other,
            )
        )

    def _nested(self, entry: Entry) -> Checkpoint | None:
        inner = self.look(entry)
        return inner.checkpoint if inner is not None else None

    def _other(self, entry: Entry) -> None:
        self.look(entry)

    def _arrays(self) -> None:
        arrays = [self._array(entry) for entry in self.entries]
        known = [array for array in arrays if array is not None]
        if len(known) == len(arrays):
            from aiverify.formats.arrays import as_checkpoint

            self.examination.checkpoint = as_checkpoint(known)

    def _array(self, entry: Entry) -> NamedArray | None:
        """Examine one array; ``None`` if it could not be read as one."""
        from aiverify.formats.arrays import NamedArray
        from aiverify.formats.numpy import examine_npy, read_array_header

        held = located(entry)
        try:
            with open_member(self.source, entry, self.nesting.allowance) as inner:
                report_faults(inner, self.examination, self.path, entry.name)
                data = inner.content.data
                array = examine_npy(data, self.path, self.options, self.nesting, member=entry.name)
                self.examination.findings += array.findings
                self.examination.unexamined += array.unexamined
                if inner.fault or array.unexamined or isinstance(held, str):
                    return None
                return NamedArray(entry.name.removesuffix(".npy"), read_array_header(data), held)
        except FormatError as error:
            self.unexamined(entry, str(error))
            return None
