"""The user's rules, as a value. The digest covers everything that can change a verdict.

A policy is about every artifact; ``for_repository`` gives the one that holds for a single artifact.
"""

from __future__ import annotations

import datetime
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from aiverify.errors import AiverifyError
from aiverify.finding import Severity
from aiverify.policy.strictness import STRICTNESS
from aiverify.report import Outcome, PolicyRecord, PolicySource
from aiverify.rules import rules

if TYPE_CHECKING:
    from aiverify.known_bad import BadModel
    from aiverify.signers import Expectation

#: What weights can be: the variants that a report names, but for twins, which are safetensors.
FORMATS = (
    *("safetensors", "pytorch", "numpy", "gguf", "keras", "onnx", "tensorflow", "tflite", "flax", "openvino", "pmml"),
)
#: The rules about code of the artifact that a loader would run.
REMOTE_CODE = frozenset(("AIV411", "AIV501"))
#: The fields of a policy that can differ between repositories.
BY_REPOSITORY = (
    *("require_signature", "review_at", "block_at", "remote_code", "formats"),
    *("accept_unexamined", "twin_of_blocked", "trusted_globals"),
)


class PolicyError(AiverifyError):
    """A policy cannot be read, or is not valid. Where a key of a file is to blame, it says which, and on which line."""

    def __init__(
        self, message: str, *, hint: str = "", source: str = "", line: int | None = None, key: str = ""
    ) -> None:
        place = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        super().__init__(f"{place}{key}{': ' if key else ''}{message}", hint=hint)
        self.source = source
        self.line = line
        self.key = key
        self.problem = message


