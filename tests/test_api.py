"""The Python face: what the command does, with types, and with AiverifyError for what cannot be done."""

from __future__ import annotations

import inspect
import json
import typing
from pathlib import Path

import pytest
from end_to_end import SAMPLES, TRUST, Machine, weights

import aiverify
from aiverify import api
from aiverify.arguments import Shared
from aiverify.cli.verify import verify as command
from aiverify.demo.stories import IDENTITY, ISSUER
from aiverify.errors import AiverifyError, UsageError
from aiverify.policy import SignerRule
from aiverify.reporters.document import to_dict
from aiverify.signers import KeylessSigner

VOLATILE = ("started_at", "duration_s", "target", "policy")


def test_the_function_and_the_command_give_the_same_report(tmp_path: Path) -> None:
    report = aiverify.verify(SAMPLES / "payload", convert_to=tmp_path / "converted")
    ran = Machine(tmp_path).run("verify", SAMPLES / "payload", "--convert-to", "converted", "--format", "json")
    mine, theirs = json.loads(json.dumps(to_dict(report))), ran.report
    for name in VOLATILE:
        mine.pop(name), theirs.pop(name)
    assert mine == theirs


def test_the_function_has_every_option_of_the_command_that_is_not_about_printing() -> None:
    options = set(inspect.signature(command).parameters) - {
        "context",
        "targets",
        "format",
        "output",
        "quiet",
        "verbose",
    }
    parameters = set(inspect.signature(aiverify.verify).parameters) - {"target", "progress", "shared"}
    parameters |= Shared.__annotations__.keys()
    # The first is a key of the policy, then come forms of trusted_root, of locked and of attestations and attestor;
    # a dry run is no verification.
    forms = {name for name in options if name.startswith(("attestor_", "attested_"))} | {
        "accept_attestation",
        "max_age",
    }
    assert options - parameters == {
        *("require_signature", "staging", "tuf_url", "tuf_root", "lockfile", "dry_run"),
        *forms,
    }
    parameters -= {"attestations", "attestor"}
    assert parameters <= options


@pytest.mark.parametrize("name", ["verify", "ensure", "convert"])
def test_an_argument_that_nobody_knows_is_an_error(name: str, tmp_path: Path) -> None:
    arguments = [SAMPLES / "payload"] + [tmp_path] * (name == "convert")
    with pytest.raises(TypeError, match="unexpected keyword argument 'revison'"):
        getattr(aiverify, name)(*arguments, revison="main")
    assert not list(tmp_path.iterdir())


def test_a_function_can_be_called_twice_though_a_room_has_its_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert aiverify.convert(SAMPLES / "checkpoint", tmp_path / name).conversions
        with aiverify.guard(store=tmp_path / "store"):
            pass


@pytest.mark.parametrize("function", [api.verify, api.scan])
def test_every_parameter_and_result_has_a_type(function: typing.Any) -> None:
    signature = inspect.signature(function)
    assert signature.return_annotation == "Report"
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
    assert (Path(aiverify.__file__).parent / "py.typed").is_file()


def test_a_verdict_is_returned_whatever_it_is() -> None:
    assert aiverify.verify(SAMPLES / "checkpoint").verdict.outcome is aiverify.Outcome.PASS
    assert aiverify.verify(str(SAMPLES / "payload")).verdict.outcome is aiverify.Outcome.BLOCK
    assert aiverify.scan(SAMPLES / "payload").verdict.outcome is aiverify.Outcome.BLOCK
    static = aiverify.scan(SAMPLES / "checkpoint")
    assert (static.verdict.outcome, static.signatures, static.conversions) == (aiverify.Outcome.PASS, (), ())


def test_a_signer_can_be_expected() -> None:
    root = TRUST / "trusted_root.json"
    good = aiverify.verify(SAMPLES / "signed", cert_identity=IDENTITY, cert_oidc_issuer=ISSUER, trusted_root=root)
    assert good.signatures[0].outcome == "verified"
    assert [source.name for source in good.policy.sources] == ["default policy", "--cert-identity"]
    signer = aiverify.Policy(signers=(SignerRule(expected=KeylessSigner("you", ISSUER)),))
    bad = aiverify.verify(SAMPLES / "signed", policy=signer, trusted_root=root)
    assert bad.verdict.outcome is aiverify.Outcome.BLOCK
    tampered = aiverify.verify(SAMPLES / "tampered", key=TRUST / "publisher.pub")
    assert "AIV205" in {finding.rule for finding in tampered.findings}


@pytest.mark.parametrize(
    "options",
    [
        {"cert_identity": "me"},
        {"cert_oidc_issuer": "https://issuer"},
        {"cert_identity": "", "cert_oidc_issuer": ""},
        {"cert_identity": "me", "cert_oidc_issuer": ""},
        {"key": TRUST / "publisher.pub", "cert_identity": "me", "cert_oidc_issuer": "https://issuer"},
        {"key": TRUST / "nowhere.pub"},
        {"key": Path("nul\0")},
    ],
)
def test_an_expectation_that_makes_no_sense_is_an_error_before_anything_is_read(options: dict[str, typing.Any]) -> None:
    with pytest.raises(UsageError) as error:
        aiverify.verify("nowhere", **options)
    assert error.value.hint


@pytest.mark.parametrize("target", ["nowhere", "", "nul\0", Path("/nowhere"), "hf://", "x" * 5000, "a/b/c"])
def test_every_error_is_ours(target: str | Path) -> None:
    for function in (aiverify.verify, aiverify.scan):
        with pytest.raises(AiverifyError) as error:
            function(target)
        assert "\n" not in str(error.value)
        assert error.value.diagnostics().startswith(str(error.value))


def test_a_policy_can_be_a_value_or_a_file_outside_the_target(tmp_path: Path) -> None:
    model = weights(tmp_path / "model")
    path = tmp_path / "policy.toml"
    path.write_text("require_signature = true\n")
    by_value = aiverify.verify(model, policy=aiverify.Policy(require_signature=True))
    by_file = aiverify.verify(model, policy=path)
    assert by_value.verdict.outcome is by_file.verdict.outcome is aiverify.Outcome.BLOCK
    assert by_value.policy.digest == by_file.policy.digest
    assert [source.name for source in by_file.policy.sources] == [str(path)]
    inside = model / "policy.toml"
    inside.write_text("")
    for function in (aiverify.verify, aiverify.scan):
        with pytest.raises(UsageError, match="inside a target"):
            function(model, policy=inside)


def test_configuration_files_are_the_command_lines_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = weights(tmp_path / "model")
    (tmp_path / "aiverify.toml").write_text("require_signature = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIVERIFY_REQUIRE_SIGNATURE", "1")
    assert aiverify.verify(model).verdict.outcome is aiverify.Outcome.PASS
