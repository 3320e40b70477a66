"""Reading an untrusted JSON object field by field: every error names the place, ``findings[3].location.offset``.

The rules: an object has exactly the fields that it is declared with, no more and no fewer; ``null`` only where it is
allowed; a boolean is no number; numbers are not negative, and not greater than 2**64.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from aiverify.reporters.hostile import printable
from aiverify.reporters.interface import ReporterError

Choice = TypeVar("Choice", bound=enum.StrEnum)

MAX_DEPTH = 32
MAX_NUMBER = 2**64


class Fields:
    """The fields of one JSON object, which stands at ``where``."""

    def __init__(
        self, value: object, where: str, names: Collection[str], defaults: Mapping[str, object] | None = None
    ) -> None:
        if not isinstance(value, dict):
            raise ReporterError(f"{where or 'the report'}: must be an object, is {_kind(value)}")
        value = {**(defaults or {}), **value}
        self._values = value
        self._where = where
        for name in names:
            if name not in value:
                raise ReporterError(f"{self.place(name)}: is missing")
        for name in value:
            if name not in names:
                raise ReporterError(f"{self.place(printable(str(name), limit=60))}: is not a field of this object")

    def place(self, name: str) -> str:
        """Where the field ``name`` stands."""
        return f"{self._where}.{name}" if self._where else name

    def text(self, name: str, form: re.Pattern[str] | None = None) -> str:
        """A string; all of it has to match ``form``."""
        value = self._values[name]
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        if form is not None and not form.fullmatch(value):
            raise ReporterError(
                f"{self.place(name)}: is not of the expected form, {printable(form.pattern)}: {_shown(value)}"
            )
        return value

    def optional_text(self, name: str, form: re.Pattern[str] | None = None) -> str | None:
        """A string, or ``None`` for null."""
        return None if self._values[name] is None else self.text(name, form)

    def word(self, name: str, words: Collection[str]) -> str:
        """One of ``words``."""
        value = self.text(name)
        if value not in words:
            raise ReporterError(f"{self.place(name)}: must be one of {', '.join(words)}, is {_shown(value)}")
        return value

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        """A member of a closed set."""
        return kind(self.word(name, [member.value for member in kind]))

    def flag(self, name: str) -> bool:
        """A boolean."""
        value = self._values[name]
        if not isinstance(value, bool):
            raise self._wrong(name, "a boolean")
        return value

    def count(self, name: str) -> int:
        """A whole number, zero or more."""
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "a whole number")
        if value < 0:
            raise ReporterError(f"{self.place(name)}: must not be negative")
        if value > MAX_NUMBER:
            raise ReporterError(f"{self.place(name)}: must not be greater than 2**64")
        return value

    def optional_count(self, name: str) -> int | None:
        """A whole number, zero or more, or ``None`` for null."""
        return None if self._values[name] is None else self.count(name)

    def number(self, name: str) -> float:
        """A finite number, zero or more."""
        value = self._values[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, "a number")
        # An int of hundreds of digits has no float; comparing it does not need one.
        if not 0 <= value <= MAX_NUMBER:
            raise ReporterError(f"{self.place(name)}: must be a number from 0 to 2**64")
        return float(value)

    def nested(self, name: str, names: Collection[str]) -> Fields:
        """An object with the fields ``names``."""
        return Fields(self._values[name], self.place(name), names)

    def objects(
        self, name: str, names: Collection[str], defaults: Mapping[str, object] | None = None
    ) -> Iterator[Fields]:
        """The members of an array of objects, each with the fields ``names``; those with a default may be missing."""
        for index, item in enumerate(self.values(name)):
            yield Fields(item, f"{self.place(name)}[{index}]", names, defaults)

    def texts(self, name: str) -> tuple[str, ...]:
        """The members of an array of strings."""
        texts: list[str] = []
        for index, item in enumerate(self.values(name)):
            if not isinstance(item, str):
                raise ReporterError(f"{self.place(name)}[{index}]: must be a string, is {_kind(item)}")
            texts.append(item)
        return tuple(texts)

    def free(self, name: str) -> dict[str, object]:
        """An object with fields of any name and JSON values of any kind."""
        value = self._values[name]
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return {key: json_value(item, f"{self.place(name)}.{printable(key, limit=60)}") for key, item in value.items()}

    def values(self, name: str) -> list[object]:
        """The members of an array."""
        value = self._values[name]
        if not isinstance(value, list):
            raise self._wrong(name, "an array")
        return value

    def _wrong(self, name: str, expected: str) -> ReporterError:
        return ReporterError(f"{self.place(name)}: must be {expected}, is {_kind(self._values[name])}")


def json_value(value: object, where: str, depth: int = 0) -> object:
    """``value`` in the kinds that JSON has and every reader keeps.

    Tuples become lists; whole numbers beyond 64 bits become hexadecimal strings; a float that is not finite becomes its
    name as a string. Raises ReporterError for anything that has no JSON form, and below ``MAX_DEPTH`` levels.
    """
    if depth > MAX_DEPTH:
        raise ReporterError(f"{where}: is nested more than {MAX_DEPTH} levels deep")
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value) if abs(value) < 2**64 else hex(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case list() | tuple():
            return [json_value(item, where, depth + 1) for item in value]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {str(key): json_value(item, where, depth + 1) for key, item in value.items()}
        case _:
            raise ReporterError(f"{where}: {type(value).__name__} is no JSON value")


def _kind(value: object) -> str:
    """What JSON calls the kind of ``value``."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _shown(value: str) -> str:
    return f"'{printable(value, limit=60)}'"
