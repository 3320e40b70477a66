"""Signing a folder: what is signed, what is refused, and who can read it afterwards."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from local_authority import YEAR, Holder, Traits, authority
from local_sigstore import ISSUER, LocalSigstore, key_usage
from local_tuf import LocalTuf
from referencing import Registry, Resource
from signed_models import artifact_files, pem, write_model

from aiverify.errors import AiverifyError, UsageError
from aiverify.files import WriteError
from aiverify.signatures.interface import Authentication, SignatureError
from aiverify.signatures.keyless_signing import KeylessSigning
from aiverify.signatures.making import CertificateSigning, KeySigning, Made, Signing, load_private_key
from aiverify.signatures.manifest import parse_manifest
from aiverify.signatures.stage import authenticate
from aiverify.signatures.tokens import AskedToken, GivenToken
from aiverify.signatures.trust import TrustSource, TufRepository
from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner, Signer
from aiverify.signing import Method, Signed, SigningError, sign
from aiverify.sources.interface import SourceError

IDENTITY = "release@example.test"
CURVES = pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
FILES = {"a/b": b"1", "a-b": b"22", "a/é.txt": b"333", "x:y": b"4", "notes/a.txt": b"n", "empty.txt": b""}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", FILES)


@pytest.fixture
def signing_config(sigstore: LocalSigstore, tmp_path: Path) -> Path:
    path = tmp_path / "signing_config.json"
    path.write_text(json.dumps(sigstore.signing_config()))
    return path


def checked(model: Path, signer: Signer, root: TrustSource | None = None) -> Authentication:
    return authenticate(files=artifact_files(model), root=model, signers=[signer], trusted_root=root)


def outcome(done: Authentication) -> tuple[str, list[tuple[str, str | None]]]:
    return done.results[0].outcome, [(one.rule, one.file) for one in done.findings]


def statement_in(bundle: Path) -> Any:
    return json.loads(base64.b64decode(json.loads(bundle.read_text())["dsseEnvelope"]["payload"]))


def private(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


# round trips


@CURVES
@pytest.mark.parametrize("method", list(Method))
def test_what_is_signed_with_a_key_verifies(model: Path, curve: ec.EllipticCurve, method: Method) -> None:
    key = ec.generate_private_key(curve)
    signed = sign(model, KeySigning(key), method=method)
    done = checked(model, KeySigner(pem(key)))
    expected = [("AIV207", "empty.txt")] if method is Method.SHARDS else []
    assert outcome(done) == ("verified", expected)
    assert set(signed.files) == set(done.results[0].covers)
    (model / "a/b").write_bytes(b"2")
    assert outcome(checked(model, KeySigner(pem(key)))) == ("failed", [*[("AIV205", "a/b")], *expected])


@CURVES
def test_what_is_signed_with_a_certificate_verifies(model: Path, curve: ec.EllipticCurve) -> None:
    root = authority()
    middle = authority("CN=Middle", root)
    holder = Holder(Traits(), middle, curve)
    signing = CertificateSigning(holder.key, holder.certificate, [middle.certificate, root.certificate])
    signed = sign(model, signing)
    assert "CN=Release" in signed.signer
    chain = json.loads(signed.bundle.read_text())["verificationMaterial"]["x509CertificateChain"]["certificates"]
    assert len(chain) == 2  # who trusts the root has it
    assert outcome(checked(model, CertificateSigner(root.pem, "O=Acme"))) == ("verified", [])


@pytest.mark.parametrize("rekor", [1, 2])
def test_what_is_signed_keyless_verifies(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, tmp_path: Path, rekor: int
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(sigstore.signing_config(rekor=rekor)))
    signed = sign(model, KeylessSigning(GivenToken(sigstore.token(IDENTITY)), trusted_root, config))
    assert signed.signer == f"{IDENTITY} (issuer {ISSUER})"
    assert outcome(checked(model, KeylessSigner(IDENTITY, ISSUER), trusted_root)) == ("verified", [])


def test_a_private_instance_says_by_tuf_where_to_sign(model: Path, sigstore: LocalSigstore, tmp_path: Path) -> None:
    content, config = json.dumps(sigstore.trusted_root()).encode(), json.dumps(sigstore.signing_config()).encode()
    with LocalTuf(content) as tuf:
        (tmp_path / "root.json").write_bytes(tuf.root)
        repository = TufRepository(url=tuf.url, root=tmp_path / "root.json", cache=tmp_path / "cache")
        signing = KeylessSigning(GivenToken(sigstore.token(IDENTITY)), repository)
        with pytest.raises(SignatureError, match=r"has no signing_config\.v0\.2\.json"):
            sign(model, signing)
        assert not (model / "model.sig").exists()
        tuf.publish(content, version=2, signing_config=config)
        sign(model, signing)
        assert outcome(checked(model, KeylessSigner(IDENTITY, ISSUER), repository)) == ("verified", [])


# other readers


@CURVES
def test_model_signing_accepts_what_is_signed_with_a_key(model: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    public = tmp_path / "key.pub"
    public.write_bytes(pem(key))
    sign(model, KeySigning(key), output=tmp_path / "out.sig")
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifying.verify(model, tmp_path / "out.sig")
    (model / "a/b").write_bytes(b"2")
    with pytest.raises(ValueError, match="mismatch"):
        verifying.verify(model, tmp_path / "out.sig")


def test_of_shards_model_signing_minds_the_name_of_the_algorithm_only(
    model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    """It calls the digest of a shard sha256-sharded-3, which the schemas of the specification forbid."""
    public = tmp_path / "key.pub"
    public.write_bytes(pem(key))
    (model / "x:y").unlink()  # 1.1.1 cannot read its own name for a shard of such a file
    (model / "long").write_bytes(bytes(range(40)))
    sign(model, KeySigning(key), output=tmp_path / "out.sig", method=Method.SHARDS, shard_size=3)
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    # It cannot tell the size of shards by itself either.
    verifying.set_hashing_config(model_signing.hashing.Config().use_shard_serialization(shard_size=3))
    with pytest.raises(ValueError, match="mismatch") as caught:
        verifying.verify(model, tmp_path / "out.sig")
    pairs = re.findall(
        r"algorithm='([^']+)', digest_value=(b.+?)\)', Actual 'Digest\(algorithm='([^']+)', digest_value=(b.+?)\)'",
        str(caught.value).replace("\\'", "'"),
    )
    assert len(pairs) > 20
    assert {(ours, theirs) for ours, _, theirs, _ in pairs} == {("sha256", "sha256-sharded-3")}
    assert all(ours == theirs for _, ours, _, theirs in pairs)


@CURVES
def test_model_signing_accepts_what_is_signed_with_a_certificate(
    model: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    root = authority()
    holder = Holder(Traits(), root, curve)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    sign(model, CertificateSigning(holder.key, holder.certificate), output=tmp_path / "out.sig")
    verifying = model_signing.verifying.Config()
    verifying.use_certificate_verifier(certificate_chain=[tmp_path / "ca.pem"]).verify(model, tmp_path / "out.sig")


@pytest.mark.parametrize("rekor", [1, 2])
def test_model_signing_accepts_what_is_signed_keyless(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, tmp_path: Path, rekor: int
) -> None:
    config, trust = tmp_path / "config.json", tmp_path / "trust.json"
    config.write_text(json.dumps(sigstore.signing_config(rekor=rekor)))
    trust.write_text(sigstore.client_trust_config(rekor=rekor))
    signing = KeylessSigning(GivenToken(sigstore.token(IDENTITY)), trusted_root, config)
    sign(model, signing, output=tmp_path / "out.sig", ignore=["notes"])
    verifying = model_signing.verifying.Config()
    verifying.use_sigstore_verifier(identity=IDENTITY, oidc_issuer=ISSUER, trust_config=trust)
    verifying.verify(model, tmp_path / "out.sig")


def test_every_kind_of_bundle_keeps_to_the_schemas_of_the_specification(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, signing_config: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    folder = Path(__file__).parent / "schemas"
    schemas = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.schema.json")}
    registry: Registry[Any] = Registry().with_resources(
        [(schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()]
    )
    holder = Holder(Traits(), authority())
    ways: list[Signing] = [
        KeySigning(key),
        CertificateSigning(holder.key, holder.certificate),
        KeylessSigning(GivenToken(sigstore.token(IDENTITY)), trusted_root, signing_config),
    ]
    for way in ways:
        for method in Method:
            signed = sign(model, way, method=method, shard_size=2, ignore=["notes"])
            documents = {"bundle": json.loads(signed.bundle.read_text()), "statement": statement_in(signed.bundle)}
            documents["predicate"] = documents["statement"]["predicate"]
            for name, document in documents.items():
                jsonschema.Draft202012Validator(schemas[name], registry=registry).validate(document)
            broken = {**documents["bundle"], "verificationMaterial": {}}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.Draft202012Validator(schemas["bundle"], registry=registry).validate(broken)


def test_the_same_files_give_the_same_payload(model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    first, second = tmp_path / "1.sig", tmp_path / "2.sig"
    sign(model, KeySigning(key), output=first, ignore=["notes", "a"])
    sign(model, KeySigning(key), output=second, ignore=["a/", "./notes"])
    assert statement_in(first) == statement_in(second)


# what is signed


def test_what_is_left_out_is_said_and_recorded(model: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_model(model, {".gitattributes": b"", ".git/config": b"", ".cache/huggingface/x": b""})
    signed = sign(model, KeySigning(key), ignore=["notes"])
    assert {"notes/a.txt", ".gitattributes"} == set(signed.left_out)
    recorded = statement_in(signed.bundle)["predicate"]["serialization"]["ignore_paths"]
    assert {"notes", ".git", ".gitattributes", ".cache/huggingface", "model.sig"} <= set(recorded)
    verifying = model_signing.verifying.Config()
    public = model.parent / "key.pub"
    public.write_bytes(pem(key))
    verifying.use_elliptic_key_verifier(public_key=public).verify(model, model / "model.sig")


def test_a_second_signature_leaves_the_first_one_alone(model: Path) -> None:
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    sign(model, KeySigning(first))
    sign(model, KeySigning(second), output=model / "model.second.sig")
    for key in (first, second):
        assert [one.outcome for one in checked(model, KeySigner(pem(key))).results].count("verified") == 1


def test_a_signature_is_replaced_and_nothing_else(model: Path, key: ec.EllipticCurvePrivateKey) -> None:
    sign(model, KeySigning(key))
    (model / "a-b").write_bytes(b"new")
    sign(model, KeySigning(key))
    assert outcome(checked(model, KeySigner(pem(key)))) == ("verified", [])
    with pytest.raises(SigningError, match="is no signature"):
        sign(model, KeySigning(key), output=model / "config.json")
    with pytest.raises(SigningError, match="is a folder"):
        sign(model, KeySigning(key), output=model / "a")


def test_links_of_the_hub_cache_stand_for_files(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    repository = tmp_path / "models--org--name"
    snapshot = write_model(repository / "snapshots" / ("0" * 40), FILES)
    (repository / "blobs").mkdir()
    blob = repository / "blobs" / "abc"
    blob.write_bytes(b"weights")
    (snapshot / "model.bin").symlink_to(blob)
    signed = sign(snapshot, KeySigning(key), output=tmp_path / "out.sig")
    assert "model.bin" in signed.files


@given(st.integers(1, 50), st.binary(max_size=200))
def test_shards_make_up_the_file(size: int, data: bytes) -> None:
    import hashlib

    from aiverify.signatures.building import build_sharded_payload, shards_of

    parts = [
        part.having(hashlib.sha256(data[part.start : part.end]).hexdigest()) for part in shards_of(len(data), size)
    ]
    assert b"".join(data[part.start : part.end] for part in parts) == data
    if parts:
        manifest = parse_manifest(build_sharded_payload({"a": parts}, shard_size=size, name="m"))
        assert manifest.resources["a"].parts == tuple(parts)


# what is refused


def _link_out(model: Path) -> None:
    (model / "link").symlink_to("/etc/hostname")


def _link_inside(model: Path) -> None:
    (model / "link").symlink_to(model / "config.json")


def _linked_folder(model: Path) -> None:
    (model / "link").symlink_to(model / "notes")


def _circle(model: Path) -> None:
    (model / "link").symlink_to(model)


def _dangling(model: Path) -> None:
    (model / "link").symlink_to(model / "nowhere")


def _backslash(model: Path) -> None:
    (model / "a\\b").write_bytes(b"")


def _control_character(model: Path) -> None:
    (model / "a\nb").write_bytes(b"")


def _not_utf8(model: Path) -> None:
    os.close(os.open(os.fsencode(model) + b"/\xff", os.O_CREAT))


def _socket(model: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(model)
        one.bind("s")


def _nothing(model: Path) -> None:
    for path in artifact_files(model):
        (model / path.path).unlink()


def _only_ignored(model: Path) -> None:
    _nothing(model)
    (model / ".gitignore").write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [
        _link_out,
        _link_inside,
        _linked_folder,
        _circle,
        _dangling,
        _backslash,
        _control_character,
        _not_utf8,
        _socket,
        _nothing,
        _only_ignored,
    ],
)
def test_what_no_verifier_would_take_is_refused(
    model: Path,
    key: ec.EllipticCurvePrivateKey,
    spoil: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(model)
    spoil(model)
    with pytest.raises((SigningError, SourceError)):
        sign(model, KeySigning(key))
    assert not (model / "model.sig").exists()


@pytest.mark.parametrize("path", ["nowhere", "../model", "/etc", "", "a/../a", "*"])
def test_an_ignored_path_that_names_nothing_is_a_slip(model: Path, key: ec.EllipticCurvePrivateKey, path: str) -> None:
    with pytest.raises(UsageError):
        sign(model, KeySigning(key), ignore=[path])


def test_a_file_or_nothing_is_no_folder_to_sign(model: Path, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(SigningError, match="is a file"):
        sign(model / "config.json", KeySigning(key), output=model / "x.sig")
    with pytest.raises(AiverifyError):
        sign(model / "nowhere", KeySigning(key))


class _Changing(Signing):
    """Changes a file while it is being signed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        pass

    def sign(self, payload: bytes) -> Made:
        raise AssertionError("nothing may be signed")


