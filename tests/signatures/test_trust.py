"""Trusted roots: the embedded ones, files, and TUF repositories."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from local_sigstore import ISSUER, LocalSigstore
from local_tuf import LocalTuf
from signed_models import artifact_files, payload_of, sign_keyless, write_bundle

from aiverify.signatures import tuf
from aiverify.signatures.interface import Authentication, SignatureError
from aiverify.signatures.stage import authenticate
from aiverify.signatures.trust import Instance, Trust, TrustSource, TufRepository
from aiverify.signers import KeylessSigner

IDENTITY = "release@example.test"
IBM = KeylessSigner("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2")
AGE = re.compile(r"newest service of 20\d\d-\d\d-\d\d, \d+ days ago")


@pytest.fixture
def repository(sigstore: LocalSigstore) -> Iterator[LocalTuf]:
    with LocalTuf(json.dumps(sigstore.trusted_root()).encode()) as running:
        yield running


@pytest.fixture
def first_root(repository: LocalTuf, tmp_path: Path) -> Path:
    path = tmp_path / "root.json"
    path.write_bytes(repository.root)
    return path


@pytest.fixture
def signed(model: Path, sigstore: LocalSigstore) -> Path:
    write_bundle(sign_keyless(payload_of(model), sigstore, IDENTITY), model / "model.sig")
    return model


Check = Callable[[TrustSource], Authentication]


@pytest.fixture
def check(signed: Path) -> Check:
    def run(source: TrustSource) -> Authentication:
        signer = KeylessSigner(IDENTITY, ISSUER)
        return authenticate(files=artifact_files(signed), root=signed, signers=[signer], trusted_root=source)

    return run


def verified(done: Authentication) -> bool:
    return (done.results[0].outcome, done.findings) == ("verified", ())


@pytest.mark.parametrize("instance", Instance)
def test_an_embedded_root_says_how_old_it_is(instance: Instance) -> None:
    trust = Trust(instance)
    assert trust.name.startswith(f"the {instance} root inside sigstore ")
    assert AGE.fullmatch(trust.age)
    trust.verifier()


def test_a_signature_says_under_which_root_and_how_old_that_is(check: Check, trusted_root: Path) -> None:
    done = check(trusted_root)
    assert str(trusted_root) in str(done.results[0].root)
    assert AGE.search(str(done.results[0].root))


def test_the_two_public_instances_do_not_vouch_for_each_other(vectors: Path) -> None:
    real = vectors / "sigstore.bundle.json"

    def outcome(source: TrustSource | None) -> str:
        done = authenticate(files=[], root=vectors / "no", bundles=[real], signers=[IBM], trusted_root=source)
        return done.results[0].outcome

    assert [outcome(source) for source in (None, Instance.PRODUCTION, Instance.STAGING)] == [
        "verified",
        "verified",
        "failed",
    ]


@pytest.mark.parametrize("content", ["", "{}", "[]", "\x00", '{"mediaType": "x"}', "{" * 100])
def test_a_root_that_is_none_is_an_error_even_where_nothing_is_signed(
    model: Path, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "root.json"
    path.write_text(content)
    with pytest.raises(SignatureError, match=r"root\.json cannot be used"):
        authenticate(files=artifact_files(model), root=model, trusted_root=path)


def test_a_root_that_lacks_a_log_is_an_error_even_where_nothing_is_signed(
    model: Path, tmp_path: Path, sigstore: LocalSigstore
) -> None:
    path = tmp_path / "root.json"
    path.write_text(json.dumps({**sigstore.trusted_root(), "tlogs": []}))
    with pytest.raises(SignatureError, match="transparency log"):
        authenticate(files=artifact_files(model), root=model, trusted_root=path)


def test_a_root_that_is_too_large_is_not_read(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiverify.signatures.trust.MAX_ROOT_BYTES", 10)
    path = tmp_path / "root.json"
    path.write_text("{" * 11)
    with pytest.raises(SignatureError, match="larger"):
        authenticate(files=artifact_files(model), root=model, trusted_root=path)


def test_a_tuf_repository_gives_the_root_of_a_private_instance(
    check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path
) -> None:
    done = check(TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache"))
    assert verified(done)
    assert repository.url in str(done.results[0].root)


def test_what_was_fetched_is_used_offline(check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path) -> None:
    online = TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache")
    offline = TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache", offline=True)
    with pytest.raises(SignatureError, match="never fetched"):
        check(offline)
    check(online)
    asked = len(repository.requests)
    assert verified(check(offline))
    assert len(repository.requests) == asked


def test_what_another_first_root_led_to_is_not_used_offline(
    check: Check, repository: LocalTuf, first_root: Path, sigstore: LocalSigstore, tmp_path: Path
) -> None:
    cache, other_root = tmp_path / "cache", tmp_path / "other.json"
    check(TufRepository(url=repository.url, root=first_root, cache=cache))
    with LocalTuf(b"{}") as other:
        other_root.write_bytes(other.root)
    with pytest.raises(SignatureError, match="never fetched"):
        check(TufRepository(url=repository.url, root=other_root, cache=cache, offline=True))
    assert verified(check(TufRepository(url=repository.url, root=first_root, cache=cache, offline=True)))


def test_nothing_needs_to_be_writable(
    check: Check, repository: LocalTuf, first_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert verified(check(TufRepository(url=repository.url, root=first_root)))


def test_the_users_cache_folder_is_the_place_without_another(
    check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    check(TufRepository(url=repository.url, root=first_root))
    assert [path.name for path in (tmp_path / "xdg" / "aiverify" / "tuf").glob("*/*/targets/*")] == [tuf.TRUSTED_ROOT]


def test_a_repository_under_other_keys_is_not_trusted(
    check: Check, repository: LocalTuf, tmp_path: Path, sigstore: LocalSigstore
) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(LocalTuf(b"{}").root)
    with pytest.raises(SignatureError, match="cannot be fetched"):
        check(TufRepository(url=repository.url, root=other, cache=tmp_path / "cache"))


def test_a_root_that_was_exchanged_on_the_way_is_not_trusted(
    check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path
) -> None:
    with LocalSigstore() as evil:
        repository.files[f"targets/{tuf.TRUSTED_ROOT}"] = json.dumps(evil.trusted_root()).encode()
    with pytest.raises(SignatureError, match="cannot be fetched"):
        check(TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache"))


def test_a_repository_cannot_go_back_to_what_it_said_before(
    check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path, sigstore: LocalSigstore
) -> None:
    source = TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache")
    content = json.dumps(sigstore.trusted_root()).encode()
    repository.publish(content, version=3)
    assert verified(check(source))
    repository.publish(content, version=2)
    with pytest.raises(SignatureError, match="cannot be fetched"):
        check(source)


def test_expired_metadata_is_not_trusted(check: Check, sigstore: LocalSigstore, tmp_path: Path) -> None:
    with LocalTuf(json.dumps(sigstore.trusted_root()).encode(), lifetime=timedelta(days=-1)) as old:
        (tmp_path / "root.json").write_bytes(old.root)
        with pytest.raises(SignatureError, match="cannot be fetched"):
            check(TufRepository(url=old.url, root=tmp_path / "root.json", cache=tmp_path / "cache"))


def test_a_repository_without_a_trusted_root_is_an_error(
    check: Check, repository: LocalTuf, first_root: Path, tmp_path: Path
) -> None:
    repository.publish(b"{}", version=2, name="something_else.json")
    with pytest.raises(SignatureError, match=r"no trusted_root\.json"):
        check(TufRepository(url=repository.url, root=first_root, cache=tmp_path / "cache"))


def test_a_server_that_does_not_answer_is_not_waited_for(
    check: Check, first_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuf, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SignatureError, match="cannot be fetched"):
            check(TufRepository(url=url, root=first_root, cache=tmp_path / "cache"))


@pytest.mark.parametrize("url", ["", "nowhere", "file:///etc", "ftp://127.0.0.1", "http://"])
def test_only_web_addresses_are_asked(check: Check, first_root: Path, tmp_path: Path, url: str) -> None:
    with pytest.raises(SignatureError, match="not the address"):
        check(TufRepository(url=url, root=first_root, cache=tmp_path / "cache"))


def test_a_first_root_that_is_not_there_is_an_error(check: Check, repository: LocalTuf, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="nowhere"):
        check(TufRepository(url=repository.url, root=tmp_path / "nowhere", cache=tmp_path / "cache"))
