"""When a verdict may be taken over: everything that an attestation can lack, one by one."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from end_to_end import sample, weights
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from local_authority import Holder, Traits, authority, sign_with_certificate
from local_sigstore import ISSUER, LocalSigstore
from signed_models import payload_of, pem, sign_keyless, sign_with_key, write_bundle

from aiverify import api
from aiverify.attestations.acceptance import DEFAULT_MAX_AGE, is_older
from aiverify.attestations.interface import AttestationError
from aiverify.attestations.stage import Attestations
from aiverify.attestations.summary import EXTENSION, parse_summary, summary_payload
from aiverify.cli.attestors import MAX_AGE_DAYS
from aiverify.demo.hub import LocalHub
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule, read_policy
from aiverify.report import Outcome, Report
from aiverify.reporters.json import JsonReporter
from aiverify.reporters.reading import load
from aiverify.signatures.interface import MalformedError
from aiverify.signers import CertificateSigner, Expectation, KeylessSigner, KeySigner, Threshold
from aiverify.version import __version__

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = weights(tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "sub").mkdir()
    (folder / "sub" / "notes.txt").write_text("notes")
    return folder


@dataclass
class Case:
    """An attested folder, and how it is presented."""

    model: Path
    key: ec.EllipticCurvePrivateKey
    statement: dict[str, Any]
    bundle: Path
    policy: Policy = DEFAULT_POLICY
    attestor: Expectation | None = None
    terms: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[bytes], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        self.attestor = KeySigner(pem(self.key), "key.pub")

    @property
    def predicate(self) -> dict[str, Any]:
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate

    def present(self) -> Report:
        payload = json.dumps(self.statement).encode()
        bundle = self.sign(payload) if self.sign else sign_with_key(payload, self.key)
        write_bundle(bundle, self.bundle)
        return self.verify()

    def verify(self) -> Report:
        attestations = Attestations(bundles=(self.bundle,), **self.terms)
        return api.verify(self.model, policy=self.policy, attestations=attestations, attestor=self.attestor)


@pytest.fixture
def case(model: Path, key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Case:
    statement = json.loads(summary_payload(api.verify(model)))
    return Case(model, key, statement, tmp_path / "attestation.json")


def refused(report: Report) -> list[tuple[str | None, str]]:
    """What speaks against the files or the signature. The verdict is to block."""
    assert report.verdict.outcome is Outcome.BLOCK
    assert {item.rule for item in report.findings} == {"AIV213"}
    assert [one.outcome for one in report.attestations] == ["refused"] * len(report.attestations)
    assert report.variants == ()
    return [(item.file, item.message) for item in report.findings]


# what holds


def test_the_verdict_is_taken_over_with_everything_about_it(case: Case) -> None:
    report = case.present()
    assert report.verdict.outcome is Outcome.PASS
    assert report.verdict.variant == "safetensors"
    assert report.verdict.reasons[0].startswith("by attestation: key key.pub (SHA-256 ")
    assert "nothing was scanned now" in report.verdict.reasons[0]
    (one,) = report.attestations
    assert (one.outcome, one.kind, one.verdict, one.tool) == ("accepted", "key", "pass", f"aiverify {__version__}")
    assert one.policy == DEFAULT_POLICY.digest
    examined = api.verify(case.model)
    assert report.artifact.files == examined.artifact.files
    assert report.variants == examined.variants


def test_the_report_says_so_in_json_by_the_schema_and_is_read_back(case: Case) -> None:
    report = case.present()
    text = JsonReporter().render([report])
    Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert load(text) == report
    old = json.loads(JsonReporter().render([api.verify(case.model)]))
    del old["attestations"]
    Draft202012Validator(SCHEMA).validate(old)
    assert load(json.dumps(old)).attestations == ()


def test_nothing_is_scanned(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    """An attestor who lies is believed: whoever names one should know."""
    folder = sample("payload", tmp_path)
    assert api.verify(folder).verdict.outcome is Outcome.BLOCK
    statement = json.loads(summary_payload(api.verify(folder)))
    statement["predicate"] |= {"verificationResult": "PASSED", "verifiedLevels": ["AIVERIFY_PASS"]}
    statement["predicate"][EXTENSION]["outcome"] = "pass"
    assert Case(folder, key, statement, tmp_path / "a.json").present().verdict.outcome is Outcome.PASS


def test_a_verdict_that_was_no_pass_is_taken_over_as_it_is(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    folder = sample("payload", tmp_path)
    examined = api.verify(folder)
    statement = json.loads(summary_payload(examined))
    assert statement["predicate"]["verificationResult"] == "FAILED"
    assert statement["predicate"]["verifiedLevels"] == ["FAILED"]
    report = Case(folder, key, statement, tmp_path / "a.json").present()
    assert report.verdict.outcome is examined.verdict.outcome is Outcome.BLOCK
    assert (report.findings, report.attestations[0].outcome) == ((), "accepted")


def test_a_keyless_attestation_holds(case: Case, tmp_path: Path) -> None:
    with LocalSigstore() as sigstore:
        case.sign = lambda payload: sign_keyless(payload, sigstore, "ci@example.test")
        root = tmp_path / "root.json"
        root.write_text(json.dumps(sigstore.trusted_root()))
        case.attestor = KeylessSigner("ci@example.test", ISSUER)
        write_bundle(case.sign(json.dumps(case.statement).encode()), case.bundle)
    attestations = Attestations(bundles=(case.bundle,))
    report = api.verify(case.model, attestations=attestations, attestor=case.attestor, trusted_root=root)
    assert report.verdict.outcome is Outcome.PASS
    assert "root.json" in (report.attestations[0].root or "")
    other = KeylessSigner("ci@example.test", "https://other.example.test")
    report = api.verify(case.model, attestations=attestations, attestor=other, trusted_root=root)
    assert "but one by" in refused(report)[0][1]


def test_an_attestation_with_a_certificate_holds(case: Case) -> None:
    root = authority()
    case.sign = lambda payload: sign_with_certificate(payload, Holder(Traits(), root))
    case.attestor = CertificateSigner(root.pem, "CN=Release")
    assert case.present().verdict.outcome is Outcome.PASS
    case.attestor = CertificateSigner(root.pem, "CN=Somebody")
    refused(case.present())


def test_several_attestors_can_be_asked_for(case: Case, tmp_path: Path) -> None:
    others = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    case.attestor = Threshold(2, tuple(KeySigner(pem(one)) for one in (case.key, *others)))
    payload = json.dumps(case.statement).encode()
    first = write_bundle(sign_with_key(payload, case.key), tmp_path / "1.json")
    second = write_bundle(sign_with_key(payload, others[0]), tmp_path / "2.json")

    def verify(*bundles: Path) -> Report:
        return api.verify(case.model, attestations=Attestations(bundles=bundles), attestor=case.attestor)

    assert verify(first, second).verdict.outcome is Outcome.PASS
    for bundles in ((first,), (first, first)):
        with pytest.raises(AttestationError, match="not all of them did"):
            verify(*bundles)


def test_the_worst_of_several_verdicts_counts(case: Case, tmp_path: Path) -> None:
    good = write_bundle(sign_with_key(json.dumps(case.statement).encode(), case.key), tmp_path / "good.json")
    case.predicate[EXTENSION]["outcome"] = "review"
    case.predicate.update(verificationResult="FAILED", verifiedLevels=["FAILED"])
    bad = write_bundle(sign_with_key(json.dumps(case.statement).encode(), case.key), tmp_path / "bad.json")
    for bundles in ((good, bad), (bad, good)):
        report = api.verify(case.model, attestations=Attestations(bundles=bundles), attestor=case.attestor)
        assert report.verdict.outcome is Outcome.REVIEW


# the signature


def test_a_tampered_attestation_is_refused(case: Case) -> None:
    case.present()
    bundle = json.loads(case.bundle.read_text())
    case.predicate["resourceUri"] = "pkg:generic/other"
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(case.statement).encode()).decode()
    case.bundle.write_text(json.dumps(bundle))
    assert "does not count" in refused(case.verify())[0][1]


def test_somebody_elses_attestation_is_refused(case: Case) -> None:
    case.sign = lambda payload: sign_with_key(payload, ec.generate_private_key(ec.SECP256R1()))
    assert "does not count" in refused(case.present())[0][1]


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense", '{"dsseEnvelope": {}}'])
def test_what_is_not_signed_is_no_attestation(case: Case, content: str) -> None:
    case.bundle.write_text(content)
    with pytest.raises(AttestationError, match="cannot be read"):
        case.verify()
    case.bundle.write_text(json.dumps(case.statement))
    with pytest.raises(AttestationError, match="cannot be read"):
        case.verify()


def test_without_an_attestor_nothing_is_accepted(case: Case) -> None:
    case.present()
    case.attestor = None
    with pytest.raises(UsageError, match="nobody says whose"):
        case.verify()


def test_a_signer_of_the_model_is_no_attestor(case: Case) -> None:
    case.present()
    case.attestor = None
    case.policy = Policy(signers=(SignerRule(expected=KeySigner(pem(case.key))),))
    case.terms = {"policies": (DEFAULT_POLICY.digest,)}
    with pytest.raises(UsageError, match="nobody says whose"):
        case.verify()


def test_a_signature_over_the_model_is_no_attestation(case: Case) -> None:
    case.sign = lambda _: sign_with_key(payload_of(case.model), case.key)
    with pytest.raises(AttestationError, match="not the summary of a verification"):
        case.present()


# the files


def test_a_changed_file_is_refused(case: Case) -> None:
    data = bytearray((case.model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (case.model / "model.safetensors").write_bytes(data)
    ((path, message),) = refused(case.present())
    assert (path, "was attested" in message) == ("model.safetensors", True)


def test_an_extra_file_is_refused(case: Case) -> None:
    (case.model / "sub" / "new.py").write_text("")
    assert refused(case.present()) == [("sub/new.py", "is not among the files that were attested")]


def test_a_missing_file_is_refused(case: Case) -> None:
    (case.model / "sub" / "notes.txt").unlink()
    assert refused(case.present()) == [("sub/notes.txt", "was attested, and is not there")]


def test_a_selection_is_not_what_was_attested(case: Case) -> None:
    case.present()
    attestations = Attestations(bundles=(case.bundle,))
    report = api.verify(case.model, include=["*.safetensors"], attestations=attestations, attestor=case.attestor)
    assert {path for path, _ in refused(report)} == {"config.json", "sub/notes.txt"}


def test_a_renamed_file_is_refused(case: Case) -> None:
    (case.model / "config.json").rename(case.model / "config.JSON")
    assert {path for path, _ in refused(case.present())} == {"config.json", "config.JSON"}


def test_other_files_altogether_are_refused(case: Case, tmp_path: Path) -> None:
    shutil.rmtree(case.model)
    sample("signed", tmp_path).rename(case.model)
    assert len(refused(case.present())) > 3


def test_a_link_that_leads_out_is_refused(case: Case) -> None:
    (case.model / "link").symlink_to("/etc/hostname")
    write_bundle(sign_with_key(json.dumps(case.statement).encode(), case.key), case.bundle)
    report = case.verify()
    assert report.verdict.outcome is Outcome.BLOCK
    assert [item.rule for item in report.findings] == ["AIV409"]


# the terms


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda case: case.predicate["policy"]["digest"].update(sha256="0" * 64), "another policy"),
        (lambda case: setattr(case, "policy", Policy(require_signature=True)), "another policy"),
        (lambda case: case.predicate.update(timeVerified=_ago(days=31)), "days old"),
        (lambda case: case.predicate.update(timeVerified=_ago(days=-1)), "to come"),
        (lambda case: setattr(case, "terms", {"max_age": timedelta(microseconds=1)}), "days old"),
        (lambda case: case.predicate["verifier"]["version"].update({"aiverify-weights": "0.0.9"}), "version 0.0.9"),
        (lambda case: case.predicate["verifier"]["version"].update({"aiverify-weights": "new"}), "version new"),
        (lambda case: setattr(case, "terms", {"oldest": "99.0"}), "must be by 99.0"),
        (lambda case: case.predicate["verifier"].update(id="https://example.test"), "not one by aiverify"),
        (lambda case: case.statement.update(predicateType="https://slsa.dev/provenance/v1"), "not the summary"),
    ],
)
def test_what_is_not_good_enough_is_an_error_with_its_reason(
    case: Case, spoil: Callable[[Case], object], said: str
) -> None:
    spoil(case)
    with pytest.raises(AttestationError, match="no verdict can be taken over") as caught:
        case.present()
    assert said in str(caught.value)


def _ago(**age: float) -> str:
    return f"{datetime.now(UTC) - timedelta(**age):%Y-%m-%dT%H:%M:%SZ}"


def test_the_user_may_allow_more(case: Case) -> None:
    case.predicate["policy"]["digest"]["sha256"] = "0" * 64
    case.predicate["timeVerified"] = _ago(days=40)
    case.predicate["verifier"]["version"]["aiverify-weights"] = "0.0.9"
    case.terms = {"max_age": timedelta(days=41), "policies": ("0" * 64,), "oldest": "0.0.9"}
    assert case.present().verdict.outcome is Outcome.PASS


def test_the_command_and_the_library_agree_on_the_age() -> None:
    assert timedelta(days=MAX_AGE_DAYS) == DEFAULT_MAX_AGE


def test_terms_that_make_no_sense_are_refused(case: Case) -> None:
    for terms in ({"max_age": timedelta(0)}, {"oldest": "new"}, {"oldest": f"1.{'0' * 100}"}):
        case.terms = terms
        with pytest.raises(UsageError):
            case.present()


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0.1.0", "0.1.1"), ("0.9", "0.10"), ("1.0rc1", "1.0"), ("1.0", "1.0.1"), ("x", "0.0.1"), ("1.0.dev1", "1.0rc1")],
)
def test_versions_are_in_order(older: str, newer: str) -> None:
    assert is_older(older, newer)
    assert not is_older(newer, older)


def test_equal_versions_are_none_before_the_other() -> None:
    for one, other in (("1.0", "1.0.0"), ("0.1.0", "0.1.0"), ("1.0+local", "1.0")):
        assert not is_older(one, other)


@pytest.mark.parametrize("other", ["convert_to", "locked"])
def test_what_needs_the_files_is_not_combined_with_it(case: Case, other: str) -> None:
    case.present()
    more: dict[str, Any] = {other: Path("x")}
    with pytest.raises(UsageError, match="cannot be combined"):
        api.verify(case.model, attestations=Attestations(bundles=(case.bundle,)), **more)


# the policy


def test_attestors_stand_in_the_policy_and_change_no_other_verdict(case: Case, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(pem(case.key))
    path = tmp_path / "aiverify.toml"
    path.write_text('[[attestors]]\nkey = "key.pub"\n')
    policy = read_policy(path)
    assert policy.digest == DEFAULT_POLICY.digest
    case.attestor, case.policy = None, policy
    assert case.present().verdict.outcome is Outcome.PASS
    with pytest.raises(Exception, match="attestors: weakens the policy"):
        read_policy(path, may_weaken=False)


def test_attestors_are_per_repository(case: Case, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(pem(case.key))
    path = tmp_path / "aiverify.toml"
    path.write_text('[[attestors]]\nrepositories = ["acme/*"]\nkey = "key.pub"\n')
    case.attestor, case.policy = None, read_policy(path)
    with pytest.raises(UsageError, match="nobody says whose"):
        case.present()


# the Hub


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    served = tmp_path / "served"
    shutil.copytree(model, served / "org" / "model")
    shutil.copytree(model, served / "org" / "other")
    with LocalHub(served) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def on_the_hub(repo: str, cache: Path, hub: LocalHub, **options: Any) -> Report:
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import HubOptions, Selection

    attestor = options.pop("attestor", None)
    policy = DEFAULT_POLICY.with_attestor(SignerRule(expected=attestor), "test") if attestor else DEFAULT_POLICY
    hub_options = HubOptions(endpoint=hub.endpoint, cache_dir=cache, offline=options.pop("offline", False))
    selection = Selection(lean=options.pop("lean", False))
    return run(repo, Options(policy=policy, hub=hub_options, selection=selection, **options))


def test_on_the_hub_the_listing_is_enough(hub: LocalHub, key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    examined = on_the_hub("org/model", tmp_path / "first", hub)
    bundle = write_bundle(sign_with_key(summary_payload(examined), key), tmp_path / "a.json")
    attestations, attestor = Attestations(bundles=(bundle,)), KeySigner(pem(key))
    cache = tmp_path / "second"
    report = on_the_hub("org/model", cache, hub, attestations=attestations, attestor=attestor)
    assert report.verdict.outcome is Outcome.PASS
    assert report.artifact == examined.artifact
    fetched = {path.name for path in cache.rglob("snapshots/*/**/*") if path.is_file()}
    assert "config.json" in fetched  # the Hub names it by SHA-1 only
    assert "model.safetensors" not in fetched
    # Once everything is here, the answer is the same.
    report = on_the_hub("org/model", tmp_path / "first", hub, attestations=attestations, attestor=attestor)
    assert report.verdict.outcome is Outcome.PASS


def test_what_is_only_worth_knowing_refuses_nothing(
    hub: LocalHub, key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    """A pickle beside the safetensors is left out, and that is said; also where everything is here already."""
    (tmp_path / "served" / "org" / "model" / "model.bin").write_bytes(b"pickle")
    examined = on_the_hub("org/model", tmp_path / "first", hub, lean=True)
    assert "AIV613" in {item.rule for item in examined.findings}
    bundle = write_bundle(sign_with_key(summary_payload(examined), key), tmp_path / "a.json")
    attestations, attestor = Attestations(bundles=(bundle,)), KeySigner(pem(key))
    for cache in ("first", "second"):
        report = on_the_hub("org/model", tmp_path / cache, hub, attestations=attestations, attestor=attestor, lean=True)
        assert (report.verdict.outcome, report.attestations[0].outcome) == (Outcome.PASS, "accepted")
        assert "AIV613" in {item.rule for item in report.findings}


@pytest.mark.parametrize(
    ("name", "offline"), [("config.json", False), ("config.json", True), ("model.safetensors", True)]
)
def test_bytes_in_the_cache_that_are_not_the_hubs_are_refused(
    hub: LocalHub, key: ec.EllipticCurvePrivateKey, tmp_path: Path, name: str, offline: bool
) -> None:
    """Also where the attestor has seen the same wrong bytes, and where an old listing states the right ones."""
    examined = on_the_hub("org/model", tmp_path / "cache", hub)
    (place,) = (tmp_path / "cache").rglob(f"snapshots/*/{name}")
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.resolve().write_bytes(data)
    statement = json.loads(summary_payload(examined))
    if name == "config.json":
        (subject,) = (one for one in statement["subject"] if one["name"] == name)
        subject["digest"]["sha256"] = hashlib.sha256(data).hexdigest()
    bundle = write_bundle(sign_with_key(json.dumps(statement).encode(), key), tmp_path / "a.json")
    report = on_the_hub(
        "org/model",
        tmp_path / "cache",
        hub,
        attestations=Attestations(bundles=(bundle,)),
        attestor=KeySigner(pem(key)),
        offline=offline,
    )
    assert report.verdict.outcome is Outcome.BLOCK
    assert ("AIV101", name) in {(item.rule, item.file) for item in report.findings}


def test_an_attestation_about_another_repository_is_refused(
    case: Case, hub: LocalHub, key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    """The same bytes under another name: the policy may ask for other signers there."""
    examined = on_the_hub("org/other", tmp_path / "cache", hub)
    attestor = KeySigner(pem(key))
    for payload in (summary_payload(examined), json.dumps(case.statement).encode()):
        bundle = write_bundle(sign_with_key(payload, key), tmp_path / "a.json")
        attestations = Attestations(bundles=(bundle,))
        report = on_the_hub("org/model", tmp_path / "cache", hub, attestations=attestations, attestor=attestor)
        assert refused(report)[0][0] is None
        assert "not about org/model" in refused(report)[0][1] or "not about a repository" in refused(report)[0][1]


def test_weights_that_changed_on_the_hub_are_refused_without_a_download(
    hub: LocalHub, key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    examined = on_the_hub("org/model", tmp_path / "first", hub)
    statement = json.loads(summary_payload(examined))
    for subject in statement["subject"]:
        if subject["name"] in ("model.safetensors", "config.json"):
            subject["digest"]["sha256"] = "0" * 64
    bundle = write_bundle(sign_with_key(json.dumps(statement).encode(), key), tmp_path / "a.json")
    attestations, attestor = Attestations(bundles=(bundle,)), KeySigner(pem(key))
    report = on_the_hub("org/model", tmp_path / "second", hub, attestations=attestations, attestor=attestor)
    assert {path for path, _ in refused(report)} == {"model.safetensors", "config.json"}
    assert not [path for path in (tmp_path / "second").rglob("model.safetensors") if path.is_file()]


# parsing


def test_a_summary_says_what_the_report_says(model: Path) -> None:
    report = api.verify(model)
    summary = parse_summary(summary_payload(report))
    assert summary.artifact == report.artifact
    assert summary.variants == report.variants
    assert (summary.verdict.outcome, summary.verdict.variant) == (report.verdict.outcome, report.verdict.variant)
    assert (summary.policy, summary.version) == (report.policy.digest, __version__)
    assert summary.levels == ("AIVERIFY_PASS", "AIVERIFY_COMPLETE")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("0" * 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_whatever_stands_in_a_summary_it_is_read_or_refused(data: st.DataObject) -> None:
    """Any part of a valid statement replaced by any value."""
    from report_builder import report

    statement = json.loads(summary_payload(report()))
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for name in node if isinstance(node, dict) else range(len(node)):
            places.append((node, name))
            if isinstance(node[name], dict | list):
                collect(node[name])

    collect(statement)
    node, name = data.draw(st.sampled_from(places))
    node[name] = data.draw(_VALUES)
    try:
        summary = parse_summary(json.dumps(statement).encode())
    except MalformedError:
        return
    assert (summary.verdict.outcome is Outcome.PASS) == (statement["predicate"]["verificationResult"] == "PASSED")
    assert len({file.path for file in summary.artifact.files}) == len(statement["subject"])


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_otherwise(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_summary(payload)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda statement: statement["subject"].append(statement["subject"][0]),
        lambda statement: statement["subject"].clear(),
        lambda statement: statement["subject"][0]["digest"].update(sha256="A" * 64),
        lambda statement: statement["subject"][0]["annotations"].update(size=-1),
        lambda statement: statement["subject"][0]["annotations"].update(size=True),
        lambda statement: statement["predicate"].update(verificationResult="FAILED"),
        lambda statement: statement["predicate"].update(verifiedLevels=["FAILED"]),
        lambda statement: statement["predicate"][EXTENSION].update(outcome="fine"),
        lambda statement: statement["predicate"][EXTENSION].update(variant="pytorch"),
        lambda statement: statement["predicate"].update(timeVerified="yesterday"),
        lambda statement: statement["predicate"].update(timeVerified="2026-13-01T00:00:00Z"),
        lambda statement: statement["predicate"].pop("policy"),
    ],
)
def test_a_summary_that_contradicts_itself_is_none(spoil: Callable[[Any], object]) -> None:
    from report_builder import report

    statement = json.loads(summary_payload(report()))
    parse_summary(json.dumps(statement).encode())
    spoil(statement)
    with pytest.raises(MalformedError):
        parse_summary(json.dumps(statement).encode())


def test_what_says_nothing_about_bytes_is_not_attested() -> None:
    from report_builder import report

    whole = report()
    files = (replace(whole.artifact.files[0], sha256=None), *whole.artifact.files[1:])
    for bad in (
        report(artifact=replace(whole.artifact, files=())),
        report(artifact=replace(whole.artifact, files=files)),
        report(tool="other 1.0"),
    ):
        with pytest.raises(AttestationError):
            summary_payload(bad)


def test_a_verdict_by_attestation_is_not_attested_again(case: Case) -> None:
    with pytest.raises(AttestationError, match="rests on an attestation"):
        summary_payload(case.present())
