"""What a policy makes of evidence: the table of cases, and the promise that worse evidence never helps."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.finding import Finding, Severity, Unexamined
from aiverify.policy import DEFAULT_POLICY, Policy, Waiver
from aiverify.report import Outcome, Variant, worst
from aiverify.variants import PYTORCH, SAFETENSORS, TRAINING, TWIN
from aiverify.verdict import Evidence, Judgement, effect, judge

TODAY = datetime.date(2026, 6, 15)
DIGESTS = {"safe": "a" * 64, "bin": "b" * 64, "gguf": "c" * 64, "json": "d" * 64, "py": "e" * 64, "md": "f" * 64}
CLASSES = {
    "model.safetensors": FileClass.WEIGHTS,
    "pytorch_model.bin": FileClass.WEIGHTS,
    "optimizer.bin": FileClass.WEIGHTS,
    "model.gguf": FileClass.OTHER_FRAMEWORK,
    "config.json": FileClass.CONFIG,
    "modeling.py": FileClass.CODE,
    "README.md": FileClass.INERT,
}
FAMILIES = {
    SAFETENSORS: ("model.safetensors",),
    PYTORCH: ("pytorch_model.bin",),
    "gguf": ("model.gguf",),
    TRAINING: ("optimizer.bin",),
}
SEVERITIES = {Outcome.PASS: Severity.LOW, Outcome.REVIEW: Severity.MEDIUM, Outcome.BLOCK: Severity.HIGH}


def digest(path: str) -> str:
    return DIGESTS[{"safetensors": "safe"}.get(path.rpartition(".")[2], path.rpartition(".")[2])]


def found(path: str | None, severity: Severity, rule: str = "AIV302") -> Finding:
    return Finding(rule=rule, severity=severity, message="seen", file=path)


def missed(path: str) -> Unexamined:
    return Unexamined(file=path, reason="cannot be read")


def evidence(
    paths: Iterable[str],
    *said: Finding | Unexamined,
    convertible: Sequence[str] = (),
    converted: bool = False,
    failed: Mapping[str, str] | None = None,
) -> Evidence:
    chosen = sorted(paths)
    families = {name: tuple(path for path in files if path in chosen) for name, files in FAMILIES.items()}
    return Evidence(
        files=[
            ArtifactFile(path=path, size=1, sha256=digest(path), format="test", file_class=CLASSES[path])
            for path in chosen
        ],
        findings=[item for item in said if isinstance(item, Finding)],
        unexamined=[item for item in said if isinstance(item, Unexamined)],
        families={name: files for name, files in families.items() if files},
        convertible=convertible,
        converted=converted,
        failed=failed or {},
    )


def judged(case: Evidence, policy: Policy = DEFAULT_POLICY) -> Judgement:
    return judge(case, policy, TODAY)


def outcome(case: Evidence, policy: Policy = DEFAULT_POLICY) -> Outcome:
    return judged(case, policy).verdict.outcome


def variant(judgement: Judgement, name: str) -> Variant:
    return next(variant for variant in judgement.variants if variant.name == name)


def test_the_order_is_pass_review_error_block() -> None:
    assert sorted(Outcome, key=lambda item: item.rank) == [Outcome.PASS, Outcome.REVIEW, Outcome.ERROR, Outcome.BLOCK]
    assert {item: item.exit_code for item in Outcome} == {
        Outcome.PASS: 0,
        Outcome.REVIEW: 1,
        Outcome.ERROR: 2,
        Outcome.BLOCK: 1,
    }


@given(st.lists(st.sampled_from(Outcome), min_size=1))
def test_the_worst_outcome_wins_whatever_the_order(outcomes: list[Outcome]) -> None:
    assert worst(outcomes) is worst(reversed(outcomes)) is sorted(outcomes, key=lambda item: item.rank)[-1]


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize(("review_at", "block_at"), list(itertools.combinations_with_replacement(Severity, 2)))
def test_the_thresholds_of_the_policy_decide(severity: Severity, review_at: Severity, block_at: Severity) -> None:
    policy = Policy(review_at=review_at, block_at=block_at)
    order = list(Severity)
    expected = Outcome.BLOCK if order.index(severity) >= order.index(block_at) else Outcome.PASS
    if expected is Outcome.PASS and order.index(severity) >= order.index(review_at):
        expected = Outcome.REVIEW
    assert effect(found(None, severity), policy) is expected


@pytest.mark.parametrize("path", ["model.safetensors", "config.json", "modeling.py", "README.md"])
@pytest.mark.parametrize("expected", SEVERITIES)
def test_a_variant_is_the_worst_of_what_it_loads_and_what_stands_beside_it(path: str, expected: Outcome) -> None:
    case = evidence(("model.safetensors", "config.json", "modeling.py", "README.md"), found(path, SEVERITIES[expected]))
    assert variant(judged(case), SAFETENSORS).outcome is expected
    assert outcome(case) is expected


@pytest.mark.parametrize("path", [None, "a link.bin", "missing/signed.bin"])
@pytest.mark.parametrize("expected", SEVERITIES)
def test_what_is_said_of_no_file_or_of_one_that_is_not_there_counts_for_every_variant(
    path: str | None, expected: Outcome
) -> None:
    case = evidence(("model.safetensors", "pytorch_model.bin"), found(path, SEVERITIES[expected]))
    assert {item.outcome for item in judged(case).variants} == {expected}
    assert outcome(case) is expected


def test_a_file_that_is_not_among_the_files_and_was_not_examined_is_an_error() -> None:
    assert outcome(evidence(("model.safetensors",), missed("elsewhere.bin"))) is Outcome.ERROR


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", Outcome.ERROR),
        ("pytorch_model.bin", Outcome.ERROR),
        ("optimizer.bin", Outcome.ERROR),
        ("config.json", Outcome.ERROR),
        ("modeling.py", Outcome.ERROR),
        ("README.md", Outcome.PASS),
        ("model.gguf", Outcome.PASS),
    ],
)
def test_what_was_not_examined_is_an_error_unless_this_load_does_not_use_it(path: str, expected: Outcome) -> None:
    assert outcome(evidence(CLASSES, missed(path))) is expected


def test_a_file_of_another_framework_that_was_not_examined_is_no_pass_for_its_own_variant() -> None:
    judgement = judged(evidence(("model.safetensors", "model.gguf"), missed("model.gguf")))
    assert variant(judgement, "gguf").outcome is Outcome.ERROR
    assert variant(judgement, SAFETENSORS).outcome is Outcome.PASS
    assert judgement.verdict.outcome is Outcome.PASS


def test_a_file_of_another_framework_that_the_user_selected_is_an_error() -> None:
    case = evidence(("model.safetensors", "model.gguf"), missed("model.gguf"))
    selected = [replace(file, file_class=FileClass.WEIGHTS) for file in case.files]
    assert outcome(replace(case, files=selected)) is Outcome.ERROR


@pytest.mark.parametrize("pattern", ["model.gguf", "*.gguf", "*"])
def test_the_policy_can_accept_what_was_not_examined(pattern: str) -> None:
    case = evidence(("model.gguf",), missed("model.gguf"))
    case = replace(case, files=[replace(file, file_class=FileClass.WEIGHTS) for file in case.files])
    assert outcome(case) is Outcome.ERROR
    assert outcome(case, Policy(accept_unexamined=(pattern,))) is Outcome.PASS
    assert outcome(case, Policy(accept_unexamined=("*.bin",))) is Outcome.ERROR


@pytest.mark.parametrize("path", CLASSES)
def test_a_live_payload_in_any_file_blocks_whichever_variant_a_load_would_take(path: str) -> None:
    case = evidence(CLASSES, found(path, Severity.CRITICAL))
    assert judged(case).verdict.variant == SAFETENSORS
    assert outcome(case) is Outcome.BLOCK
    twin = replace(
        evidence(set(CLASSES) - {"model.safetensors"}, found(path, Severity.CRITICAL)),
        convertible=["pytorch_model.bin"],
        converted=True,
    )
    if path != "model.safetensors":
        assert judged(twin).verdict.variant == TWIN
        assert outcome(twin) is Outcome.BLOCK


def test_a_danger_outweighs_what_could_not_be_read() -> None:
    case = evidence(("pytorch_model.bin",), found("pytorch_model.bin", Severity.CRITICAL), missed("pytorch_model.bin"))
    assert outcome(case) is Outcome.BLOCK


def test_a_review_of_a_checkpoint_beside_safetensors_is_not_what_a_load_would_take() -> None:
    judgement = judged(
        evidence(("model.safetensors", "pytorch_model.bin"), found("pytorch_model.bin", Severity.MEDIUM))
    )
    assert judgement.verdict.outcome is Outcome.PASS
    assert judgement.verdict.variant == SAFETENSORS
    assert variant(judgement, PYTORCH).outcome is Outcome.REVIEW


@pytest.mark.parametrize(("converted", "expected"), [(False, Outcome.REVIEW), (True, Outcome.PASS)])
def test_the_twin_of_a_review_counts_only_once_it_is_written(converted: bool, expected: Outcome) -> None:
    case = evidence(
        ("pytorch_model.bin", "config.json"),
        found("pytorch_model.bin", Severity.MEDIUM),
        convertible=["pytorch_model.bin"],
        converted=converted,
    )
    judgement = judged(case)
    assert variant(judgement, TWIN).outcome is Outcome.PASS
    assert variant(judgement, PYTORCH).outcome is Outcome.REVIEW
    assert judgement.verdict.outcome is expected
    assert judgement.verdict.variant == (TWIN if converted else PYTORCH)
    assert ("twin of" in judgement.verdict.reasons[0]) is converted


def test_the_twin_of_a_blocked_checkpoint_passes_only_by_the_policys_word() -> None:
    case = evidence(
        ("pytorch_model.bin",),
        found("pytorch_model.bin", Severity.CRITICAL, "AIV301"),
        convertible=["pytorch_model.bin"],
        converted=True,
    )
    assert outcome(case) is Outcome.BLOCK
    assert variant(judged(case), TWIN).outcome is Outcome.BLOCK
    allowed = judged(case, Policy(twin_of_blocked=True))
    assert allowed.verdict.outcome is Outcome.PASS
    assert allowed.verdict.variant == TWIN
    assert variant(allowed, PYTORCH).outcome is Outcome.BLOCK


@pytest.mark.parametrize("rule", ["AIV101", "AIV103", "AIV203", "AIV205"])
def test_no_word_of_the_policy_makes_a_twin_of_forged_bytes_pass(rule: str) -> None:
    case = evidence(
        ("pytorch_model.bin",),
        found("pytorch_model.bin", Severity.CRITICAL, rule),
        convertible=["pytorch_model.bin"],
        converted=True,
    )
    assert outcome(case, Policy(twin_of_blocked=True)) is Outcome.BLOCK


@pytest.mark.parametrize("path", ["config.json", "modeling.py", "optimizer.bin", None])
def test_a_twin_does_not_cover_what_stands_beside_it(path: str | None) -> None:
    case = evidence(
        ("pytorch_model.bin", "config.json", "modeling.py", "optimizer.bin"),
        found(path, Severity.CRITICAL),
        convertible=["pytorch_model.bin"],
        converted=True,
    )
    assert outcome(case, Policy(twin_of_blocked=True)) is Outcome.BLOCK


def test_there_is_no_twin_when_a_shard_cannot_be_converted() -> None:
    case = evidence(("pytorch_model.bin",), convertible=[])
    assert TWIN not in {item.name for item in judged(case).variants}


def test_a_conversion_that_was_asked_for_and_failed_is_an_error_that_says_why() -> None:
    judgement = judged(evidence(("pytorch_model.bin",), failed={"pytorch_model.bin": "a quantised tensor"}))
    assert judgement.verdict.outcome is Outcome.ERROR
    assert any("a quantised tensor" in reason for reason in judgement.verdict.reasons)


def test_safetensors_are_preferred_to_a_twin() -> None:
    case = evidence(("model.safetensors", "pytorch_model.bin"), convertible=["pytorch_model.bin"], converted=True)
    assert judged(case).verdict.variant == SAFETENSORS


def test_training_state_is_never_what_a_load_takes_unless_there_is_nothing_else() -> None:
    assert judged(evidence(("optimizer.bin", "model.gguf"))).verdict.variant == "gguf"
    assert judged(evidence(("optimizer.bin",))).verdict.variant == TRAINING


def test_files_without_weights_are_no_model() -> None:
    judgement = judged(evidence(("config.json", "README.md")))
    assert judgement.verdict.outcome is Outcome.ERROR
    assert judgement.verdict.variant is None
    assert outcome(evidence(("config.json",), found("config.json", Severity.CRITICAL))) is Outcome.BLOCK


# waivers

WAIVER = Waiver(rule="AIV302", sha256=DIGESTS["bin"], reason="looked at it", expires=TODAY)


def test_a_waiver_takes_one_rule_off_one_content_and_stays_visible() -> None:
    case = evidence(("pytorch_model.bin",), found("pytorch_model.bin", Severity.CRITICAL))
    judgement = judged(case, Policy(waivers=(WAIVER,)))
    assert judgement.verdict.outcome is Outcome.PASS
    (finding,) = judgement.findings
    assert finding.severity is Severity.INFO
    assert "looked at it" in finding.message
    assert str(TODAY) in finding.message


@pytest.mark.parametrize(
    "waiver",
    [
        replace(WAIVER, expires=TODAY - datetime.timedelta(days=1)),
        replace(WAIVER, sha256=DIGESTS["safe"]),
        replace(WAIVER, sha256="0" * 64),
        replace(WAIVER, rule="AIV301"),
    ],
    ids=["expired", "of another file", "of other bytes", "of another rule"],
)
def test_a_waiver_that_does_not_fit_does_nothing(waiver: Waiver) -> None:
    case = evidence(("model.safetensors", "pytorch_model.bin"), found("pytorch_model.bin", Severity.CRITICAL))
    judgement = judged(case, Policy(waivers=(waiver,)))
    assert judgement.verdict.outcome is Outcome.BLOCK
    assert list(judgement.findings) == list(case.findings)


def test_a_waiver_cannot_take_away_what_is_said_of_the_whole_artifact_or_of_a_missing_file() -> None:
    for path in (None, "a link.bin"):
        case = evidence(("pytorch_model.bin",), found(path, Severity.CRITICAL))
        assert outcome(case, Policy(waivers=(WAIVER,))) is Outcome.BLOCK


def test_a_waiver_does_not_examine_a_file() -> None:
    case = evidence(("pytorch_model.bin",), missed("pytorch_model.bin"))
    assert outcome(case, Policy(waivers=(WAIVER,))) is Outcome.ERROR


# properties

PATHS = st.sampled_from([*CLASSES, "elsewhere.bin"])
SAID = st.one_of(
    st.builds(
        found, st.one_of(st.none(), PATHS), st.sampled_from(Severity), st.sampled_from(["AIV101", "AIV205", "AIV302"])
    ),
    st.builds(missed, PATHS),
)
POLICIES = st.builds(
    Policy,
    twin_of_blocked=st.booleans(),
    accept_unexamined=st.sampled_from([(), ("*.bin",), ("*",)]),
    waivers=st.sampled_from([(), (WAIVER,), (replace(WAIVER, sha256=DIGESTS["safe"]),)]),
)


@st.composite
def cases(draw: st.DrawFn) -> Evidence:
    paths = draw(st.sets(st.sampled_from(sorted(CLASSES)), min_size=1))
    said = draw(st.lists(SAID, max_size=4))
    convertible = ["pytorch_model.bin"] if "pytorch_model.bin" in paths and draw(st.booleans()) else []
    converted = bool(convertible) and draw(st.booleans())
    return evidence(paths, *said, convertible=convertible, converted=converted)


@given(cases(), SAID, POLICIES)
def test_worse_evidence_never_makes_a_verdict_or_a_variant_better(
    case: Evidence, more: Finding | Unexamined, policy: Policy
) -> None:
    if isinstance(more, Finding):
        worse = replace(case, findings=[*case.findings, more])
    else:
        worse = replace(case, unexamined=[*case.unexamined, more])
    before, after = judged(case, policy), judged(worse, policy)
    assert after.verdict.outcome.rank >= before.verdict.outcome.rank
    assert after.verdict.variant == before.verdict.variant
    for old, new in zip(before.variants, after.variants, strict=True):
        assert (old.name, old.files) == (new.name, new.files)
        assert new.outcome.rank >= old.outcome.rank


@given(cases(), POLICIES)
def test_the_order_in_which_things_are_said_does_not_matter(case: Evidence, policy: Policy) -> None:
    turned = replace(case, findings=case.findings[::-1], unexamined=case.unexamined[::-1])
    assert judged(case, policy).variants == judged(turned, policy).variants
    assert outcome(case, policy) is outcome(turned, policy)


@given(cases(), POLICIES)
def test_a_pass_has_examined_everything_that_it_loads_and_found_nothing_grave(case: Evidence, policy: Policy) -> None:
    judgement = judged(case, policy)
    if judgement.verdict.outcome is not Outcome.PASS:
        return
    chosen = variant(judgement, str(judgement.verdict.variant))
    assert chosen.outcome is Outcome.PASS
    exempt = set(FAMILIES[PYTORCH]) if chosen.name == TWIN else set()
    for finding in judgement.findings:
        if finding.file in chosen.files and finding.file not in exempt:
            assert effect(finding, policy) is Outcome.PASS
    if not policy.accept_unexamined:
        assert not {item.file for item in case.unexamined} & (set(chosen.files) - exempt - {"README.md"})


def test_judging_takes_time_in_proportion_to_the_findings() -> None:
    many = 20_000
    files = [
        ArtifactFile(path=f"{number}.json", size=1, sha256="0" * 64, format="json", file_class=FileClass.CONFIG)
        for number in range(many)
    ]
    case = Evidence(
        files=files,
        findings=[found(file.path, Severity.LOW) for file in files],
        unexamined=[missed(file.path) for file in files],
        families={},
    )
    start = time.process_time()
    assert outcome(case) is Outcome.ERROR
    assert time.process_time() - start < 10  # each finding looked at once for every file would take minutes


def test_reasons_are_few_and_the_gravest_come_first() -> None:
    said = [found("model.safetensors", Severity.MEDIUM)] * 10 + [found("config.json", Severity.CRITICAL)]
    reasons = judged(evidence(("model.safetensors", "config.json"), *said)).verdict.reasons
    assert reasons[1].startswith("config.json")
    assert len(reasons) == 7
    assert reasons[-1] == "and 6 more"
