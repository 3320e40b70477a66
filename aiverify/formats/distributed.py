"""Files of torch.distributed.checkpoint: what ``torch.save`` wrote of each part, one archive after the other.

Every archive is examined. Which bytes a load takes is written in the index beside it (``.metadata``), and
may be any: that is not followed, and said so.

Source: torch/distributed/checkpoint/filesystem.py (PyTorch 2.13).
"""

from __future__ import annotations

from aiverify.finding import Unexamined
from aiverify.formats.archives import read_zip
from aiverify.formats.content import Content, window
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.formats.zip_records import EOCD, EOCD64, EOCD64_LOCATOR

_MOST = 20_000


def archives_in(content: Content) -> list[tuple[int, int]]:
    """Where the archives begin and end of which ``content`` is made; none when it is made of anything else."""
    found: list[tuple[int, int]] = []
    end = content.size
    while end and len(found) < _MOST:
        start = _begin(content, end)
        if start is None:
            return []
        try:
            with window(content, start, end - start) as part:
                listing = read_zip(part.file, end - start)
        except FormatError:
            return []
        if not listing.entries or listing.oddities:
            return []
        found.append((start, end))
        end = start
    return [] if end else found[::-1]


def _begin(content: Content, end: int) -> int | None:
    """Where the archive begins that ends at ``end``, by the records at its very end, as ``torch.save`` writes them."""
    last = end - EOCD.size - EOCD64_LOCATOR.size - EOCD64.size
    if last < 0:
        return None
    sign, *_, length, offset = EOCD64.unpack_from(content.data, last)
    return last - length - offset if sign == b"PK\x06\x06" and length + offset <= last else None


def examine_parts(
    content: Content, parts: list[tuple[int, int]], path: str, options: ScanOptions, nesting: Nesting
) -> Examination:
    """Examine each of the archives ``parts`` of ``content``."""
    examination = Examination(format=Format.TORCH_ZIP)
    for start, end in parts:
        with window(content, start, end - start) as part:
            nesting.look(part, "part", examination, path, options, member=f"archive at byte {start}", reader="zip")
    reason = "what a load takes out of it is written in .metadata beside it, which is not followed"
    examination.unexamined.append(Unexamined(file=path, reason=reason))
    return examination
