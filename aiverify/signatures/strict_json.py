"""JSON that has one meaning: what a signature covers must not depend on who parses it.

Rules: UTF-8, an object at the top, no key twice in one object (RFC 8259 leaves that to the parser), no NaN or Infinity.
Whoever reads a file bounds its size, and how many values it may hold: those that are written in two or three bytes
take a hundred each in memory. The nesting is bounded by the parser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from aiverify.signatures.interface import MalformedError

T = TypeVar("T")

MAX_VALUES = 1_500_000
"""More than a list of as many files as there may be needs."""

_MARKS = (b"{", b"[", b",")

_NAMES: Mapping[type, str] = {
    str: "a string",
    list: "an array",
    dict: "an object",
    bool: "a boolean",
    int: "a whole number",
}


def parse_object(data: bytes, limit: int | None = MAX_VALUES) -> dict[str, Any]:
    """The object that ``data`` holds, with about ``limit`` values at most. Raises MalformedError."""
    if limit is not None and sum(data.count(mark) for mark in _MARKS) > limit:
        raise MalformedError(f"it holds more than {limit} values")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_not_a_number)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    return value


def required(table: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The value under ``key``, which must be a ``kind``. Raises MalformedError."""
    if key not in table:
        raise MalformedError(f"{key!r} is missing")
    return _of_kind(table[key], key, kind)


def optional(table: Mapping[str, Any], key: str, kind: type[T], default: T) -> T:
    """The value under ``key``, or ``default`` where there is none or null. Raises MalformedError."""
    value = table.get(key)
    return default if value is None else _of_kind(value, key, kind)


def _of_kind(value: object, key: str, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise MalformedError(f"{key!r} is not {_NAMES[kind]}")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise MalformedError("an object has the same key twice")
    return table


def _not_a_number(text: str) -> NoReturn:
    raise MalformedError(f"{text} is not JSON")
