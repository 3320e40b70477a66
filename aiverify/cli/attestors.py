"""Whose attestations may be taken over, and on which terms: the options of ``verify`` for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from aiverify.errors import UsageError

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.signers import Signer

_PANEL = "Attestations"
MAX_AGE_DAYS = 30  # as attestations.acceptance has it, which --help does not import

Accept = Annotated[
    list[Path],
    typer.Option(
        "--accept-attestation",
        help="Scan nothing: take over the verdict of this attestation, if it holds for these files. May be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Identity = Annotated[
    str | None,
    typer.Option(help="The identity that must have attested; needs --attestor-oidc-issuer.", rich_help_panel=_PANEL),
]
OidcIssuer = Annotated[
    str | None, typer.Option(help="The OpenID Connect issuer of that identity.", rich_help_panel=_PANEL)
]
Key = Annotated[Path | None, typer.Option(help="Public key (PEM) that must have attested.", rich_help_panel=_PANEL)]
Ca = Annotated[
    Path | None,
    typer.Option(help="Certificates (PEM) of the authority that the attestor must be under.", rich_help_panel=_PANEL),
]
CaSubject = Annotated[
    str | None, typer.Option(help="Who the attestor's certificate must be for.", rich_help_panel=_PANEL)
]
MaxAge = Annotated[
    int, typer.Option(help="How many days ago the files may have been verified.", rich_help_panel=_PANEL)
]
OtherPolicy = Annotated[
    list[str],
    typer.Option(
        help="Digest (SHA-256) of a policy that counts like the one in force. May be repeated.", rich_help_panel=_PANEL
    ),
]
OldestVersion = Annotated[
    str | None,
    typer.Option(help="Oldest version of aiverify whose word counts; otherwise this one.", rich_help_panel=_PANEL),
]


class Attestation(NamedTuple):
    """Which attestations there are, on which terms they count, and who must have made them."""

    accept_attestation: Accept = []
    attestor_identity: Identity = None
    attestor_oidc_issuer: OidcIssuer = None
    attestor_key: Key = None
    attestor_ca: Ca = None
    attestor_ca_subject: CaSubject = None
    max_age: MaxAge = MAX_AGE_DAYS
    attested_policy: OtherPolicy = []
    attested_version: OldestVersion = None


def asked_for(options: Attestation) -> tuple[Attestations | None, Signer | None]:
    """The attestations that ``options`` name, and who must have made them. Raises UsageError."""
    attestations = attestations_of(
        options.accept_attestation,
        max_age=options.max_age,
        policies=options.attested_policy,
        oldest=options.attested_version,
    )
    return attestations, attestor_of(
        identity=options.attestor_identity,
        issuer=options.attestor_oidc_issuer,
        key=options.attestor_key,
        ca=options.attestor_ca,
        subject=options.attestor_ca_subject,
        wanted=attestations is not None,
    )


def attestations_of(
    bundles: Sequence[Path], *, max_age: int, policies: Sequence[str], oldest: str | None
) -> Attestations | None:
    """The attestations that the options name, with the terms for them; ``None`` without any. Raises UsageError."""
    import re
    from datetime import timedelta

    if not bundles:
        if policies or oldest is not None:
            raise UsageError("there are terms for an attestation, but none is given", hint="Give --accept-attestation.")
        return None
    from aiverify.attestations.stage import Attestations
    from aiverify.version import __version__

    for policy in policies:
        if not re.fullmatch("[0-9a-f]{64}", policy):
            raise UsageError(f"{policy[:80]!r} is no digest of a policy", hint="Give its 64 lower-case hex digits.")
    if not 0 < max_age < 36500:
        raise UsageError(f"--max-age {max_age} is no age", hint="Give a number of days.")
    return Attestations(
        bundles=tuple(bundles),
        max_age=timedelta(days=max_age),
        policies=tuple(policies),
        oldest=oldest if oldest is not None else __version__,
    )


def attestor_of(
    *, identity: str | None, issuer: str | None, key: Path | None, ca: Path | None, subject: str | None, wanted: bool
) -> Signer | None:
    """The attestor that the options name, if they do. ``wanted`` tells that there is an attestation. Raises UsageError.

    An option that is given and empty, as of an unset variable, is an error.
    """
    from aiverify.arguments import pem
    from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner

    named = identity is not None or issuer is not None
    given = sum((named, key is not None, ca is not None))
    if (given or subject is not None) and not wanted:
        raise UsageError("an attestor is named, but no attestation", hint="Give --accept-attestation.")
    if given > 1:
        raise UsageError("several attestors are named", hint="Give one; [[attestors]] in the policy can ask for more.")
    if subject is not None and ca is None:
        raise UsageError("a subject is pinned, but no authority is named", hint="Give --attestor-ca, too.")
    if named:
        if not (identity and issuer):
            raise UsageError(
                "an identity and an issuer are needed together",
                hint="Give both --attestor-identity and --attestor-oidc-issuer.",
            )
        return KeylessSigner(identity, issuer)
    if key is not None:
        return KeySigner(pem(key, "public key", "--attestor-key"), str(key))
    if ca is not None:
        return CertificateSigner(pem(ca, "certificates", "--attestor-ca"), subject, str(ca))
    return None
