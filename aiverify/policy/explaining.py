"""What a policy says about one artifact or file, and where it says so. Nothing is fetched, and nothing examined."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass

from aiverify.finding import Severity
from aiverify.policy.keys import KEYS
from aiverify.policy.values import REMOTE_CODE, Place, Policy, SignerRule, Waiver
from aiverify.report import Outcome, PolicyRecord
from aiverify.rules import Rule, rules

_LISTED = ("signers", "attestors", "waivers", "known_bad")


class Standing(enum.StrEnum):
    """Whether a waiver counts for a file."""

    COUNTS = "counts"
    EXPIRED = "expired"
    OTHER_CONTENT = "other content"
    DEPENDS = "depends on the content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A setting: its key, its value as JSON has it, and the places that say so (none: it is the default)."""

    key: str
    value: object
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEffect:
    """What a finding under ``rule`` comes to if it has the rule's own severity, and the setting that decides that."""

    rule: Rule
    outcome: Outcome
    because: Stated | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would decide.

    ``repo`` is ``None`` for what is local, ``sha256`` that of a local file if it was taken. ``effects`` says what a
    finding of each severity comes to. ``signers`` are those that apply, and any one of them is enough.
    """

    target: str
    repo: str | None
    sha256: str | None
    policy: PolicyRecord
    settings: tuple[Stated, ...]
    effects: Mapping[Severity, Outcome]
    signers: tuple[SignerRule, ...]
    attestors: tuple[SignerRule, ...]
    waivers: tuple[tuple[Waiver, Standing], ...]
    rule: RuleEffect | None = None


def explained(
    policy: Policy,
    target: str,
    *,
    repo: str | None,
    today: datetime.date,
    sha256: str | None = None,
    rule: str | None = None,
) -> Explanation:
    """What ``policy`` says about ``target``; with ``rule``, which must be one, also what it says about that."""
    here = policy.for_repository(repo)
    settings = {name: _stated(here, name) for name, key in KEYS.items() if key.field not in _LISTED}
    waivers = [waiver for waiver in here.waivers if rule in (None, waiver.rule)]
    return Explanation(
        target=target,
        repo=repo,
        sha256=sha256,
        policy=policy.record,
        settings=tuple(settings.values()),
        effects={severity: here.effect("", severity) for severity in Severity},
        signers=tuple(item for item in here.signers if item.applies_to(repo)),
        attestors=tuple(item for item in here.attestors if item.applies_to(repo)),
        waivers=tuple((waiver, _standing(waiver, sha256, today)) for waiver in waivers),
        rule=_effect(here, settings, rules()[rule]) if rule is not None else None,
    )


def _stated(policy: Policy, key: str) -> Stated:
    field = KEYS[key].field
    value = getattr(policy, field)
    if isinstance(value, frozenset | tuple):
        value = sorted(value)
    elif isinstance(value, enum.StrEnum):
        value = value.value
    return Stated(key=key, value=value, places=policy.places.get(field, ()))


def _effect(policy: Policy, settings: Mapping[str, Stated], rule: Rule) -> RuleEffect:
    outcome = policy.effect(rule.id, rule.severity)
    deciding = {Outcome.BLOCK: "block_at", Outcome.REVIEW: "review_at"}.get(outcome)
    if rule.id in REMOTE_CODE and outcome is not policy.effect("", rule.severity):
        deciding = "remote_code"
    return RuleEffect(rule=rule, outcome=outcome, because=settings[deciding] if deciding else None)


def _standing(waiver: Waiver, sha256: str | None, today: datetime.date) -> Standing:
    if waiver.expires < today:
        return Standing.EXPIRED
    if sha256 is None:
        return Standing.DEPENDS
    return Standing.COUNTS if waiver.sha256 == sha256 else Standing.OTHER_CONTENT
