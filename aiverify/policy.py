"""The user's rules, as a value that exists only if it is valid.

Rules it keeps:

1. A key that is not known, or is not of its type, is an error that names the file and the key.
2. Keys that weaken (trust, waivers, accepting what was not examined, later thresholds) are refused from a source that
   may only tighten.
3. The digest covers everything that can change a verdict.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from aiverify.errors import AiverifyError
from aiverify.finding import Severity
from aiverify.known_bad import BadModel, FeedError, read_feed
from aiverify.report import PolicyRecord, PolicySource
from aiverify.rules import rules
from aiverify.signer_tables import SignerTableError, read_expectation
from aiverify.signers import Expectation, description


class PolicyError(AiverifyError):
    """A policy cannot be read, or is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRule:
    """Who is expected to sign, and for which repositories (shell patterns; local artifacts match only ``*``)."""

    expected: Expectation
    repositories: tuple[str, ...] = ("*",)

    def applies_to(self, repo: str | None) -> bool:
        """Whether the rule speaks of ``repo`` (``None`` for a local artifact)."""
        return any(pattern == "*" or (repo is not None and fnmatchcase(repo, pattern)) for pattern in self.repositories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One rule that does not count for one content (SHA-256): why, and the last day on which that holds."""

    rule: str
    sha256: str
    reason: str
    expires: datetime.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is allowed. The defaults are the default policy.

    ``review_at`` and ``block_at`` are the severities from which a finding asks for review or blocks.
    ``trusted_globals`` are dotted names that pickles may use; a dangerous name cannot be trusted. ``accept_unexamined``
    are patterns of paths that may stay unexamined. ``twin_of_blocked`` lets the safetensors twin of a blocked
    checkpoint pass. ``known_repositories`` (``org/name`` or ``org/*``) are those that others may be named after; they
    change no verdict. ``attestors`` are those whose verdict may be taken over (a signer of models is none by that);
    they change no verdict of one's own.
    """

    require_signature: bool = False
    signers: tuple[SignerRule, ...] = ()
    review_at: Severity = Severity.MEDIUM
    block_at: Severity = Severity.HIGH
    trusted_globals: frozenset[str] = frozenset()
    accept_unexamined: tuple[str, ...] = ()
    twin_of_blocked: bool = False
    waivers: tuple[Waiver, ...] = ()
    known_bad: tuple[BadModel, ...] = ()
    known_repositories: tuple[str, ...] = ()
    attestors: tuple[SignerRule, ...] = ()
    sources: tuple[PolicySource, ...] = field(default=(PolicySource(name="default policy"),))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that can change a verdict, without the names of files."""
        content = asdict(replace(self, sources=(), signers=(), attestors=()))
        del content["known_repositories"], content["attestors"]
        content["signers"] = [[rule.repositories, description(rule.expected)] for rule in self.signers]
        canonical = json.dumps(content, sort_keys=True, default=_plain)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def record(self) -> PolicyRecord:
        """What a report says about this policy."""
        return PolicyRecord(sources=self.sources, digest=self.digest)

    def with_signer(self, signer: SignerRule, source: str) -> Policy:
        """This policy with ``signer`` as the only expected one, and a signature required: an option overrides files."""
        return replace(
            self, signers=(signer,), require_signature=True, sources=(*self.sources, PolicySource(name=source))
        )

    def with_attestor(self, attestor: SignerRule, source: str) -> Policy:
        """This policy with ``attestor`` as the only one whose verdict may be taken over."""
        return replace(self, attestors=(attestor,), sources=(*self.sources, PolicySource(name=source)))

    def requiring_signature(self, source: str) -> Policy:
        """This policy with a signature required."""
        return replace(self, require_signature=True, sources=(*self.sources, PolicySource(name=source)))

    def tightened_by(self, other: Policy) -> Policy:
        """This policy, made stricter by ``other``, which must be free of keys that weaken.

        Raises PolicyError if both name signers, and not the same: another signer is not a stricter one.
        """
        if self.signers and other.signers and self.signers != other.signers:
            raise PolicyError(
                f"{other.sources[-1].name}: signers: {self.sources[-1].name} names the expected signers already",
                hint="Only --policy may put others in their place.",
            )
        return replace(
            self,
            require_signature=self.require_signature or other.require_signature,
            signers=self.signers or other.signers,
            review_at=min(self.review_at, other.review_at, key=lambda severity: severity.rank),
            block_at=min(self.block_at, other.block_at, key=lambda severity: severity.rank),
            known_bad=tuple(dict.fromkeys((*self.known_bad, *other.known_bad))),
            known_repositories=(*self.known_repositories, *other.known_repositories),
            sources=(*self.sources, *other.sources),
        )


DEFAULT_POLICY = Policy()
_TOP = "the file"


def read_policy(path: Path, *, may_weaken: bool = True, table: str | None = None) -> Policy:
    """The policy in the TOML file ``path``; ``table`` is the dotted table that holds it, as in ``pyproject.toml``.

    Raises PolicyError. Key files are taken relative to the policy file.
    """
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise PolicyError(f"{path}: cannot be read: {reason or error}") from error
    try:
        content: object = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of too many digits
        raise PolicyError(f"{path}: not valid TOML: {error}") from error
    for key in table.split(".") if table else ():
        content = content.get(key, {}) if isinstance(content, dict) else {}
    source = PolicySource(name=str(path), digest=hashlib.sha256(raw).hexdigest())
    return replace(_Reader(path, may_weaken).policy(content), sources=(source,))


def _plain(value: object) -> object:
    """JSON for what ``asdict`` leaves: sets and dates."""
    return sorted(value) if isinstance(value, frozenset) else str(value)


class _Reader:
    """Reads one parsed TOML table into a Policy."""

    def __init__(self, path: Path, may_weaken: bool) -> None:
        self.path = path
        self.may_weaken = may_weaken

    def _error(self, key: str, problem: str) -> PolicyError:
        return PolicyError(f"{self.path}: {key}: {problem}")

    def policy(self, content: object) -> Policy:
        table = self._table(_TOP, content, {*_KEYS, "trust"})
        trust = self._table("trust", table.pop("trust", {}), {"globals"})
        values: dict[str, Any] = {key: _KEYS[key](self, key, value) for key, value in table.items()}
        if trust:
            values["trusted_globals"] = frozenset(self._names("trust.globals", trust.get("globals", [])))
        result = Policy(**values)
        if not self.may_weaken:
            self._check_tightens(result)
        if result.review_at.rank > result.block_at.rank:
            raise self._error("review_at", "must not come after block_at")
        return result

    def _check_tightens(self, result: Policy) -> None:
        default = DEFAULT_POLICY
        for item in fields(Policy):
            value = getattr(result, item.name)
            if item.name in ("review_at", "block_at"):
                weakens = value.rank > getattr(default, item.name).rank
            else:
                weakens = item.name in _WEAKENING and value != getattr(default, item.name)
            if weakens:
                raise self._error(item.name, "weakens the policy, which the environment may not: give it with --policy")

    def _table(self, key: str, value: object, allowed: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(key, "must be a table")
        for unknown in sorted(set(value) - allowed):
            name = unknown if key == _TOP else f"{key}.{unknown}"
            raise self._error(name, f"is not a known key; known are {', '.join(sorted(allowed))}")
        return dict(value)

    def flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self._error(key, "must be true or false")
        return value

    def severity(self, key: str, value: object) -> Severity:
        try:
            return Severity(value)  # type: ignore[arg-type]  # an enum refuses what is no member, of whatever type
        except ValueError:
            raise self._error(key, f"must be one of {', '.join(Severity)}") from None

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self._error(key, "must be text")
        return value

    def _names(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self._error(key, "must be a list of text")
        return tuple(self._text(key, item) for item in value)

    def patterns(self, key: str, value: object) -> tuple[str, ...]:
        return self._names(key, value)

    def feeds(self, key: str, value: object) -> tuple[BadModel, ...]:
        try:
            return tuple(
                entry
                for name in self._names(key, value)
                for entry in read_feed(self.path.parent / Path(name).expanduser())
            )
        except FeedError as error:
            raise PolicyError(f"{self.path}: {key}: {error}") from None

    def signers(self, key: str, value: object) -> tuple[SignerRule, ...]:
        return tuple(self._signer(f"{key}[{number}]", item) for number, item in enumerate(self._list(key, value)))

    def waivers(self, key: str, value: object) -> tuple[Waiver, ...]:
        return tuple(self._waiver(f"{key}[{number}]", item) for number, item in enumerate(self._list(key, value)))

    def _list(self, key: str, value: object) -> list[object]:
        if not isinstance(value, list):
            raise self._error(key, f"must be written as [[{key}]]")
        return value

    def _signer(self, key: str, value: object) -> SignerRule:
        if not isinstance(value, dict):
            raise self._error(key, "must be a table")
        table = dict(value)
        repositories = self._names(f"{key}.repositories", table.pop("repositories", ["*"]))
        try:
            return SignerRule(repositories=repositories, expected=read_expectation(table, key, self.path.parent))
        except SignerTableError as error:
            raise PolicyError(f"{self.path}: {error}") from None

    def _waiver(self, key: str, value: object) -> Waiver:
        table = self._table(key, value, {"rule", "sha256", "reason", "expires"})
        for missing in sorted({"rule", "sha256", "reason", "expires"} - set(table)):
            raise self._error(key, f"needs {missing}")
        rule, digest = self._text(f"{key}.rule", table["rule"]), self._text(f"{key}.sha256", table["sha256"])
        expires = table["expires"]
        if rule not in rules():
            raise self._error(f"{key}.rule", f"{rule} is not a rule")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise self._error(f"{key}.sha256", "must be 64 lower-case hex digits")
        if not isinstance(expires, datetime.date) or isinstance(expires, datetime.datetime):
            raise self._error(f"{key}.expires", "must be a date, as in 2027-01-31")
        return Waiver(rule=rule, sha256=digest, reason=self._text(f"{key}.reason", table["reason"]), expires=expires)


_KEYS: Mapping[str, Callable[[_Reader, str, object], object]] = {
    "require_signature": _Reader.flag,
    "signers": _Reader.signers,
    "review_at": _Reader.severity,
    "block_at": _Reader.severity,
    "accept_unexamined": _Reader.patterns,
    "twin_of_blocked": _Reader.flag,
    "waivers": _Reader.waivers,
    "known_bad": _Reader.feeds,
    "known_repositories": _Reader.patterns,
    "attestors": _Reader.signers,
}
_WEAKENING = frozenset(("trusted_globals", "accept_unexamined", "twin_of_blocked", "waivers", "attestors"))
