"""How attesting, and accepting what was attested, fails."""

from __future__ import annotations

from aiverify.errors import AiverifyError


class AttestationError(AiverifyError):
    """There is nothing to attest, or an attestation cannot be used."""
