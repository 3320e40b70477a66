"""Files inside files: each is examined as a file of its own, to a bounded depth.

Its findings belong to the outermost file; where it lies in there is said by the member, as ``outer!inner``. What lies
deeper than ``MAX_DEPTH`` containers, or costs more than the allowance of one file, is said to be unexamined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from aiverify.finding import Location, Unexamined
from aiverify.formats.beside import Folder
from aiverify.formats.content import Allowance, Content, Inflated
from aiverify.formats.interface import Examination, FormatError, ScanOptions
from aiverify.rules import finding

MAX_DEPTH = 6

Examine: TypeAlias = "Callable[[Content, str, ScanOptions, Nesting], Examination]"


@dataclass(frozen=True, slots=True)
class Nesting:
    """How files inside a file are examined: by what, how deep this one lies, and what is left to spend.

    ``readers`` are those that a loader uses whatever the content looks like; the others go by ``content``. ``folder``
    is where the file lies; files inside of it have none.
    """

    readers: Mapping[str, Examine]
    folder: Folder | None = None
    depth: int = 0
    allowance: Allowance = field(default_factory=Allowance)

    def look(
        self,
        content: Content,
        name: str,
        outer: Examination,
        path: str,
        options: ScanOptions,
        *,
        member: str | None = None,
        reader: str = "content",
    ) -> Examination | None:
        """Examine ``content``, called ``name``, and enter what was found into ``outer``, the examination of ``path``.

        ``member`` says where it lies, if that is not its name. ``None`` if it lies too deep, or is one member too many;
        that is entered as unexamined.
        """
        place = name if member is None else member
        reason = None
        if self.depth >= MAX_DEPTH:
            reason = f"more than {MAX_DEPTH} containers inside each other"
        elif self.allowance.members <= 0:
            reason = "more members than one file may have"
        if reason is not None:
            outer.unexamined.append(Unexamined(file=path, member=place, reason=reason))
            return None
        self.allowance.members -= 1
        deeper = replace(self, depth=self.depth + 1, folder=None)
        try:
            inner = self.readers[reader](content, name, options, deeper)
        except (FormatError, OSError, ValueError) as error:
            outer.unexamined.append(Unexamined(file=path, member=place, reason=f"cannot be read: {error}"))
            return None
        inner.settle()
        _enter(inner, outer, path, place)
        return inner

    def look_inflated(
        self,
        inflated: Inflated,
        name: str,
        outer: Examination,
        path: str,
        options: ScanOptions,
        *,
        member: str | None = None,
    ) -> Examination | None:
        """Examine what came out of a decompression, and say what went wrong with that."""
        place = name if member is None else member
        report_faults(inflated, outer, path, place)
        if not inflated.content.size and inflated.fault is not None:
            return None
        return self.look(inflated.content, name, outer, path, options, member=member)


def report_faults(inflated: Inflated, outer: Examination, path: str, place: str | None) -> None:
    """Enter what went wrong with a decompression."""
    if inflated.wrong_checksum:
        outer.findings.append(finding("AIV406", "the CRC does not match", file=path, member=place))
    if inflated.bomb and inflated.fault is not None:
        outer.findings.append(finding("AIV416", inflated.fault, file=path, member=place))
    if inflated.fault is not None:
        reason = f"only the first {inflated.content.size} bytes were examined: {inflated.fault}"
        outer.unexamined.append(Unexamined(file=path, member=place, reason=reason))


def _enter(inner: Examination, outer: Examination, path: str, place: str) -> None:
    for item in inner.findings:
        deeper = _joined(place, item.location.member)
        outer.findings.append(replace(item, file=path, location=Location(deeper, item.location.offset)))
    for gap in inner.unexamined:
        outer.unexamined.append(replace(gap, file=path, member=_joined(place, gap.member)))


def _joined(place: str, member: str | None) -> str:
    return place if member is None else f"{place}!{member}"