class RemoteCode(enum.StrEnum):
    """What code of the artifact comes to that a loader would run: what is seen in it decides, or at least this."""

    JUDGE = "judge"
    REVIEW = "review"
    BLOCK = "block"

    @property
    def rank(self) -> int:
        """Position in the order judge < review < block."""
        return list(type(self)).index(self)

    @property
    def at_least(self) -> Outcome:
        """The outcome that such code has at least."""
        return {"judge": Outcome.PASS, "review": Outcome.REVIEW, "block": Outcome.BLOCK}[self.value]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a policy says something: a source, and a line counted from 1 where the source has lines."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRule:
    """Who is expected to sign, and for which repositories (shell patterns; local artifacts match only ``*``)."""

    expected: Expectation
    repositories: tuple[str, ...] = ("*",)
    place: Place | None = field(default=None, compare=False)

    @property
    def description(self) -> object:
        """The expectation in JSON values."""
        from aiverify.signers import description  # most policies name no signer

        return description(self.expected)

    def applies_to(self, repo: str | None) -> bool:
        """Whether the rule speaks of ``repo`` (``None`` for a local artifact)."""
        return _among(repo, self.repositories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Settings for some repositories (patterns as in ``SignerRule``): the values of fields of ``Policy``, by name.

    With ``tightens`` they count as far as they are stricter than what else holds.
    """

    repositories: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...]
    tightens: bool = False
    place: Place | None = field(default=None, compare=False)

    def applies_to(self, repo: str | None) -> bool:
        """Whether the settings are for ``repo`` (``None`` for a local artifact)."""
        return _among(repo, self.repositories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One rule that does not count for one content (SHA-256): why, and the last day on which that holds."""

    rule: str
    sha256: str
    reason: str
    expires: datetime.date
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is allowed. The defaults are the default policy.

    ``review_at`` and ``block_at`` are the severities from which a finding asks for review or blocks. ``formats`` are
    those that weights may have (``None``: any). ``trusted_globals`` are dotted names that pickles may use; a dangerous
    name cannot be trusted. ``accept_unexamined`` are patterns of paths that may stay unexamined. ``twin_of_blocked``
    lets the safetensors twin of a blocked checkpoint pass. ``known_repositories`` (``org/name`` or ``org/*``) are those
    that others may be named after; they change no verdict. ``attestors`` are those whose verdict may be taken over (a
    signer of models is none by that); they change no verdict of one's own. ``overrides`` are settings for some
    repositories only, in the order in which they count. ``unlocked`` are the keys that a file that extends this policy
    may weaken. ``places`` says of fields where they are set, and ``whole`` is the digest of the policy that this one is
    the part of that is about one repository.
    """

    require_signature: bool = False
    signers: tuple[SignerRule, ...] = ()
    review_at: Severity = Severity.MEDIUM
    block_at: Severity = Severity.HIGH
    remote_code: RemoteCode = RemoteCode.JUDGE
    formats: frozenset[str] | None = None
    trusted_globals: frozenset[str] = frozenset()
    accept_unexamined: tuple[str, ...] = ()
    twin_of_blocked: bool = False
    waivers: tuple[Waiver, ...] = ()
    known_bad: tuple[BadModel, ...] = ()
    known_repositories: tuple[str, ...] = ()
    attestors: tuple[SignerRule, ...] = ()
    overrides: tuple[Override, ...] = ()
    sources: tuple[PolicySource, ...] = field(default=(PolicySource(name="default policy"),))
    unlocked: frozenset[str] = field(default=frozenset(), compare=False)
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict, compare=False)
    whole: str | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that can change a verdict, without the names of files."""
        if self.whole is not None:
            return self.whole
        content: dict[str, object] = {name: getattr(self, name) for name in BY_REPOSITORY}
        content["signers"] = [[rule.repositories, rule.description] for rule in self.signers]
        content["waivers"] = [[item.rule, item.sha256, item.reason, item.expires] for item in self.waivers]
        content["known_bad"] = [[getattr(item, name) for name in item.__slots__] for item in self.known_bad]
        content["overrides"] = [[rule.repositories, rule.settings, rule.tightens] for rule in self.overrides]
        canonical = json.dumps(content, sort_keys=True, default=_plain)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def record(self) -> PolicyRecord:
        """What a report says about this policy."""
        return PolicyRecord(sources=self.sources, digest=self.digest)

    def effect(self, rule: str, severity: Severity) -> Outcome:
        """What a finding of this rule and severity does to a verdict. One that was waived is information."""
        alarm = rule not in rules() or rules()[rule].alarm
        weight = severity.rank if alarm else min(severity.rank, Severity.LOW.rank)
        outcome = Outcome.REVIEW if weight >= self.review_at.rank else Outcome.PASS
        if weight >= self.block_at.rank:
            outcome = Outcome.BLOCK
        if rule in REMOTE_CODE and severity is not Severity.INFO:
            outcome = max(outcome, self.remote_code.at_least, key=lambda item: item.rank)
        return outcome

    def for_repository(self, repo: str | None) -> Policy:
        """The policy for the artifact ``repo`` of the Hub, or for a local one (``None``). Its digest stays the same."""
        if not self.overrides:
            return self
        values: dict[str, Any] = {}
        places = dict(self.places)
        for rule in (rule for rule in self.overrides if rule.applies_to(repo)):
            for name, value in rule.settings:
                above = values.get(name, getattr(self, name))
                strictness = STRICTNESS[name]
                values[name] = (strictness.stricter if rule.tightens else strictness.joined)(above, value)
                if values[name] != above and rule.place is not None:
                    places[name] = (*(places.get(name, ()) if isinstance(value, tuple) else ()), rule.place)
        return replace(self, **values, overrides=(), places=places, whole=self.digest)

    def with_signer(self, signer: SignerRule, source: str) -> Policy:
        """This policy with ``signer`` as the only expected one, and a signature required: an option overrides files."""
        return replace(self.requiring_signature(source), signers=(signer,))

    def with_attestor(self, attestor: SignerRule, source: str) -> Policy:
        """This policy with ``attestor`` as the only one whose verdict may be taken over."""
        return replace(self, attestors=(attestor,), sources=(*self.sources, PolicySource(name=source)))

    def requiring_signature(self, source: str) -> Policy:
        """This policy with a signature required."""
        demand = Policy(require_signature=True, sources=(PolicySource(name=source),))
        return self.tightened_by(replace(demand, places={"require_signature": (Place(source),)}))

    def tightened_by(self, other: Policy) -> Policy:
        """This policy, made stricter by what ``other`` says, which must be free of keys that weaken.

        Raises PolicyError if both name signers of the same repositories, and not the same: another signer is not a
        stricter one.
        """
        said = [name for name in STRICTNESS if name in other.places or getattr(other, name) != _default(name)]
        changes = {name: getattr(other, name) for name in said}
        if "signers" in changes and STRICTNESS["signers"].weakens(self.signers, other.signers):
            raise PolicyError(
                f"{other.sources[-1].name}: signers: {self.sources[-1].name} names the expected signers already",
                hint="Only --policy may put others in their place.",
            )
        values = {name: STRICTNESS[name].stricter(getattr(self, name), value) for name, value in changes.items()}
        changed = {name for name, value in values.items() if value != getattr(self, name)}
        everywhere = tuple((name, value) for name, value in changes.items() if name in BY_REPOSITORY)
        tables = [Override(repositories=("*",), settings=everywhere)] if self.overrides and everywhere else []
        return replace(
            self,
            **values,
            overrides=(*self.overrides, *(replace(rule, tightens=True) for rule in (*tables, *other.overrides))),
            sources=(*self.sources, *other.sources),
            places={**self.places, **{name: where for name, where in other.places.items() if name in changed}},
        )


DEFAULT_POLICY = Policy()


def _default(name: str) -> object:
    return getattr(DEFAULT_POLICY, name)


def _among(repo: str | None, patterns: Sequence[str]) -> bool:
    """The Hub leads a name in other letters (``ACME/Model``) to the same repository, so case does not count."""
    name = None if repo is None else repo.lower()
    return any(pattern == "*" or (name is not None and fnmatchcase(name, pattern.lower())) for pattern in patterns)


def _plain(value: object) -> object:
    """JSON for sets and dates."""
    return sorted(value) if isinstance(value, frozenset) else str(value)
