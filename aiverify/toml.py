"""TOML that somebody else may have written: read in time and memory that do not run away.

``tomllib`` takes the square of the number of parts of a key, ``a.a.a.…``: some 100 KB of them take gigabytes. So the
text is split into its tokens first, and a key of too many parts is refused. What is no TOML ``tomllib`` tells.
"""

from __future__ import annotations

import re
from typing import Any

#: Of how many parts no key is.
MAX_PARTS = 64

_STRING = rb"""(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_TEXT = rb"""(?:"{3}(?:[^"\\]|\\.|"(?!""))*+"{3,5}+|'{3}(?:[^']|'(?!''))*+'{3,5}+)"""  # over several lines
_PART = rb"(?:(?:[\w-]++|%s)[ \t]*+\.[ \t]*+)" % _STRING
_LONG_KEY = re.compile(rb"%s{%d}" % (_PART, MAX_PARTS - 1), re.DOTALL)
_ANYTHING_ELSE = re.compile(
    rb"""(?:%s|\#[^\n]*+|(?!%s)(?:%s{1,%d}+|%s|[\w-]++)|[^\w\-"'\#]++)*+"""
    % (_TEXT, _LONG_KEY.pattern, _PART, MAX_PARTS - 2, _STRING),
    re.DOTALL,
)


def parse_toml(raw: bytes) -> dict[str, Any]:
    """The TOML in ``raw``. Raises ValueError, and RecursionError for values that lie too deep in each other."""
    import tomllib  # most runs read no TOML

    beginning = _ANYTHING_ELSE.match(raw)
    end = beginning.end() if beginning else 0
    if _LONG_KEY.match(raw, end):
        raise ValueError(f"a key has {MAX_PARTS} parts or more")
    line = raw.find(b"\n", end) if end < len(raw) else -1
    content = tomllib.loads((raw if line < 0 else raw[:line]).decode("utf-8"))
    if end < len(raw):  # a string that does not end, of which tomllib has told
        raise ValueError("it cannot be read to its end")
    return content
