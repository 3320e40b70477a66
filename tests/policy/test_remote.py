"""Policies that have an address: a real server with a certificate, and what is kept of it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aiverify.policy import Policy, PolicyError, read_policy
from aiverify.policy.file import MAX_POLICY
from aiverify.policy.kept import from_cache, kept_folder
from aiverify.policy.remote import fetched

ORG = b'review_at = "low"\nmay_weaken = ["waivers"]\n'


class Organisation:
    """A server of policies. ``answers`` are bodies by path, ``elsewhere`` redirects; ``asked`` are the requests."""

    def __init__(self, certificate: Path) -> None:
        self.answers: dict[str, bytes] = {"/org.toml": ORG}
        self.elsewhere: dict[str, str] = {}
        self.asked: list[str] = []
        organisation = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                organisation.asked.append(self.path)
                if self.path in organisation.elsewhere:
                    self.send_response(302)
                    self.send_header("Location", organisation.elsewhere[self.path])
                    self.end_headers()
                    return
                body = organisation.answers.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the loopback address that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=127.0.0.1")
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.fixture
def organisation(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Organisation]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Organisation(certificate)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def own(
    folder: Path, organisation: Organisation, *, online: bool = True, path: str = "/org.toml", digest: str = ""
) -> Policy:
    file = folder / "own.toml"
    file.write_text(f'\nextends = {{ url = "{organisation.address}{path}", sha256 = "{digest or sha256(ORG)}" }}\n')
    return read_policy(file, fetch=fetched if online else from_cache)


def test_a_policy_is_fetched_once_and_used_without_a_network_from_then_on(
    tmp_path: Path, organisation: Organisation
) -> None:
    with pytest.raises(PolicyError, match=r"own\.toml:2: extends: https://.* has not been fetched yet"):
        own(tmp_path, organisation, online=False)
    assert organisation.asked == []
    policies = [own(tmp_path, organisation), own(tmp_path, organisation), own(tmp_path, organisation, online=False)]
    assert organisation.asked == ["/org.toml"]
    for policy in policies:
        assert (policy.review_at, policy.unlocked) == ("low", frozenset())
        assert policy.sources[0].name == f"{organisation.address}/org.toml"
        assert policy.sources[0].digest == sha256(ORG)
        assert str(policy.places["review_at"][0]) == f"{organisation.address}/org.toml:1"


def test_what_has_another_digest_is_refused_and_not_kept(tmp_path: Path, organisation: Organisation) -> None:
    organisation.answers["/org.toml"] = ORG + b"\n"
    with pytest.raises(
        PolicyError,
        match=f"is not the policy that was asked for: its SHA-256 is {sha256(organisation.answers['/org.toml'])}",
    ):
        own(tmp_path, organisation)
    assert not kept_folder().exists()


def test_what_was_changed_where_it_is_kept_is_fetched_anew(tmp_path: Path, organisation: Organisation) -> None:
    own(tmp_path, organisation)
    (kept,) = kept_folder().iterdir()
    kept.write_bytes(b'review_at = "critical"\nblock_at = "critical"\n')
    with pytest.raises(PolicyError, match="has not been fetched yet"):
        own(tmp_path, organisation, online=False)
    assert own(tmp_path, organisation).review_at == "low"
    assert kept.read_bytes() == ORG


def test_what_is_longer_than_a_policy_can_be_is_refused(tmp_path: Path, organisation: Organisation) -> None:
    long = b"#" * (MAX_POLICY + 1)
    organisation.answers["/long.toml"] = long
    with pytest.raises(PolicyError, match="is longer than"):
        own(tmp_path, organisation, path="/long.toml", digest=sha256(long))


def test_a_redirect_is_followed_to_https_and_to_nothing_else(tmp_path: Path, organisation: Organisation) -> None:
    organisation.elsewhere["/plain"] = "http://127.0.0.1:1/org.toml"
    organisation.elsewhere["/file"] = (tmp_path / "org.toml").as_uri()
    (tmp_path / "org.toml").write_bytes(ORG)
    for path in ("/plain", "/file"):
        with pytest.raises(PolicyError, match="cannot be fetched"):
            own(tmp_path, organisation, path=path)
    organisation.elsewhere["/moved"] = "/org.toml"
    assert own(tmp_path, organisation, path="/moved").review_at == "low"


def test_a_server_that_has_it_not_or_is_not_trusted_is_an_error(
    tmp_path: Path, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PolicyError, match=r"extends: .*/gone: cannot be fetched: .*"):
        own(tmp_path, organisation, path="/gone")
    (tmp_path / "none.pem").write_bytes(b"")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(PolicyError, match="certificate verify failed"):
        own(tmp_path, organisation)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[signers]]\nkey = "a.pub"\n', r"/org\.toml:2: signers\[0\]\.key: the policy is not a file"),
        ('known_bad = ["feed.json"]\n', r"/org\.toml:1: known_bad: the policy is not a file"),
        ('extends = "other.toml"\n', r"/org\.toml:1: extends: the policy is not a file"),
    ],
)
def test_a_policy_that_is_no_file_cannot_name_one(
    tmp_path: Path, organisation: Organisation, text: str, message: str
) -> None:
    organisation.answers["/org.toml"] = text.encode()
    with pytest.raises(PolicyError, match=message):
        own(tmp_path, organisation, digest=sha256(text.encode()))


def test_a_key_may_stand_in_the_policy_itself(tmp_path: Path, organisation: Organisation) -> None:
    text = '[[signers]]\nkey = """\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"""\n'
    organisation.answers["/org.toml"] = text.encode()
    (rule,) = own(tmp_path, organisation, digest=sha256(text.encode())).signers
    assert str(rule.expected) == "key in signers[0]"


def test_a_cache_that_cannot_be_written_only_means_that_it_is_fetched_again(
    tmp_path: Path, organisation: Organisation
) -> None:
    kept_folder().parent.mkdir(parents=True)
    kept_folder().write_text("no folder")
    assert own(tmp_path, organisation).review_at == "low"
    assert own(tmp_path, organisation).review_at == "low"
    assert organisation.asked == ["/org.toml"] * 2
