"""An RFC 3161 timestamp authority, for tests: what it answers, without the server around it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def timestamp_reply(
    request: bytes, certificate: x509.Certificate, sign: Callable[[bytes], bytes], when: datetime | None = None
) -> bytes:
    """A granted time-stamp for the request, dated ``when`` or now, by the holder of ``certificate``."""
    asked = tsp.TimeStampReq.load(request)
    signer = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    now = (when or datetime.now(UTC)).replace(microsecond=0)
    info = tsp.TSTInfo(
        {
            "version": "v1",
            "policy": "1.3.6.1.4.1.57264.2",
            "message_imprint": asked["message_imprint"],
            "serial_number": secrets.randbits(63),
            "gen_time": now,
            "nonce": asked["nonce"].native,
        }
    )
    identifier = tsp.ESSCertIDv2({"hash_algorithm": {"algorithm": "sha256"}, "cert_hash": _sha256(signer.dump())})
    values = {
        "content_type": "tst_info",
        "signing_time": cms.Time({"utc_time": now}),
        "message_digest": _sha256(info.dump()),
        "signing_certificate_v2": tsp.SigningCertificateV2({"certs": [identifier]}),
    }
    attributes = cms.CMSAttributes([cms.CMSAttribute({"type": k, "values": [v]}) for k, v in values.items()])
    who = {"issuer": signer.issuer, "serial_number": signer.serial_number}
    signer_info = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier({"issuer_and_serial_number": who}),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": sign(attributes.untag().dump()),
        }
    )
    signed = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info.dump())},
            "certificates": [signer],
            "signer_infos": [signer_info],
        }
    )
    token = cms.ContentInfo({"content_type": "signed_data", "content": signed})
    reply: bytes = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump()
    return reply


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
