"""What settings of a policy come to when an artifact is judged."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from end_to_end import save_with_torch, weights

from aiverify.artifact import ArtifactFile, Fetched, FileClass, SourceKind
from aiverify.finding import Finding, Severity
from aiverify.options import Options
from aiverify.pipeline import run
from aiverify.policy import PROFILES, Policy, RemoteCode, Waiver, read_policy
from aiverify.policy.keys import KEYS
from aiverify.policy.reading import profile
from aiverify.policy.values import FORMATS, REMOTE_CODE, Override
from aiverify.progress import Progress
from aiverify.report import Outcome, Report
from aiverify.rules import rules
from aiverify.sources.interface import Selection, Source
from aiverify.sources.local import FolderSource
from aiverify.variants import _FAMILIES, NUMPY_TWIN, PYTORCH, SAFETENSORS, TRAINING, TWIN
from aiverify.verdict import Evidence, judge

TODAY = datetime.date(2026, 6, 15)
SAFE, BIN, OPTIMIZER = "model.safetensors", "pytorch_model.bin", "optimizer.bin"


def judged(policy: Policy, paths: Sequence[str], *findings: Finding, converted: bool = False) -> dict[str, Outcome]:
    """The outcome of each variant, and of the verdict."""
    families = {SAFETENSORS: SAFE, PYTORCH: BIN, TRAINING: OPTIMIZER}
    files = [
        ArtifactFile(path=path, size=1, sha256="a" * 64, format="x", file_class=FileClass.WEIGHTS) for path in paths
    ]
    evidence = Evidence(
        files=files,
        findings=findings,
        unexamined=(),
        families={name: (path,) for name, path in families.items() if path in paths},
        convertible=(BIN,),
        converted=converted,
    )
    judgement = judge(evidence, policy, TODAY)
    found = {variant.name: variant.outcome for variant in judgement.variants}
    return {**found, "verdict": judgement.verdict.outcome}


# formats


def test_weights_of_a_format_that_is_not_taken_are_blocked_where_a_load_would_use_them() -> None:
    policy = Policy(formats=frozenset(("safetensors",)))
    assert judged(policy, [SAFE, BIN]) == {
        SAFETENSORS: Outcome.PASS,
        PYTORCH: Outcome.BLOCK,
        TWIN: Outcome.PASS,
        "verdict": Outcome.PASS,
    }
    assert judged(policy, [BIN])["verdict"] is Outcome.BLOCK
    assert judged(policy, [BIN], converted=True)["verdict"] is Outcome.PASS
    assert judged(policy, [SAFE, OPTIMIZER])["verdict"] is Outcome.PASS
    assert judged(policy, [OPTIMIZER])["verdict"] is Outcome.BLOCK
    assert judged(Policy(formats=frozenset(("pytorch",))), [BIN], converted=True)["verdict"] is Outcome.BLOCK


def test_the_formats_are_the_variants_that_a_report_names() -> None:
    assert set(FORMATS) == set(_FAMILIES.values())
    assert not {TWIN, NUMPY_TWIN, TRAINING} & set(FORMATS)


def test_the_verdict_says_which_formats_are_taken(tmp_path: Path) -> None:
    weights(tmp_path / "model")
    report = run(str(tmp_path / "model"), Options(policy=Policy(formats=frozenset(("gguf", "onnx")))))
    assert report.verdict.outcome is Outcome.BLOCK
    assert report.verdict.reasons[1] == "the policy takes weights only as gguf, onnx"


# remote code


@pytest.mark.parametrize("rule", sorted(REMOTE_CODE))
@pytest.mark.parametrize("severity", [item for item in Severity if item is not Severity.INFO])
def test_code_that_a_loader_would_run_comes_to_what_the_policy_says_at_least(rule: str, severity: Severity) -> None:
    usual = Policy().effect(rule, severity)
    for said, least in (("judge", Outcome.PASS), ("review", Outcome.REVIEW), ("block", Outcome.BLOCK)):
        effect = Policy(remote_code=RemoteCode(said)).effect(rule, severity)
        assert effect is max(usual, least, key=lambda item: item.rank)
    assert Policy(remote_code=RemoteCode.BLOCK).effect("AIV302", severity) is Policy().effect("AIV302", severity)


def test_code_whose_digest_is_waived_is_no_remote_code_any_more() -> None:
    code = Finding(rule="AIV501", severity=Severity.MEDIUM, message="code", file=SAFE)
    policy = Policy(remote_code=RemoteCode.BLOCK)
    assert judged(policy, [SAFE], code)["verdict"] is Outcome.BLOCK
    waiver = Waiver(rule="AIV501", sha256="a" * 64, reason="read", expires=TODAY)
    assert judged(replace(policy, waivers=(waiver,)), [SAFE], code)["verdict"] is Outcome.PASS


def test_the_rules_about_remote_code_are_rules_and_no_information() -> None:
    assert all(rules()[rule].severity.rank > Severity.INFO.rank for rule in REMOTE_CODE)


# profiles


def test_the_profile_default_says_what_holds_without_a_policy(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('profile = "default"')
    assert read_policy(tmp_path / "a.toml").digest == Policy().digest
    assert set(profile("default")) | {"formats"} == set(profile("strict")) | set(profile("permissive")) | {"formats"}
    for name in PROFILES:
        assert set(profile(name)) <= set(KEYS)


def test_profiles_are_in_the_order_of_their_strictness(tmp_path: Path) -> None:
    policies = {}
    for name in PROFILES:
        (tmp_path / "a.toml").write_text(f'profile = "{name}"')
        policies[name] = read_policy(tmp_path / "a.toml")
    for rule in ("AIV302", "AIV501"):
        for severity in Severity:
            effects = [policies[name].effect(rule, severity).rank for name in ("permissive", "default", "strict")]
            assert effects == sorted(effects)
    assert all(policy.effect("AIV301", Severity.CRITICAL) is Outcome.BLOCK for policy in policies.values())
    assert policies["strict"].require_signature
    assert not policies["permissive"].twin_of_blocked


def test_a_file_overrides_its_own_profile(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('require_signature = false\nprofile = "strict"\nblock_at = "high"')
    policy = read_policy(tmp_path / "a.toml")
    assert (policy.require_signature, policy.review_at, policy.block_at) == (False, Severity.LOW, Severity.HIGH)


# repositories


class Repository(Source):
    """A folder that goes by the name of a repository."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.inner = FolderSource(folder, str(folder))
        self.repo = repo

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        fetched = self.inner.fetch(selection, progress)
        return replace(fetched, kind=SourceKind.HUB, repo=self.repo, revision="0" * 40)


