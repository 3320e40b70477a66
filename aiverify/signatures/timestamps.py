"""When was a signature made? What timestamp authorities of a trusted root say (RFC 3161).

A timestamp counts if it is over this signature, by an authority that the root names, while the root names it. One that
does not count is passed over: it proves nothing, and takes nothing from those that do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import TrustedRoot


def proven_times(timestamps: Iterable[bytes], signature: bytes, root: TrustedRoot) -> tuple[datetime, ...]:
    """The times at which ``signature`` existed. ``timestamps`` are answers of authorities, in DER."""
    times = (_proven_time(data, signature, root) for data in timestamps)
    return tuple(sorted(time for time in times if time is not None))


def _proven_time(data: bytes, signature: bytes, root: TrustedRoot) -> datetime | None:
    try:
        answer = decode_timestamp_response(data)
        time = answer.tst_info.gen_time
    except Exception:  # noqa: BLE001 - hostile bytes make the parser raise whatever it meets
        return None
    for authority in root.get_timestamp_authorities():
        start, end = authority.validity_period_start, authority.validity_period_end
        within = start <= time and (end is None or time <= end)
        if within and _is_by(authority.certificates(allow_expired=True), answer, signature):
            return time
    return None


def _is_by(certificates: list[Certificate], answer: TimeStampResponse, signature: bytes) -> bool:
    if len(certificates) < 2:
        return False
    signer, *between, top = certificates
    builder = VerifierBuilder(tsa_certificate=signer, intermediates=list(between), roots=[top])
    try:
        return builder.build().verify_message(answer, signature)
    except VerificationError:
        return False
    except Exception:  # noqa: BLE001 - as above
        return False
