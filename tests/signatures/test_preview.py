"""A repository whose listing contradicts its signature is refused before its weights are fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from huggingface_hub import _tree_cache, constants
from lying_hub import LyingHub
from signed_models import digests, pem, sharded, sign_with_key, statement, write_bundle, write_model

from aiverify.demo.loopback import Answer, Request
from aiverify.demo.repository import HubFile
from aiverify.pipeline import Options, run
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule
from aiverify.report import FileState, Outcome, Report
from aiverify.signers import KeySigner
from aiverify.sources.interface import HubOptions, Selection

SHARD = 500_000


class CountingHub(LyingHub):
    """Counts the bytes of files that it serves, by path."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.served: dict[str, int] = {}

    def content(self, request: Request, file: HubFile, headers: Mapping[str, str]) -> Answer:
        answer = super().content(request, file, headers)
        if request.method == "GET" and answer.status < 300:
            self.served[file.path] = self.served.get(file.path, 0) + file.size
        return answer


@pytest.fixture(autouse=True)
def no_traces_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shards = {f"model-0000{number}-of-00003.safetensors": bytes([number]) * SHARD for number in (1, 2, 3)}
    folder = write_model(tmp_path / "served" / "org" / "model", shards)
    (folder / "model.safetensors").unlink()
    return folder


Verify = Callable[..., Report]


@pytest.fixture
def verify(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Verify:
    """Verify the repository of a hub, which is started only then: it states what lies there at that time."""
    signer = Policy(signers=(SignerRule(expected=KeySigner(pem(key), "acme.pub")),))

    def run_it(hub: CountingHub, policy: Policy = signer, **options: object) -> Report:
        how = HubOptions(cache_dir=tmp_path / "cache", endpoint=hub.endpoint)
        return run("org/model", Options(policy=policy, hub=how, engines=(), **options))

    return run_it


def sign(repository: Path, key: ec.EllipticCurvePrivateKey, listed: Mapping[str, str] | None = None) -> Path:
    payload = json.dumps(statement(listed or digests(repository))).encode()
    return write_bundle(sign_with_key(payload, key), repository / "model.sig")


def spoil(repository: Path) -> str:
    """One byte of one shard."""
    path = repository / "model-00002-of-00003.safetensors"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    return path.name


def test_one_bad_shard_is_enough_to_fetch_none(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    sign(repository, key)
    bad = spoil(repository)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub)
    assert report.verdict.outcome is Outcome.BLOCK
    assert [(one.rule, one.file) for one in report.findings] == [("AIV205", bad)]
    assert "by the listing it has SHA-256" in report.verdict.reasons[0]
    assert report.artifact.revision is not None
    assert bad in report.verdict.reasons[0]
    assert set(hub.served) == {"model.sig"}
    assert sum(hub.served.values()) < 10_000 < SHARD
    assert hub.cdn_requests == []
    (signature,) = report.signatures
    assert (signature.outcome, dict(signature.files)[bad]) == ("failed", FileState.MISMATCHING)


def test_a_repository_that_is_as_signed_is_fetched_once(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    sign(repository, key)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub)
        assert report.signatures[0].outcome == "verified"
        assert hub.served == {path: (repository / path).stat().st_size for path in (*digests(repository), "model.sig")}
        assert verify(hub).signatures[0].outcome == "verified"
        assert hub.served["model.sig"] == (repository / "model.sig").stat().st_size


def test_without_anybody_named_a_contradiction_is_one_all_the_same(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    sign(repository, key)
    spoil(repository)
    with CountingHub(repository.parent.parent) as hub:
        assert verify(hub, DEFAULT_POLICY).verdict.outcome is Outcome.BLOCK
    assert set(hub.served) == {"model.sig"}


def test_a_bundle_that_is_at_hand_needs_nothing_from_the_hub(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify, tmp_path: Path
) -> None:
    bundle = sign(repository, key).rename(tmp_path / "acme.sig")
    spoil(repository)
    with CountingHub(repository.parent.parent) as hub:
        assert verify(hub, bundles=(bundle,)).verdict.outcome is Outcome.BLOCK
    assert hub.served == {}


def test_a_single_shard_for_each_file_is_a_digest_of_the_file(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    payload = json.dumps(statement(sharded(repository, 10**9), shard_size=10**9)).encode()
    write_bundle(sign_with_key(payload, key), repository / "model.sig")
    bad = spoil(repository)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub)
    assert [(one.rule, one.file) for one in report.findings] == [("AIV205", bad)]
    assert set(hub.served) == {"model.sig"}


def test_a_file_of_another_size_than_its_shards_is_noticed_before_it_is_fetched(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    payload = json.dumps(statement(sharded(repository, 1000), shard_size=1000)).encode()
    write_bundle(sign_with_key(payload, key), repository / "model.sig")
    longer = repository / "model-00003-of-00003.safetensors"
    longer.write_bytes(longer.read_bytes() + b"x")
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub)
    assert [(one.rule, one.file) for one in report.findings] == [("AIV205", longer.name)]
    assert set(hub.served) == {"model.sig"}


def test_a_bad_file_that_was_not_asked_for_is_no_reason_to_refuse(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    sign(repository, key)
    bad = spoil(repository)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub, selection=Selection(exclude=[bad]))
    assert report.signatures[0].outcome == "verified"
    assert report.signatures[0].partial
    assert bad not in hub.served


def test_a_statement_that_agrees_proves_nothing(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify, tmp_path: Path
) -> None:
    """The Hub states the signed digest and serves other bytes, from a cache that was written before."""
    sign(repository, key)
    with CountingHub(repository.parent.parent) as hub:
        verify(hub)
        (cached,) = (tmp_path / "cache").glob("**/snapshots/*/model-00002-of-00003.safetensors")
        blob = cached.resolve()
        blob.write_bytes(b"\xff" + blob.read_bytes()[1:])
        hub.served.clear()
        report = verify(hub)
        assert cached.name in hub.served
    assert ("AIV105", cached.name) in [(one.rule, one.file) for one in report.findings]
    assert cached.name in report.signatures[0].covers


@pytest.mark.parametrize("content", [b"", b"not json", b"{}"])
def test_a_signature_that_cannot_be_read_is_judged_when_everything_is_here(
    repository: Path, verify: Verify, content: bytes
) -> None:
    (repository / "model.sig").write_bytes(content)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub, DEFAULT_POLICY)
    assert "AIV203" in {one.rule for one in report.findings}
    assert {"config.json", "model-00001-of-00003.safetensors"} <= set(hub.served)


def test_an_unsigned_repository_is_fetched_as_ever(repository: Path, verify: Verify) -> None:
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub, DEFAULT_POLICY)
    assert "AIV201" in {one.rule for one in report.findings}
    assert set(hub.served) == set(digests(repository))


def test_small_files_have_no_stated_digest_and_are_compared_once_they_are_here(
    repository: Path, key: ec.EllipticCurvePrivateKey, verify: Verify
) -> None:
    listed = {**digests(repository), "config.json": hashlib.sha256(b"other").hexdigest()}
    sign(repository, key, listed)
    with CountingHub(repository.parent.parent) as hub:
        report = verify(hub)
    assert ("AIV205", "config.json") in [(one.rule, one.file) for one in report.findings]
    assert len(hub.served) == len(listed) + 1
