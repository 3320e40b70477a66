"""On which line of a TOML file each key stands; ``tomllib`` does not tell.

The text must be one that ``tomllib`` accepts: it is followed here, not checked again. Keys are written as in messages:
``review_at``, ``trust.globals``, ``signers[0].any_of[1].key``. Work is linear in the length of the text.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MAX_PARTS = 32
_WORD = re.compile(
    r"""
      (?P<string> \"\"\"(?:\\[\s\S]|[^\\])*?\"\"\"\"{0,2} | '''[\s\S]*?''''{0,2} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<mark> [\n\[\]{}=,.] )
    | (?P<bare> [^\s\[\]{}=,.\#"']+ )
    | \#[^\n]* | \s
    """,
    re.VERBOSE,
)


def line_numbers(text: str) -> Mapping[str, int]:
    """The line, counted from 1, on which each key, table and element of a list begins."""
    return _Lines(text).found


class _Next(enum.Enum):
    """What comes next: a key, a value, or what is left of a value."""

    KEY = enum.auto()
    VALUE = enum.auto()
    REST = enum.auto()


@dataclass(slots=True)
class _Open:
    """A list or an inline table that has not ended. ``index`` counts the elements of a list."""

    path: str
    index: int | None = None


class _Lines:
    def __init__(self, text: str) -> None:
        self.found: dict[str, int] = {}
        self._lengths: dict[str, int] = {}  # of the lists of tables
        self._table = ""
        self._open: list[_Open] = []
        self._key: list[str] = []
        self._path = ""
        self._next = _Next.KEY
        self._words = _words(text)
        follow = {_Next.KEY: self._at_key, _Next.VALUE: self._at_value, _Next.REST: self._at_rest}
        for word, line in self._words:
            follow[self._next](word, line)

    def _at_key(self, word: str, line: int) -> None:
        if word == "=":
            self._path = self._below(self._open[-1].path if self._open else self._table, self._key, line)
            self._key = []
            self._next = _Next.VALUE
        elif word == "}":
            self._close()
        elif word == "[":
            self._header(line)
        elif word not in ("\n", ",", "."):
            self._key.append(_name(word))

    def _header(self, line: int) -> None:
        """The rest of ``[table]`` or ``[[list]]``."""
        words = []
        for word, _ in self._words:
            if word == "\n":
                break
            words.append(word)
        path = self._below("", [_name(word) for word in words if word not in ("[", "]", ".")], line)
        if words[0] == "[":
            self._lengths[path] = self._lengths.get(path, 0) + 1
        self._table = self._newest(path)
        self.found.setdefault(self._table, line)

    def _at_value(self, word: str, line: int) -> None:
        inner = self._open[-1] if self._open else _Open("")
        if inner.index is not None and word == "\n":
            return
        if inner.index is not None and word == "]":
            self._close()
            return
        path = self._path if inner.index is None else f"{inner.path}[{inner.index}]"
        self.found.setdefault(path, line)
        self._next = _Next.REST
        if word == "[":
            self._open.append(_Open(path, 0))
            self._next = _Next.VALUE
        elif word == "{":
            self._open.append(_Open(path))
            self._next = _Next.KEY

    def _at_rest(self, word: str, _: int) -> None:
        if not self._open:
            self._next = _Next.KEY if word == "\n" else _Next.REST
            return
        inner = self._open[-1]
        if word in ("]", "}"):
            self._close()
        elif word == ",":
            self._next = _Next.KEY if inner.index is None else _Next.VALUE
            inner.index = None if inner.index is None else inner.index + 1

    def _close(self) -> None:
        self._open.pop()
        self._next = _Next.REST

    def _below(self, table: str, names: Sequence[str], line: int) -> str:
        """The path of a dotted key below ``table``; each table on the way begins here, unless it was there before."""
        path = table
        for name in names[:_MAX_PARTS]:
            above = self._newest(path)
            path = f"{above}.{name}" if above else name
            self.found.setdefault(path, line)
        return path

    def _newest(self, path: str) -> str:
        """``path``, or if that is a list of tables, its last one."""
        return f"{path}[{self._lengths[path] - 1}]" if path in self._lengths else path


def _words(text: str) -> Iterator[tuple[str, int]]:
    """What is neither blank nor a comment, each with its line."""
    line = 1
    for match in _WORD.finditer(text):
        if match.lastgroup is not None:
            yield match[0], line
        line += match[0].count("\n")


def _name(word: str) -> str:
    return str(tomllib.loads(f"name = {word}")["name"]) if word[0] in "\"'" else word
