"""Programs inside values: what a string or a small tensor of a model file turns out to be.

No loader of these formats runs such values, but somebody put them there to be taken out and run. Only what is a program
from its first byte on is reported: prose that speaks of code, and source lines in comments, are ordinary.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiverify.formats.disguise import probed

#: Bytes of a value that are worth passing to ``Search.program``.
PROBE = 1 << 20

_STEPS = 10_000_000
_VALUE, _PAGE = 16, 1 << 12  # what a value costs besides its opcodes: so many steps, and one for each page
_SIGNATURES = (
    (b"\x7fELF", "a native program"),
    (b"MZ\x90\x00", "a native program"),
    (b"\xcf\xfa\xed\xfe", "a native program"),
    (b"#!/", "a script"),
    (b"PK\x03\x04", "a zip archive"),
)


@dataclass(slots=True)
class Search:
    """A search through the values of one file. ``left`` are the steps that it may still take: opcodes, roughly."""

    left: int = _STEPS

    @property
    def broke_off(self) -> bool:
        """Whether there were values that could not be looked at any more."""
        return self.left <= 0

    def program(self, value: bytes) -> str | None:
        """What kind of program ``value`` is, ``None`` when it is none, or when the search has broken off."""
        for signature, kind in _SIGNATURES:
            if value.startswith(signature):
                return kind
        # A pickle that names something takes a few bytes at least, and ends with STOP or goes on.
        if len(value) <= 4 or self.broke_off:
            return None
        runs, opcodes = probed(value)
        self.left -= _VALUE + opcodes + len(value) // _PAGE
        return "a pickle that calls something" if runs else None