@pytest.mark.parametrize("method", list(Method))
def test_a_file_that_changes_meanwhile_is_not_signed(model: Path, method: Method) -> None:
    class Progress:
        def stage(self, name: str, total: int | None = None) -> None:
            if name == "digest":
                (model / "a/b").write_bytes(b"other")

        def advance(self, count: int) -> None: ...

        def detail(self, text: str) -> None: ...

    with pytest.raises(SigningError, match="changed while it was being signed"):
        sign(model, _Changing(model), method=method, progress=Progress())


def test_where_nothing_can_be_written_nothing_is_signed(model: Path) -> None:
    with pytest.raises(SigningError, match="cannot be written"):
        sign(model, _Changing(model), output=model / "nowhere" / "model.sig")


def test_an_interrupted_write_leaves_the_old_signature(
    model: Path, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(model, KeySigning(key))
    before = (model / "model.sig").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError):
        sign(model, KeySigning(key), ignore=["notes"])
    assert (model / "model.sig").read_bytes() == before
    assert sorted(path.name for path in model.glob("*.sig*")) == ["model.sig"]
    assert [path.name for path in model.glob(".model.sig*")] == []


# keys and certificates


def test_a_key_with_a_password_is_opened_with_it() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    loaded = load_private_key(private(key, b"secret"), "key.pem", lambda: "secret")
    assert loaded.private_numbers() == key.private_numbers()
    with pytest.raises(SignatureError, match="password is wrong"):
        load_private_key(private(key, b"secret"), "key.pem", lambda: "guess")
    with pytest.raises(SignatureError, match="has a password"):
        load_private_key(private(key, b"secret"), "key.pem")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP256R1())),
        *(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            for key in (
                ed25519.Ed25519PrivateKey.generate(),
                ec.generate_private_key(ec.SECP256K1()),
                rsa.generate_private_key(65537, 1024),
            )
        ),
    ],
)
def test_other_keys_sign_nothing(content: bytes) -> None:
    with pytest.raises(SignatureError, match=r"key\.pem: not a"):
        load_private_key(content, "key.pem", lambda: "")


