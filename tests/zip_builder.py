"""Writes zip archives byte by byte, so that every header can lie."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Member:
    """One entry. ``local`` and ``central`` override fields of the two headers by name."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    before: bytes = b""
    after: bytes = b""
    external: int = 0
    local: dict[str, object] = field(default_factory=dict)
    central: dict[str, object] = field(default_factory=dict)

    @property
    def stored(self) -> bytes:
        if self.method != 8:
            return self.data
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(self.data) + deflate.flush()

    def fields(self, changes: dict[str, object]) -> dict:
        return {
            "name": self.name,
            "method": self.method,
            "flags": self.flags,
            "crc": zlib.crc32(self.data),
            "compressed": len(self.stored),
            "size": len(self.data),
            "extra": b"",
            "comment": b"",
            **changes,
        }


def archive(
    *members: Member,
    prefix: bytes = b"",
    between: bytes = b"",
    suffix: bytes = b"",
    comment: bytes = b"",
    shift: bool = False,
    end: dict[str, int] | None = None,
    zip64: dict[str, int] | None = None,
) -> bytes:
    """The archive. ``shift`` leaves offsets as if there were no ``prefix``; ``end`` overrides fields of the end record.

    ``zip64`` adds a zip64 end with those fields overridden.
    """
    out, places = bytearray(prefix), []
    base = len(prefix) if shift else 0
    for member in members:
        out += member.before
        places.append(len(out) - base)
        f = member.fields(member.local)
        out += struct.pack(
            "<4s5H3L2H",
            b"PK\x03\x04",
            20,
            f["flags"],
            f["method"],
            0,
            0x21,
            f["crc"],
            f["compressed"],
            f["size"],
            len(f["name"]),
            len(f["extra"]),
        )
        out += f["name"] + f["extra"] + member.stored + member.after
    out += between
    start = len(out) - base
    for member, place in zip(members, places, strict=True):
        f = member.fields(member.central)
        out += struct.pack(
            "<4s6H3L5H2L",
            b"PK\x01\x02",
            20,
            20,
            f["flags"],
            f["method"],
            0,
            0x21,
            f["crc"],
            f["compressed"],
            f["size"],
            len(f["name"]),
            len(f["extra"]),
            len(f["comment"]),
            0,
            0,
            member.external,
            f.get("header", place),
        )
        out += f["name"] + f["extra"] + f["comment"]
    length = len(out) - base - start
    if zip64 is not None:
        place = len(out) - base
        full = {"count": len(members), "size": length, "start": start, "place": place, "sign": 0x06064B50, **zip64}
        out += struct.pack(
            "<LQ2H2L4Q", full["sign"], 44, 45, 45, 0, 0, full["count"], full["count"], full["size"], full["start"]
        )
        out += struct.pack("<4sLQL", b"PK\x06\x07", 0, full["place"], 1)
    plain = {"count": len(members), "size": length, "start": start, "disk": 0, "first": 0, **(end or {})}
    out += struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        plain["disk"],
        plain["first"],
        plain["count"],
        plain["count"],
        plain["size"],
        plain["start"],
        plain.get("comment", len(comment)),
    )
    return bytes(out + comment + suffix)


def checkpoint(
    pickle: bytes, *more: Member, storages: dict[str, bytes] | None = None, prefix: bytes = b"archive"
) -> list[Member]:
    """The members of a PyTorch checkpoint."""
    return [
        Member(name=prefix + b"/data.pkl", data=pickle),
        Member(name=prefix + b"/byteorder", data=b"little"),
        *(Member(name=prefix + b"/data/" + key.encode(), data=raw) for key, raw in (storages or {}).items()),
        Member(name=prefix + b"/version", data=b"3\n"),
        *more,
    ]
