"""A whole Sigstore on loopback, for tests: real clients sign and verify against it under its own trusted root.

Fulcio with a certificate transparency log, Rekor versions 1 and 2, an RFC 3161 timestamp authority, and an OpenID
Connect issuer: for a person with a browser (whose consent it takes for granted), and for a CI job. Every log is a tree
with one leaf, and every key is on P-256. Use it as a context manager. ``local_tuf.py`` hands out its trusted root and
signing configuration.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import rfc8785
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from local_timestamps import timestamp_reply

ISSUER = "https://accounts.example.test"
SINCE = {"start": "2020-01-01T00:00:00Z"}
FULCIO = "1.3.6.1.4.1.57264.1"
FULCIO_ISSUER = ObjectIdentifier(f"{FULCIO}.1")
FULCIO_ISSUER_V2 = ObjectIdentifier(f"{FULCIO}.8")
SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class SigningKey:
    """An ECDSA key, and the id that logs derive from it."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public = self.private.public_key()
        self.spki = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.id = sha256(self.spki)

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(SHA256()))


class Log(SigningKey):
    """A transparency log in which every entry is the only one."""

    def inclusion(self, body: bytes) -> tuple[bytes, str]:
        """The root hash of the tree that holds ``body``, and the signed checkpoint for it."""
        root = sha256(b"\0" + body)
        note = f"log.test\n1\n{text64(root)}\n"
        return root, f"{note}\n\N{EM DASH} log.test {text64(self.id[:4] + self.sign(note.encode()))}\n"

    def description(self, url: str) -> dict[str, Any]:
        key = {"rawBytes": text64(self.spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": SINCE}
        return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": key, "logId": {"keyId": text64(self.id)}}


def _named(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": sha256(data).hex()}


def certificate(
    name: str, issuer: str, key: ec.EllipticCurvePublicKey, start: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    issued_by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    return x509.CertificateBuilder(
        issued_by, x509.Name(subject), key, x509.random_serial_number(), start, start + lifetime
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usages = dict.fromkeys((*names, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    wanted = ("key_cert_sign", "crl_sign") if signs_certificates else ("digital_signature",)
    return x509.KeyUsage(**{**usages, **dict.fromkeys(wanted, True)})


class Authority(SigningKey):
    """A certificate authority with a self-signed root."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        start = datetime.now(UTC) - timedelta(days=365)
        self.root = (
            certificate(name, name, self.public, start, timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .sign(self.private, SHA256())
        )

    def leaf(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        usage: ObjectIdentifier,
        lifetime: timedelta,
        age: timedelta = timedelta(seconds=1),
    ) -> x509.CertificateBuilder:
        start = datetime.now(UTC) - age
        return (
            certificate(name, self.name, key, start, lifetime)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.public), critical=False)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=usage == ExtendedKeyUsageOID.TIME_STAMPING)
        )


def authority_description(url: str, *chain: x509.Certificate) -> dict[str, Any]:
    certificates = [{"rawBytes": text64(one.public_bytes(Encoding.DER))} for one in chain]
    subject = {"organization": "local.test", "commonName": "local.test"}
    return {"subject": subject, "uri": url, "certChain": {"certificates": certificates}, "validFor": SINCE}


class LocalSigstore:
    """The services, and what clients must know to use them.

    ``log_delay`` is how late Rekor 1 dates its entries. ``person`` is who sits at the browser and in the CI job.
    ``failing`` are the paths of services that answer with an error, which quotes the request, as some do.
    """

    def __init__(self, *, log_delay: timedelta = timedelta(0)) -> None:
        self.log_delay = log_delay
        self.person = "person@example.test"
        self.failing: set[str] = set()
        self._consents: dict[str, str] = {}
        self.fulcio, self.ct_log = Authority("fulcio.test"), Log()
        self.rekor, self.rekor2 = Log(), Log()
        self.tsa_root, self.tsa = Authority("tsa-root.test"), SigningKey()
        self.tsa_certificate = (
            self.tsa_root.leaf(
                "tsa.test",
                self.tsa.public,
                ExtendedKeyUsageOID.TIME_STAMPING,
                lifetime=timedelta(days=365),
                age=timedelta(days=30),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.tsa_root.private, SHA256())
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LocalSigstore:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, identity: str, *, issuer: str = ISSUER, run: Mapping[str, str] | None = None) -> str:
        """An identity token. Clients pass it on unchecked, so any signature will do.

        ``run`` are claims about the run of a workflow, by the last part of the extension that Fulcio makes of each.
        """
        now = int(datetime.now(UTC).timestamp())
        claims = {"iss": issuer, "aud": "sigstore", "sub": identity, "iat": now, "exp": now + 600, "run": run or {}}
        return jwt.encode(claims, "k" * 32, "HS256")

    def trusted_root(self) -> dict[str, Any]:
        """What a verifier must trust: the content of a trusted_root.json."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.rekor.description(self.url), self.rekor2.description(self.url)],
            "ctlogs": [self.ct_log.description(self.url)],
            "certificateAuthorities": [authority_description(self.url, self.fulcio.root)],
            "timestampAuthorities": [authority_description(self.url, self.tsa_certificate, self.tsa_root.root)],
        }

    def client_trust_config(self, *, rekor: int = 1, timestamps: bool = True) -> str:
        """The trusted root, and where to sign."""
        media_type = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        root, config = self.trusted_root(), self.signing_config(rekor=rekor, timestamps=timestamps)
        return json.dumps({"mediaType": media_type, "trustedRoot": root, "signingConfig": config})

    def signing_config(self, *, rekor: int = 1, timestamps: bool = True) -> dict[str, Any]:
        """Where to sign: Rekor's major version, and whether the timestamp authority is used."""

        def service(path: str, version: int = 1) -> list[dict[str, Any]]:
            url = f"{self.url}{path}"
            return [{"url": url, "majorApiVersion": version, "validFor": SINCE, "operator": "local.test"}]

        return {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(""),
            "oidcUrls": service(""),
            "rekorTlogUrls": service("", rekor),
            "tsaUrls": service("/api/v1/timestamp") if timestamps else [],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }

    def ci_job(self) -> dict[str, str]:
        """The environment of a job on GitHub that may ask for an identity token."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/ci_token?job=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret-of-the-job",
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sigstore = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                asked = dict(parse_qsl(query))
                if path == "/.well-known/openid-configuration":
                    names = ("authorization_endpoint", "token_endpoint")
                    self.answer_json(200, {name: f"{sigstore.url}/{name}" for name in names})
                elif path == "/authorization_endpoint":
                    back = urlencode({"code": sigstore.consent(asked), "state": asked["state"]})
                    if asked["redirect_uri"].startswith("http"):
                        self.send_response(302)
                        self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                    else:
                        self.answer_json(200, dict(parse_qsl(back)))
                elif path == "/ci_token" and self.headers["Authorization"] == "bearer secret-of-the-job":
                    self.answer_json(200, {"value": sigstore.token(sigstore.person)})
                else:
                    self.answer_json(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path in sigstore.failing:
                    self.answer_json(400, {"message": f"no: {self.headers['Authorization']} {body.decode()}"})
                    return
                if self.path == "/token_endpoint":
                    self.answer_json(200, sigstore.token_for(dict(parse_qsl(body.decode()))))
                    return
                if self.path == "/api/v1/timestamp":
                    self.answer(201, "application/timestamp-reply", sigstore.timestamp(body))
                    return
                request = json.loads(body)
                if self.path == "/api/v2/signingCert":
                    answer = sigstore.issue(request, self.headers["Authorization"].removeprefix("Bearer "))
                elif self.path.rstrip("/") == "/api/v1/log/entries":
                    answer = sigstore.log_v1(request)
                else:
                    answer = sigstore.log_v2(request["hashedRekordRequestV002"])
                self.answer_json(201, answer)

            def answer_json(self, status: int, answer: Mapping[str, Any]) -> None:
                self.answer(status, "application/json", json.dumps(answer).encode())

            def answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def consent(self, asked: Mapping[str, str]) -> str:
        """The person at the browser agrees: a code, good for one token."""
        code = secrets.token_hex(8)
        self._consents[code] = asked["code_challenge"]
        return code

    def token_for(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The token for a code, if the one who brings it is the one who asked (RFC 7636)."""
        challenge = self._consents.pop(form["code"], None)
        verifier = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode())).rstrip(b"=").decode()
        return {"access_token": self.token(self.person)} if verifier == challenge else {"error": "invalid_grant"}

    def issue(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """Fulcio: a ten-minute certificate for the subject of the token, with a promise of the CT log inside."""
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        claims = jwt.decode(token, options={"verify_signature": False})
        identity, issuer = claims["sub"], claims["iss"]
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        builder = (
            self.fulcio.leaf("", key, ExtendedKeyUsageOID.CODE_SIGNING, timedelta(minutes=10))
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(FULCIO_ISSUER, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(FULCIO_ISSUER_V2, core.UTF8String(issuer).dump()), critical=False)
        )
        for number, text in claims.get("run", {}).items():
            extension = x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO}.{number}"), core.UTF8String(text).dump())
            builder = builder.add_extension(extension, critical=False)
        promise = core.OctetString(self._sct_list(builder)).dump()
        leaf = builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, promise), critical=False)
        chain = [leaf.sign(self.fulcio.private, SHA256()), self.fulcio.root]
        pems = [one.public_bytes(Encoding.PEM).decode() for one in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def _sct_list(self, builder: x509.CertificateBuilder) -> bytes:
        """RFC 6962 section 3.2, over the certificate as it is before the list is part of it."""
        tbs = builder.sign(self.fulcio.private, SHA256()).tbs_certificate_bytes
        milliseconds = int(datetime.now(UTC).timestamp() * 1000)
        precertificate = self.fulcio.id + len(tbs).to_bytes(3, "big") + tbs
        signature = self.ct_log.sign(b"\0\0" + struct.pack(">QH", milliseconds, 1) + precertificate + b"\0\0")
        sct = b"\0" + self.ct_log.id + struct.pack(">QHBBH", milliseconds, 0, 4, 3, len(signature)) + signature
        return struct.pack(">HH", len(sct) + 2, len(sct)) + sct

    def log_v1(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Rekor 1: a ``dsse`` or ``hashedrekord`` entry, with an inclusion proof and a signed entry timestamp."""
        if proposed["kind"] == "dsse":
            content = proposed["spec"]["proposedContent"]
            envelope = json.loads(content["envelope"])
            spec: dict[str, Any] = {
                "envelopeHash": _named(content["envelope"].encode()),
                "payloadHash": _named(base64.b64decode(envelope["payload"])),
                "signatures": [
                    {"signature": one["sig"], "verifier": content["verifiers"][0]} for one in envelope["signatures"]
                ],
            }
        else:
            spec = proposed["spec"]
        body = rfc8785.dumps({"apiVersion": "0.0.1", "kind": proposed["kind"], "spec": spec})
        root, checkpoint = self.rekor.inclusion(body)
        entry: dict[str, str | int] = {
            "body": text64(body),
            "integratedTime": int((datetime.now(UTC) + self.log_delay).timestamp()),
            "logID": self.rekor.id.hex(),
            "logIndex": 0,
        }
        proof = {"logIndex": 0, "treeSize": 1, "rootHash": root.hex(), "hashes": [], "checkpoint": checkpoint}
        promise = text64(self.rekor.sign(rfc8785.dumps(entry)))
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {secrets.token_hex(32): {**entry, "verification": verification}}

    def log_v2(self, request: dict[str, Any]) -> dict[str, Any]:
        """Rekor 2: a ``hashedrekord`` entry with an inclusion proof; it states no time."""
        version = {"kind": "hashedrekord", "version": "0.0.2"}
        data = {"algorithm": "SHA2_256", "digest": request["digest"]}
        spec = {"hashedRekordV002": {"data": data, "signature": request["signature"]}}
        body = rfc8785.dumps({"apiVersion": version["version"], "kind": version["kind"], "spec": spec})
        root, checkpoint = self.rekor2.inclusion(body)
        proof = {"logIndex": "0", "treeSize": "1", "rootHash": text64(root), "hashes": []}
        return {
            "logIndex": "0",
            "logId": {"keyId": text64(self.rekor2.id)},
            "kindVersion": version,
            "inclusionProof": {**proof, "checkpoint": {"envelope": checkpoint}},
            "canonicalizedBody": text64(body),
        }

    def timestamp(self, request: bytes, when: datetime | None = None) -> bytes:
        """The timestamp authority: a signed statement that what the request names existed now, or ``when``."""
        return timestamp_reply(request, self.tsa_certificate, self.tsa.sign, when)