def test_a_certificate_that_no_verifier_takes_signs_nothing(model: Path) -> None:
    root, other = authority(), authority("CN=Other")
    bad = {
        "valid from": Holder(Traits(left=timedelta(days=-1)), root),
        "is valid from": Holder(Traits(age=-YEAR, left=2 * YEAR), root),
        "extended key usage": Holder(Traits(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), root),
        "key usage": Holder(Traits(usage=key_usage(signs_certificates=True)), root),
        "does not lead": Holder(Traits(), other),
    }
    for reason, holder in bad.items():
        with pytest.raises(SignatureError, match=reason):
            sign(model, CertificateSigning(holder.key, holder.certificate, [root.certificate]))
    good = Holder(Traits(), root)
    with pytest.raises(SignatureError, match="another key"):
        sign(model, CertificateSigning(ec.generate_private_key(ec.SECP256R1()), good.certificate))
    assert not (model / "model.sig").exists()


# tokens


@pytest.mark.parametrize("path", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_a_service_that_quotes_the_request_makes_nobody_print_the_token(
    model: Path, trusted_root: Path, tmp_path: Path, path: str
) -> None:
    with LocalSigstore() as angry:
        angry.failing.add(path)
        token = angry.token(IDENTITY)
        config, root = tmp_path / "config.json", tmp_path / "root.json"
        config.write_text(json.dumps(angry.signing_config()))
        root.write_text(json.dumps(angry.trusted_root()))
        with pytest.raises(SignatureError) as caught:
            sign(model, KeylessSigning(GivenToken(token), root, config))
    assert token not in caught.value.diagnostics()
    assert token not in repr(GivenToken(token))
    assert caught.value.__cause__ is None
    assert not (model / "model.sig").exists()


def test_a_token_that_has_expired_or_is_none_is_refused_before_the_work_begins(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, signing_config: Path
) -> None:
    import jwt

    claims = {"iss": ISSUER, "aud": "sigstore", "sub": IDENTITY, "iat": 0, "exp": 1}
    for text in ("", "nonsense", jwt.encode(claims, "k" * 32, "HS256")):
        with pytest.raises(SignatureError, match="identity token cannot be used"):
            sign(model, KeylessSigning(GivenToken(text), trusted_root, signing_config))


def test_a_ci_job_signs_as_itself(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, signing_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sigstore.ci_job().items():
        monkeypatch.setenv(name, value)
    signed: Signed = sign(model, KeylessSigning(AskedToken(), trusted_root, signing_config))
    assert signed.signer == f"{sigstore.person} (issuer {ISSUER})"
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(SignatureError, match="gives no identity token"):
        sign(model, KeylessSigning(AskedToken(), trusted_root, signing_config))


def test_a_signing_configuration_that_cannot_be_used_is_refused(
    model: Path, sigstore: LocalSigstore, trusted_root: Path, tmp_path: Path
) -> None:
    tokens = GivenToken(sigstore.token(IDENTITY))
    bad = tmp_path / "bad.json"
    for content in ("", "[]", "{}", json.dumps({**sigstore.signing_config(), "caUrls": []})):
        bad.write_text(content)
        with pytest.raises(SignatureError, match="signing configuration cannot be used"):
            sign(model, KeylessSigning(tokens, trusted_root, bad))
    with pytest.raises(SignatureError, match="cannot be read"):
        sign(model, KeylessSigning(tokens, trusted_root, tmp_path / "nowhere.json"))
    with pytest.raises(SignatureError, match="does not say where to sign"):
        sign(model, KeylessSigning(tokens, trusted_root))


def test_services_that_are_gone_are_an_error(model: Path, trusted_root: Path, tmp_path: Path) -> None:
    with LocalSigstore() as gone:
        token, config = gone.token(IDENTITY), tmp_path / "config.json"
        config.write_text(json.dumps(gone.signing_config()))
    with pytest.raises(SignatureError, match="gave no signature"):
        sign(model, KeylessSigning(GivenToken(token), trusted_root, config))
