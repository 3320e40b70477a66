"""Regular expressions: how long a loader compiles those of one graph.

Python compiles a pattern anew for each call, unless it is among the last ones. It goes through every letter of a range,
and through more of them when letter case is ignored. A range is taken to be as wide as its upper end allows.

Source: CPython Lib/re/_compiler.py, _optimize_charset and _compile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiverify.pickles.graph import Blob, Value
from aiverify.pickles.literals import is_bytes, is_int

_LONGEST = 100_000
_LETTERS, _RANGES = 400_000, 1 << 24  # of all patterns together: a few seconds
_CALL = 100  # letters that a call alone is worth
_ANY_CASE = 4  # times as long
_LAST = 1 << 16
_IGNORES_CASE = re.compile(r"\(\?[A-Za-z]*i")
_END = re.compile(
    r"-(?:\\u(?P<four>[0-9A-Fa-f]{4})|\\U(?P<eight>[0-9A-Fa-f]{8})|(?P<name>\\N)|(?P<escape>\\.)|(?P<letter>[^\\]))",
    re.DOTALL,
)


class Patterns:
    """Adds up the patterns of one graph."""

    def __init__(self) -> None:
        self._letters = 0
        self._ranges = 0

    def __call__(self, args: Sequence[Value]) -> str | None:
        """What is wrong with the arguments of ``re._compile``: a pattern and its flags."""
        pattern, flags = args if len(args) == 2 else (None, None)
        if not isinstance(flags, int) or not is_int(flags) or not (isinstance(pattern, str) or is_bytes(pattern)):
            return "something else than a regular expression and flags"
        length = len(pattern) if isinstance(pattern, str) else pattern.length if isinstance(pattern, Blob) else 0
        self._letters += length + _CALL
        if length <= _LONGEST and self._letters <= _LETTERS and isinstance(pattern, str):
            times = _ANY_CASE if flags & re.IGNORECASE or _IGNORES_CASE.search(pattern) else 1
            self._ranges += times * sum(map(_last, _END.finditer(pattern)))
        fits = length <= _LONGEST and self._letters <= _LETTERS and self._ranges <= _RANGES
        return None if fits else "regular expressions that take very long to compile"


def _last(found: re.Match[str]) -> int:
    """The letter that a range goes up to; a name may stand for any, other escapes for one of the first 512."""
    number = found["four"] or found["eight"]
    if number is not None:
        return min(int(number, 16), _LAST)
    if found["letter"] is not None:
        return min(ord(found["letter"]), _LAST)
    return _LAST if found["name"] is not None else 512
