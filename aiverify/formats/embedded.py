"""Programs inside values: what a string or a small tensor of a model file turns out to be.

No loader of these formats runs such values, but somebody put them there to be taken out and run. Only what is a program
from its first byte on is reported: prose that speaks of code, and source lines in comments, are ordinary.
"""

from __future__ import annotations

from aiverify.formats.disguise import runs_as_pickle

#: Bytes of a value that are worth passing to ``program``.
PROBE = 1 << 20

_SIGNATURES = (
    (b"\x7fELF", "a native program"),
    (b"MZ\x90\x00", "a native program"),
    (b"\xcf\xfa\xed\xfe", "a native program"),
    (b"#!/", "a script"),
    (b"PK\x03\x04", "a zip archive"),
)


def program(value: bytes) -> str | None:
    """What kind of program ``value`` is, ``None`` when it is none."""
    for signature, kind in _SIGNATURES:
        if value.startswith(signature):
            return kind
    # A pickle that names something takes a few bytes at least, and ends with STOP or goes on.
    return "a pickle that calls something" if len(value) > 4 and runs_as_pickle(value) else None
