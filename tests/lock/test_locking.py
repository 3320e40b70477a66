"""From a report to an entry of a lockfile: what was verified, and nothing that was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiverify import verify
from aiverify.artifact import Artifact
from aiverify.lock.auditing import judged_otherwise, stale
from aiverify.lock.lockfile import LockedTwin, LockError
from aiverify.lock.locking import Receipt, locked_artifact, read_receipt, twins_beside
from aiverify.lock.naming import key_of_path, key_of_repository
from aiverify.lock.pinning import selection_of
from aiverify.report import Report, SignatureResult
from aiverify.sources.hubclient.listing import Standing

A, B, COMMIT = "a" * 64, "b" * 64, "c" * 40


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("model")
    save_file({"weight": np.zeros(3, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return verify(folder)


def test_every_file_is_there_with_its_digest(report: Report) -> None:
    entry = locked_artifact("./m", report)
    assert [(file.path, file.sha256) for file in entry.files] == [
        (file.path, file.sha256) for file in sorted(report.artifact.files, key=lambda file: file.path)
    ]
    assert (entry.verdict, entry.policy, entry.tool) == ("pass", report.policy.digest, report.tool)


def test_a_file_without_a_digest_cannot_be_locked(report: Report) -> None:
    files = (replace(report.artifact.files[0], sha256=None), *report.artifact.files[1:])
    bare = replace(report, artifact=replace(report.artifact, files=files))
    with pytest.raises(LockError, match="has no digest"):
        locked_artifact("./m", bare)


@pytest.mark.parametrize("outcome", ["unpinned", "failed", "unchecked", "absent"])
def test_only_a_verified_signer_is_locked(report: Report, outcome: str) -> None:
    results = tuple(
        SignatureResult(kind="keyless", outcome=how, detail="", signer=f"signer {how}") for how in (outcome, "verified")
    )
    assert locked_artifact("./m", replace(report, signatures=results)).signers == ("signer verified",)


def test_a_key_is_locked_by_its_digest_and_not_by_the_name_of_a_file(report: Report) -> None:
    signer = f"key /home/me/acme.pub (SHA-256 {'1' * 64})"
    results = (SignatureResult(kind="key", outcome="verified", detail="", signer=signer),)
    locked = locked_artifact("./m", replace(report, signatures=results))
    assert locked.signers == (f"the key (SHA-256 {'1' * 64})",)


def test_a_hub_that_speaks_of_another_commit_is_refused(report: Report) -> None:
    hub = replace(
        report, artifact=Artifact(source=report.artifact.source, files=report.artifact.files, revision="d" * 40)
    )
    with pytest.raises(LockError, match="the Hub gave"):
        locked_artifact("org/model", hub, standing=Standing(commit=COMMIT))


# receipts


def receipt(**changes: object) -> dict[str, object]:
    source = {"name": "m.bin", "sha256": A, **changes}
    return {"subject": [{"name": "m.safetensors", "digest": {"sha256": B}}], "predicate": {"source": source}}


def test_a_receipt_is_read(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(json.dumps(receipt()))
    assert read_receipt(tmp_path / "r") == Receipt(sha256=B, source="m.bin", source_sha256=A)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, json.dumps(receipt(sha256="x")).encode(),
                json.dumps(receipt(sha256=None)).encode(), json.dumps(receipt(name=1)).encode()]
)  # fmt: skip
def test_what_is_no_receipt_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    assert read_receipt(tmp_path / "r") is None
    assert read_receipt(tmp_path / "none") is None


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just(A),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["subject", "predicate", "source", "name", "digest", "sha256"]), inner)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values)
def test_whatever_is_read_is_a_receipt_or_nothing(tmp_path: Path, value: object) -> None:
    (tmp_path / "r").write_text(json.dumps(value))
    found = read_receipt(tmp_path / "r")
    assert found is None or len(found.sha256) == len(found.source_sha256) == 64


def test_a_receipt_in_the_artifact_counts_only_for_what_was_verified(report: Report, tmp_path: Path) -> None:
    file = next(file for file in report.artifact.files if file.path == "model.safetensors")
    names = ("good.safetensors.receipt.json", "bad.safetensors.receipt.json")
    (tmp_path / names[0]).write_text(json.dumps(receipt(name=file.path, sha256=file.sha256)))
    (tmp_path / names[1]).write_text(json.dumps(receipt(name=file.path, sha256=B)))
    files = (*report.artifact.files, *(replace(file, path=name) for name in names))
    both = replace(report, artifact=replace(report.artifact, files=files))
    assert twins_beside(both, tmp_path) == (LockedTwin(source=file.path, output="good.safetensors", sha256=B),)


# names, selection, policy, twins


@pytest.mark.parametrize(
    ("given_as", "key"),
    [("m", "./m"), ("./m", "./m"), ("m/", "./m"), ("a/../m", "./m"), ("../m", "../m"), ("/m/x", "/m/x"), (".", ".")],
)
def test_a_path_is_called_the_same_however_it_is_written(given_as: str, key: str) -> None:
    assert key_of_path(given_as) == key


def test_a_path_is_never_called_like_a_repository() -> None:
    assert key_of_repository("org/model") == "org/model" != key_of_path("org/model")
    assert key_of_repository("gpt2") == "hf://gpt2"


def test_the_locked_files_are_kept_and_a_selection_replaces_that_of_the_lock(report: Report) -> None:
    entry = locked_artifact("./m", report, include=["*.safetensors"], exclude=["x"])
    own = selection_of(entry)
    assert (own.include, own.exclude, set(own.kept)) == (("*.safetensors",), ("x",), {f.path for f in entry.files})
    assert selection_of(entry, exclude=["y"]).include == ()
    assert (own.lean, selection_of(entry, all_files=True).lean) == (True, False)


def test_another_policy_is_said_and_the_same_is_not(report: Report) -> None:
    entry = locked_artifact("./m", report)
    assert judged_otherwise(entry, entry.policy) == []
    assert [item.rule for item in judged_otherwise(entry, A)] == ["AIV609"]


def test_a_twin_with_a_receipt_about_another_source_is_stale(report: Report, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "t.safetensors").write_bytes(b"twin")
    digest = hashlib.sha256(b"twin").hexdigest()
    entry = locked_artifact(
        "./m", report, twins=[LockedTwin(source="model.safetensors", output="t.safetensors", sha256=digest)]
    )
    source = next(file.sha256 for file in entry.files if file.path == "model.safetensors")
    statement = receipt(name="model.safetensors", sha256=source)
    statement["subject"] = [{"name": "t.safetensors", "digest": {"sha256": digest}}]
    (tmp_path / "t.safetensors.receipt.json").write_text(json.dumps(statement))
    assert list(stale(entry, tmp_path)) == []
    (tmp_path / "t.safetensors.receipt.json").write_text(json.dumps(receipt(name="model.safetensors", sha256=B)))
    assert [item.rule for item in stale(entry, tmp_path)] == ["AIV610"]
    (tmp_path / "t.safetensors").unlink()
    assert [item.rule for item in stale(entry, tmp_path)] == ["AIV610"]
