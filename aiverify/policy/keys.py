"""The keys of a policy file: which there are, and how the value of each is read.

A key that is not known, or whose value is not of its type, is an error that names the file, the line and the key.
"""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiverify.finding import Severity
from aiverify.known_bad import BadModel, FeedError, read_feed
from aiverify.policy.file import PolicyFile
from aiverify.policy.signer_tables import SignerTableError, read_expectation
from aiverify.policy.values import BY_REPOSITORY, FORMATS, RemoteCode, SignerRule, Waiver
from aiverify.rules import rules

_WAIVER = ("rule", "sha256", "reason", "expires")
_Choice = TypeVar("_Choice", bound=enum.StrEnum)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the top level: the field of ``Policy`` that it sets, and the reader of its value."""

    field: str
    read: Callable[[PolicyFile, str, object], object]


def as_table(file: PolicyFile, key: str, value: object, known: Collection[str]) -> dict[str, Any]:
    """``value`` as a table that has no keys but the ``known``."""
    if not isinstance(value, dict):
        raise file.error(key, "must be a table")
    for unknown in sorted(set(value) - set(known)):
        name = f"{key}.{unknown}" if key else unknown
        raise file.error(name, f"is not a known key; known are {', '.join(sorted(known))}")
    return dict(value)


def as_tables(file: PolicyFile, key: str, value: object) -> list[object]:
    """``value`` as a list, as ``[[key]]`` makes one."""
    if not isinstance(value, list):
        raise file.error(key, f"must be written as [[{key}]]")
    return value


def as_text(file: PolicyFile, key: str, value: object) -> str:
    """``value`` as text that is not empty."""
    if not isinstance(value, str) or not value:
        raise file.error(key, "must be text")
    return value


def as_names(file: PolicyFile, key: str, value: object) -> tuple[str, ...]:
    """``value`` as a list of texts."""
    if not isinstance(value, list):
        raise file.error(key, "must be a list of text")
    return tuple(as_text(file, f"{key}[{number}]", item) for number, item in enumerate(value))


def chosen(file: PolicyFile, key: str, value: object, choices: Collection[str]) -> tuple[str, ...]:
    """``value`` as a list of some of ``choices``."""
    for number, name in enumerate(as_names(file, key, value)):
        if name not in choices:
            raise file.error(f"{key}[{number}]", f"{name} is none of {', '.join(choices)}")
    return as_names(file, key, value)


def one_of(choices: type[_Choice]) -> Callable[[PolicyFile, str, object], _Choice]:
    """The reader of a value that is a member of ``choices``."""

    def read(file: PolicyFile, key: str, value: object) -> _Choice:
        if not isinstance(value, str) or value not in list(choices):
            raise file.error(key, f"must be one of {', '.join(choices)}")
        return choices(value)

    return read


def _flag(file: PolicyFile, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise file.error(key, "must be true or false")
    return value


def _formats(file: PolicyFile, key: str, value: object) -> frozenset[str]:
    if value == []:
        raise file.error(key, "names no format")
    return frozenset(chosen(file, key, value, FORMATS))


def _globals(file: PolicyFile, key: str, value: object) -> frozenset[str]:
    trust = as_table(file, key, value, ("globals",))
    return frozenset(as_names(file, f"{key}.globals", trust.get("globals", [])))


def _feeds(file: PolicyFile, key: str, value: object) -> tuple[BadModel, ...]:
    paths = as_names(file, key, value)
    if paths and file.folder is None:
        raise file.error(key, "the policy is not a file, and cannot name one")
    folder = file.folder or Path()
    try:
        return tuple(entry for path in paths for entry in read_feed(folder / Path(path).expanduser()))
    except FeedError as error:
        raise file.error(key, str(error)) from None


def _signers(file: PolicyFile, key: str, value: object) -> tuple[SignerRule, ...]:
    return tuple(_signer(file, f"{key}[{number}]", item) for number, item in enumerate(as_tables(file, key, value)))


def _signer(file: PolicyFile, key: str, value: object) -> SignerRule:
    if not isinstance(value, dict):
        raise file.error(key, "must be a table")
    rest = dict(value)
    repositories = as_names(file, f"{key}.repositories", rest.pop("repositories", ["*"]))
    try:
        expected = read_expectation(rest, key, file.folder)
    except SignerTableError as error:
        raise file.error(error.key, error.problem) from None
    return SignerRule(repositories=repositories, expected=expected, place=file.place(key))


def _waivers(file: PolicyFile, key: str, value: object) -> tuple[Waiver, ...]:
    return tuple(_waiver(file, f"{key}[{number}]", item) for number, item in enumerate(as_tables(file, key, value)))


def _waiver(file: PolicyFile, key: str, value: object) -> Waiver:
    said = as_table(file, key, value, _WAIVER)
    for missing in sorted(set(_WAIVER) - set(said)):
        raise file.error(key, f"needs {missing}")
    rule, digest = as_text(file, f"{key}.rule", said["rule"]), as_text(file, f"{key}.sha256", said["sha256"])
    if rule not in rules():
        raise file.error(f"{key}.rule", f"{rule} is not a rule", "`aiverify explain` lists them all.")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise file.error(f"{key}.sha256", "must be 64 lower-case hex digits")
    expires = said["expires"]
    if not isinstance(expires, datetime.date) or isinstance(expires, datetime.datetime):
        raise file.error(f"{key}.expires", "must be a date, as in 2027-01-31")
    reason = as_text(file, f"{key}.reason", said["reason"])
    return Waiver(rule=rule, sha256=digest, reason=reason, expires=expires, place=file.place(key))


#: What a file sets. Beside these it may say where it begins (STRUCTURE).
KEYS: Mapping[str, Key] = {
    "require_signature": Key("require_signature", _flag),
    "signers": Key("signers", _signers),
    "review_at": Key("review_at", one_of(Severity)),
    "block_at": Key("block_at", one_of(Severity)),
    "remote_code": Key("remote_code", one_of(RemoteCode)),
    "formats": Key("formats", _formats),
    "trust": Key("trusted_globals", _globals),
    "accept_unexamined": Key("accept_unexamined", as_names),
    "twin_of_blocked": Key("twin_of_blocked", _flag),
    "waivers": Key("waivers", _waivers),
    "known_bad": Key("known_bad", _feeds),
    "known_repositories": Key("known_repositories", as_names),
    "attestors": Key("attestors", _signers),
}
#: The keys that a table of ``[[repositories]]`` may set.
TABLE_KEYS = tuple(name for name, key in KEYS.items() if key.field in BY_REPOSITORY)
STRUCTURE = ("profile", "extends", "may_weaken", "overrides")


def key_of(field: str) -> str:
    """The key that sets this field of ``Policy``."""
    return next(name for name, key in KEYS.items() if key.field == field)
