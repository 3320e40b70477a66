"""The calls in a payload, as a tree: which call is made with the result of which.

A payload is what ``pickles/decompile.py`` writes: one call or import on a line. It comes out of a report that may have
been saved by anybody, so it is read with limits, and anything is a payload: what is no call is taken for a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_CALLS = 500
MAX_DEPTH = 12
MAX_VALUES = 12
_LONGEST_LINE = 20_000

_STRING = r"""b?(?:'(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z))"""
_TOKEN = re.compile(
    rf"(?P<string>{_STRING})|(?P<call>\.?[^\W\d][\w.]*)(?=\()|(?P<open>[(\[{{])|(?P<close>[)\]}}])"
    r"|(?P<word>[^\s'\"()\[\]{},]+)",
    re.DOTALL,
)
_IMPORT = re.compile(r"from (.*) import (.*)", re.DOTALL)
# Words that stand for the form of a payload and not for a value in it.
_MARKS = frozenset(("=", "<-", ":", "*", "**", "#"))


@dataclass(slots=True)
class Call:
    """Something that is called, or only imported. It is given the literals ``values``, and the results of ``calls``."""

    name: str
    called: bool = True
    values: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def target(self) -> str:
        """The global that is called."""
        return self.name.removesuffix(".__new__")


def calls(payload: str) -> list[Call]:
    """The calls of ``payload`` that are no arguments of another, at most ``MAX_CALLS`` with those inside them."""
    left = iter(range(MAX_CALLS))
    found: list[Call] = []
    for line in payload.splitlines():
        imported = _IMPORT.fullmatch(line)
        if imported is not None:
            if next(left, None) is not None:
                found.append(Call(".".join(filter(None, imported.groups())), called=False))
        elif not line.lstrip().startswith("#"):
            found += _line(line[:_LONGEST_LINE], left)
    return found


def _line(line: str, left: Iterator[int]) -> list[Call]:
    root = Call("")
    # One entry for each open bracket: the call that what stands inside is given to.
    within = [root]
    pending: Call | None = None
    for token in _TOKEN.finditer(line):
        text = token.group()
        match token.lastgroup:
            case "call" if text.startswith(".") and within[-1].calls:
                pending = within[-1].calls[-1]  # what a new object is given besides: its state
            case "call" if len(within) <= MAX_DEPTH and next(left, None) is not None:
                pending = Call(text.lstrip("."))
                within[-1].calls.append(pending)
            case "open":
                within.append(pending or within[-1])
                pending = None
            case "close":
                del within[max(len(within) - 1, 1) :]
            case "string" | "word" if text not in _MARKS and len(within[-1].values) < MAX_VALUES:
                within[-1].values.append(text)
    return root.calls