def test_a_run_goes_by_the_settings_for_its_repository_and_reports_the_digest_of_the_whole_policy(
    tmp_path: Path,
) -> None:
    folder = weights(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "org/code--modeling.Model"}}))
    table = Override(
        repositories=("acme/*",), settings=(("review_at", Severity.CRITICAL), ("block_at", Severity.CRITICAL))
    )
    policy = Policy(overrides=(table,))

    def of(repo: str) -> Report:
        return run(f"hf://{repo}", Options(policy=policy, source=Repository(folder, repo)))

    lenient, usual = of("acme/model"), of("other/model")
    assert [item.rule for item in lenient.findings if item.rule == "AIV501"] == ["AIV501"]
    assert lenient.verdict.outcome is Outcome.PASS
    assert usual.verdict.outcome is not Outcome.PASS
    assert lenient.policy.digest == usual.policy.digest == policy.digest


def test_the_formats_for_a_repository_hold_there(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "model"
    folder.mkdir()
    save_with_torch({"a": torch.zeros(2)}, folder / "pytorch_model.bin")
    table = Override(repositories=("acme/*",), settings=(("formats", frozenset(("pytorch", "safetensors"))),))
    policy = Policy(formats=frozenset(("safetensors",)), overrides=(table,))
    outcomes = [
        run(f"hf://{repo}", Options(policy=policy, source=Repository(folder, repo))).verdict.outcome
        for repo in ("acme/model", "other/model")
    ]
    assert outcomes == [Outcome.PASS, Outcome.BLOCK]
