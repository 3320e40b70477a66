"""What in a valid policy does not do what its author will expect."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from aiverify.policy.values import Place, Policy, SignerRule
from aiverify.signers import CertificateSigner, KeylessSigner, signers_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing to look at: the key, where it stands, and what about it."""

    key: str
    place: Place | None
    message: str


def remarks(policy: Policy, today: datetime.date) -> Iterator[Remark]:
    """What to look at in ``policy``, as of ``today``."""
    for waiver in policy.waivers:
        if waiver.expires < today:
            message = f"the waiver of {waiver.rule} ran out on {waiver.expires}, and does not count any more"
            yield Remark(key="waivers", place=waiver.place, message=message)
    demanded = policy.require_signature or any(
        dict(rule.settings).get("require_signature") for rule in policy.overrides
    )
    if demanded and not policy.signers:
        message = "a signature is required and no signer is named: no signature will do"
        yield Remark(key="require_signature", place=_place(policy, "require_signature"), message=message)
    for key, rules in (("signers", policy.signers), ("attestors", policy.attestors)):
        for rule in rules:
            yield from _unpinned(key, rule)
    for pattern in policy.accept_unexamined:
        if not pattern.strip("*"):
            message = f"{pattern} lets every file pass that could not be examined"
            yield Remark(key="accept_unexamined", place=_place(policy, "accept_unexamined"), message=message)


def _unpinned(key: str, rule: SignerRule) -> Iterator[Remark]:
    """Signers that are hardly anybody in particular."""
    for signer in signers_in(rule.expected):
        if isinstance(signer, CertificateSigner) and signer.subject is None:
            message = f"{signer}: without subject, everybody counts whom that authority certifies"
            yield Remark(key=key, place=rule.place, message=message)
        if isinstance(signer, KeylessSigner) and "*" in signer.identity and signer.source_repository is None:
            message = f"{signer}: the identity is a pattern; source_repository would pin it to one repository"
            yield Remark(key=key, place=rule.place, message=message)


def _place(policy: Policy, field: str) -> Place | None:
    places = policy.places.get(field, ())
    return places[-1] if places else None
