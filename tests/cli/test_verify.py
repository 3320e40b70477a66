"""``aiverify verify`` from end to end: local models, a Hub, signatures, conversion and what is printed where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from end_to_end import (
    SAMPLES,
    TRUST,
    Machine,
    checkpoint_of_unknown_class,
    files_below,
    outcomes,
    sample,
    save_with_torch,
    weights,
)
from jsonschema import Draft202012Validator
from local_sigstore import LocalSigstore
from signed_models import payload_of, pem, sign_keyless, sign_with_key, write_bundle
from typer.testing import CliRunner

from aiverify.cli.app import app
from aiverify.demo.hub import LocalHub
from aiverify.demo.stories import IDENTITY, ISSUER

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub(SAMPLES.parent, refs=("main", "v1")) as hub:
        yield hub


@pytest.fixture
def online(tmp_path: Path, hub: LocalHub) -> Machine:
    return Machine(tmp_path, HF_ENDPOINT=hub.endpoint)


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """``verify`` in this process, for speed: its exit code and its JSON report."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, Any]:
        ran = CliRunner().invoke(app, ["verify", *map(str, arguments), "--format", "json"])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran.exit_code, json.loads(ran.stdout) if ran.stdout else ran.stderr

    return run


# local targets


def test_a_folder_of_honest_safetensors_passes(machine: Machine) -> None:
    weights(machine.here / "model")
    ran = machine.run("verify", "model")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("PASS    model (safetensors)")


def test_a_single_file_is_a_target(verify: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    code, report = verify(weights(tmp_path) / "model.safetensors")
    assert code == 0
    assert report["artifact"]["source"] == "file"
    assert [file["path"] for file in report["artifact"]["files"]] == ["model.safetensors"]


def test_the_worst_of_several_targets_decides_and_the_others_are_still_reported(machine: Machine) -> None:
    for name in ("a", "c"):
        weights(machine.here / name)
    sample("payload", machine.here)
    ran = machine.run("verify", *sorted(path.name for path in machine.here.glob("*")), "nowhere")
    assert ran.code == 1
    assert [line.split()[:2] for line in ran.out.splitlines() if re.match("(PASS|BLOCK|ERROR) ", line)][:4] == [
        ["PASS", "a"],
        ["PASS", "c"],
        ["BLOCK", "payload"],
        ["ERROR", "nowhere"],
    ]
    assert ran.err.startswith("error: 'nowhere' is neither")
    ran = machine.run("verify", "a", "nowhere", "c", "--format", "json")
    assert ran.code == 2
    assert [(report["target"], report["verdict"]["outcome"]) for report in ran.report["reports"]] == [
        ("a", "pass"),
        ("nowhere", "error"),
        ("c", "pass"),
    ]
    assert ran.report["outcome"] == "error"


def test_a_run_that_could_not_be_done_is_a_report_for_machines_and_replaces_an_old_one(machine: Machine) -> None:
    (machine.here / "report.json").write_text("of yesterday")
    ran = machine.run("verify", "nowhere", "--format", "json", "-o", "report.json")
    report = json.loads((machine.here / "report.json").read_text())
    assert (ran.code, report["verdict"]["outcome"], report["artifact"]["files"]) == (2, "error", [])
    assert "'nowhere' is neither" in report["verdict"]["reasons"][0]
    Draft202012Validator(SCHEMA).validate(report)


@pytest.mark.parametrize(
    ("name", "code", "outcome", "variants"),
    [
        ("checkpoint", 0, "pass", {"pytorch": "pass", "pytorch → twin": "pass"}),
        ("payload", 1, "block", {"pytorch": "block", "pytorch → twin": "block"}),
    ],
)
def test_the_verdict_is_given_per_variant(
    verify: Callable[..., tuple[int, Any]], name: str, code: int, outcome: str, variants: dict[str, str]
) -> None:
    exit_code, report = verify(SAMPLES / name)
    assert (exit_code, report["verdict"]["outcome"]) == (code, outcome)
    assert outcomes(report) == variants


def test_a_link_that_leads_out_of_the_folder_blocks(verify: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    weights(tmp_path / "model")
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    (tmp_path / "model" / "pytorch_model.bin").symlink_to(secret)
    code, report = verify(tmp_path / "model")
    assert (code, report["verdict"]["outcome"]) == (1, "block")
    (tmp_path / "model" / "model.safetensors").unlink()
    code, report = verify(tmp_path / "model")
    assert (code, report["verdict"]["outcome"]) == (1, "block")
    assert report["artifact"]["source"] == "folder"


def test_safetensors_and_a_file_of_another_framework_are_variants_of_their_own(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    (weights(tmp_path / "model") / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    _, report = verify(tmp_path / "model", "--include", "*.safetensors")
    assert outcomes(report) == {"safetensors": "pass"}
    code, report = verify(tmp_path / "model", "--include", "*.h5")
    assert (code, report["verdict"]["outcome"]) == (1, "block")


def test_training_state_with_a_payload_blocks_although_no_load_takes_it(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    weights(tmp_path / "model")
    payload = (SAMPLES / "payload" / "pytorch_model.bin").read_bytes()
    (tmp_path / "model" / "training_args.bin").write_bytes(payload)
    code, report = verify(tmp_path / "model")
    assert code == 1
    assert outcomes(report) == {"safetensors": "pass", "training state": "block"}


def test_include_and_exclude_choose_the_files(verify: Callable[..., tuple[int, Any]]) -> None:
    code, report = verify(SAMPLES / "payload", "--exclude", "*.bin")
    assert (code, report["verdict"]["reasons"][0]) == (2, "there are no model weights among the files")
    code, report = verify(SAMPLES / "checkpoint", "--include", "*.bin", "--exclude", "*-00002-of*")
    assert [file["path"] for file in report["artifact"]["files"]] == ["pytorch_model-00001-of-00002.bin"]


# configuration


def test_a_configuration_in_a_target_is_a_finding_and_is_not_read(machine: Machine) -> None:
    weights(machine.here)
    (machine.here / "aiverify.toml").write_text('review_at = "critical"\nblock_at = "critical"\n')
    (machine.here / "pytorch_model.bin").write_bytes((SAMPLES / "payload" / "pytorch_model.bin").read_bytes())
    ran = machine.run("verify", ".", "--format", "json")
    assert ran.code == 1
    assert [source["name"] for source in ran.report["policy"]["sources"]] == ["default policy"]
    assert "AIV601" in {finding["rule"] for finding in ran.report["findings"]}
    assert "inside a target" in machine.fails("verify", ".", "--policy", "aiverify.toml")
    assert "inside a target" in machine.fails("verify", ".", AIVERIFY_POLICY="aiverify.toml")


def test_the_report_lists_every_source_of_the_policy_with_its_digest(machine: Machine) -> None:
    weights(machine.here / "model")
    (machine.here / "aiverify.toml").write_text("[trust]\nglobals = ['mylib.Settings']\n")
    ran = machine.run("verify", "model", "--format", "json", AIVERIFY_REQUIRE_SIGNATURE="1")
    assert ran.code == 1
    file, variable = ran.report["policy"]["sources"]
    assert (file["name"], len(file["digest"])) == (str(machine.here / "aiverify.toml"), 64)
    assert variable["name"] == "AIVERIFY_REQUIRE_SIGNATURE"


def test_an_unknown_global_is_reviewed_until_the_policy_trusts_it(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    checkpoint_of_unknown_class(tmp_path / "model" / "pytorch_model.bin")
    code, report = verify("model")
    assert (code, report["verdict"]["outcome"]) == (1, "review")
    (tmp_path / "aiverify.toml").write_text("[trust]\nglobals = ['mylib.Settings']\n")
    assert verify("model")[0] == 0
    (tmp_path / "other.toml").write_text("[trust]\nglobals = ['mylib.settings']\n")
    assert verify("model", "--policy", "other.toml")[0] == 1


def test_no_policy_makes_a_dangerous_name_trusted(verify: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    (tmp_path / "aiverify.toml").write_text("[trust]\nglobals = ['posix.system', 'os.system']\n")
    assert verify(SAMPLES / "payload")[0] == 1


def test_a_waiver_holds_for_one_content_only(verify: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    path = checkpoint_of_unknown_class(tmp_path / "model" / "pytorch_model.bin")
    _, report = verify("model")
    (file,) = report["artifact"]["files"]
    (tmp_path / "aiverify.toml").write_text(
        f'[[waivers]]\nrule = "AIV302"\nsha256 = "{file["sha256"]}"\nreason = "read it"\nexpires = 9999-12-31\n'
    )
    code, report = verify("model")
    assert (code, report["verdict"]["outcome"]) == (0, "pass")
    assert any("read it" in finding["message"] for finding in report["findings"])
    save_with_torch({"other": 1}, path.with_name("other.bin"))
    checkpoint_of_unknown_class(path)
    with path.open("r+b") as opened:
        content = path.read_bytes()
        opened.seek(content.index(b"rate"))
        opened.write(b"race")
    assert verify("model")[0] != 0


# a Hub


def test_a_repository_is_pinned_to_its_commit_however_it_is_named(online: Machine, hub: LocalHub) -> None:
    repository = hub.repository("demo/checkpoint")
    assert repository is not None
    reports = [
        online.run("verify", *arguments, "--format", "json")
        for arguments in (
            [f"demo/checkpoint@{repository.commit}"],
            ["hf://demo/checkpoint"],
            ["demo/checkpoint", "--revision", "v1"],
        )
    ]
    for ran in reports:
        assert ran.code == 0
        assert (ran.report["artifact"]["source"], ran.report["artifact"]["repo"]) == ("hub", "demo/checkpoint")
        assert ran.report["artifact"]["revision"] == repository.commit
        Draft202012Validator(SCHEMA).validate(ran.report)
    assert (online.home / ".cache/huggingface/hub").is_dir()
    assert online.fails("verify", "demo/checkpoint@v1", "--revision", "main")


def test_a_folder_of_that_name_wins_over_a_repository(online: Machine) -> None:
    weights(online.here / "demo" / "payload")
    assert online.run("verify", "demo/payload").code == 0
    assert online.run("verify", "hf://demo/payload").code == 1


def test_a_selection_of_a_repository_leaves_the_rest_on_the_hub(online: Machine) -> None:
    ran = online.run("verify", "demo/payload", "--include", "*.json", "--cache-dir", "cache", "--format", "json")
    assert ran.code == 2  # no weights: nothing to verify
    assert not list(online.here.rglob("*.bin"))
    assert all(file["path"].endswith(".json") for file in ran.report["artifact"]["files"])


def test_what_was_downloaded_once_can_be_verified_without_a_network(online: Machine) -> None:
    assert online.run("verify", "demo/checkpoint").code == 0
    for offline in ({"HF_HUB_OFFLINE": "1"}, {"AIVERIFY_OFFLINE": "1"}):
        assert online.run("verify", "demo/checkpoint", HF_ENDPOINT="http://127.0.0.1:9", **offline).code == 0
    assert online.run("verify", "demo/checkpoint", "--offline", HF_ENDPOINT="http://127.0.0.1:9").code == 0


def test_a_folder_that_was_downloaded_into_cannot_bring_a_configuration(tmp_path: Path) -> None:
    served = sample("payload", tmp_path / "served" / "demo")
    (served / "aiverify.toml").write_text('[trust]\nglobals = ["posix.system"]\nblock_at = "critical"\n')
    with LocalHub(served.parent.parent) as hub:
        machine = Machine(tmp_path, HF_ENDPOINT=hub.endpoint)
        for _ in range(2):
            ran = machine.run("verify", "demo/payload", "--local-dir", ".", "--format", "json")
            assert ran.code == 1
            assert [source["name"] for source in ran.report["policy"]["sources"]] == ["default policy"]
        assert (machine.here / "aiverify.toml").is_file()


def test_a_token_is_used_and_never_shown(tmp_path: Path) -> None:
    with LocalHub(SAMPLES.parent, private=["demo/checkpoint"], token="hf_secret") as hub:
        machine = Machine(tmp_path, HF_ENDPOINT=hub.endpoint)
        ran = machine.run("verify", "demo/checkpoint", "--token", "hf_secret", "-v", "--format", "json")
        assert ran.code == 0
        assert "hf_secret" not in ran.out + ran.err
        ran = machine.run("verify", "demo/signed", "--token", "hf_wrong", "-v", HF_TOKEN="hf_secret")
        assert "hf_" not in ran.out + ran.err


# output


def test_json_output_is_one_valid_report_and_nothing_else(machine: Machine) -> None:
    ran = machine.run("verify", SAMPLES / "payload", "--format", "json", "-v")
    Draft202012Validator(SCHEMA).validate(ran.report)
    assert "scan" in ran.err
    ran = machine.run("verify", SAMPLES / "payload", SAMPLES / "checkpoint", AIVERIFY_FORMAT="json")
    Draft202012Validator(SCHEMA).validate(ran.report)
    assert ran.report["outcome"] == "block"


def test_the_report_goes_into_a_file_whole(machine: Machine) -> None:
    weights(machine.here / "model")
    (machine.here / "report.json").write_text("old")
    ran = machine.run("verify", "model", "--format", "json", "-o", "report.json")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert json.loads((machine.here / "report.json").read_text())["verdict"]["outcome"] == "pass"
    assert sorted(path.name for path in machine.here.iterdir()) == ["model", "report.json"]


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "model", "-o", "model/config.json"),
        ("verify", "model/model.safetensors", "-o", "model/model.safetensors"),
        ("verify", "model", "-o", "link"),
        ("scan", "model", "-o", "model/model.safetensors"),
        ("convert", "model", "-o", "out", "--report", "model/config.json"),
        ("audit", "-o", "aiverify.lock"),
        ("audit", "-o", "model/config.json"),
    ],
    ids=" ".join,
)
def test_no_report_takes_the_place_of_what_is_examined(machine: Machine, command: tuple[str, ...]) -> None:
    weights(machine.here / "model")
    (machine.here / "model" / "config.json").write_text("{}")
    (machine.here / "link").symlink_to("model/model.safetensors")
    machine.run("lock", "model")
    before = files_below(machine.here)
    assert "would take the place of" in machine.fails(*command)
    assert files_below(machine.here) == before


@pytest.mark.parametrize("form", ["json", "sarif", "markdown", "html", "cyclonedx"])
def test_a_report_in_the_folder_that_is_examined_is_replaced_by_the_next(machine: Machine, form: str) -> None:
    weights(machine.here / "model")
    for _ in range(2):
        assert machine.run("scan", "model", "--format", form, "-o", f"model/results.{form}").code == 0


def test_quiet_is_one_line_for_each_target_and_verbose_tells_the_stages(machine: Machine) -> None:
    weights(machine.here / "model")
    quiet = machine.run("verify", "model", SAMPLES / "payload", "-q")
    assert [line.split()[0] for line in quiet.out.splitlines()] == ["PASS", "BLOCK"]
    assert (quiet.code, quiet.err) == (1, "")
    verbose = machine.run("verify", "model", "-v")
    stages = [line.split()[0] for line in verbose.err.splitlines() if not line.startswith(" ")]
    assert stages == ["fetch", "scan", "digest", "authenticate"]
    assert len(verbose.out) > len(quiet.out)


def test_without_a_terminal_nothing_is_coloured(machine: Machine) -> None:
    ran = machine.run("verify", SAMPLES / "payload", TERM="xterm-256color", FORCE_COLOR="1")
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize(("colour", "expected"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(machine: Machine, colour: dict[str, str], expected: bool) -> None:
    weights(machine.here / "model")
    reading, writing = os.openpty()
    ran = machine.run("verify", "model", "-q", stdout=writing, **{"TERM": "xterm", **colour})
    os.close(writing)
    out = os.read(reading, 10_000)
    os.close(reading)
    assert ran.code == 0
    assert (b"\x1b[" in out) is expected


@pytest.mark.parametrize(("name", "code"), [("payload", 1), ("checkpoint", 0)])
def test_a_reader_that_has_seen_enough_changes_nothing(machine: Machine, name: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = machine.run("verify", SAMPLES / name, stdout=writing)
    os.close(writing)
    assert (ran.code, ran.err) == (code, "")


# signatures


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that was signed keyless, and the trusted root."""
    folder = tmp_path_factory.mktemp("keyless")
    model = weights(folder / "model")
    with LocalSigstore() as sigstore:
        bundle = sign_keyless(payload_of(model), sigstore, IDENTITY, issuer=ISSUER)
        root = folder / "root.json"
        root.write_text(json.dumps(sigstore.trusted_root()))
    write_bundle(bundle, model / "model.sig")
    return model, root


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [("--cert-identity", "--cert-oidc-issuer"), ("--certificate-identity", "--certificate-oidc-issuer")],
)
def test_a_keyless_signature_by_the_expected_signer_is_verified(
    verify: Callable[..., tuple[int, Any]], signed: tuple[Path, Path], identity: str, issuer: str
) -> None:
    model, root = signed
    code, report = verify(model, "--trusted-root", root, identity, IDENTITY, issuer, ISSUER)
    assert code == 0
    (signature,) = report["signatures"]
    assert (signature["kind"], signature["outcome"]) == ("keyless", "verified")
    assert signature["covers"] == ["model.safetensors"]


@pytest.mark.parametrize(("identity", "issuer"), [("me@evil.test", ISSUER), (IDENTITY, "https://evil.test")])
def test_a_signature_by_somebody_else_blocks(
    verify: Callable[..., tuple[int, Any]], signed: tuple[Path, Path], identity: str, issuer: str
) -> None:
    model, root = signed
    code, report = verify(model, "--trusted-root", root, "--cert-identity", identity, "--cert-oidc-issuer", issuer)
    assert (code, report["verdict"]["outcome"]) == (1, "block")
    assert "AIV204" in {finding["rule"] for finding in report["findings"]}


def test_a_signature_with_a_key(machine: Machine) -> None:
    model = weights(machine.here / "model")
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    write_bundle(sign_with_key(payload_of(model), key), model / "model.sig")
    (machine.here / "key.pub").write_bytes(pem(key))
    (machine.here / "other.pub").write_bytes(pem(other))
    assert machine.run("verify", "model", "--key", "key.pub").code == 0
    assert machine.run("verify", "model", "--key", "other.pub").code == 1
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    ran = machine.run("verify", "model", "--key", "key.pub", "--format", "json")
    assert ran.code == 1
    assert "AIV205" in {finding["rule"] for finding in ran.report["findings"]}


@pytest.mark.parametrize(
    "demand",
    [
        ["--require-signature"],
        ["--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER],
        ["--key", TRUST / "publisher.pub"],
    ],
)
def test_a_signature_that_is_required_and_missing_blocks(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path, demand: list[str]
) -> None:
    code, report = verify(weights(tmp_path / "model"), *demand)
    assert (code, report["verdict"]["outcome"]) == (1, "block")
    assert "AIV202" in {finding["rule"] for finding in report["findings"]}


def test_a_policy_can_expect_a_signer_for_some_repositories(online: Machine) -> None:
    (online.here / "aiverify.toml").write_text(
        f'[[signers]]\nrepositories = ["demo/signed"]\nidentity = "{IDENTITY}"\nissuer = "{ISSUER}"\n'
        '[[signers]]\nrepositories = ["demo/check*"]\nidentity = "me@example.org"\nissuer = "https://example.org"\n'
    )
    assert online.run("verify", "demo/signed", "--trusted-root", TRUST / "trusted_root.json").code == 0
    assert online.run("verify", "demo/checkpoint").code == 1
    assert online.run("verify", SAMPLES / "checkpoint").code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--cert-identity", "me"],
        ["--cert-oidc-issuer", "https://issuer"],
        ["--certificate-identity", "me"],
        ["--cert-identity", "", "--cert-oidc-issuer", ""],
        ["--cert-identity", "me", "--cert-oidc-issuer", ""],
        ["--cert-identity", "", "--cert-oidc-issuer", "https://issuer"],
        ["--key", TRUST / "publisher.pub", "--cert-identity", "me", "--cert-oidc-issuer", "https://issuer"],
        ["--key", TRUST / "publisher.pub", "--cert-identity", ""],
        ["--key", TRUST / "nowhere.pub"],
        ["--key", SAMPLES / "signed" / "config.json"],
        ["--trusted-root", TRUST / "nowhere.json"],
        ["--bundle", TRUST / "nowhere.sig"],
        ["--bundle", SAMPLES / "signed" / "config.json"],
    ],
    ids=lambda options: " ".join(Path(option).name for option in options),
)
def test_options_about_signers_that_make_no_sense_are_errors(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path, options: list[str]
) -> None:
    code, report = verify(weights(tmp_path / "model"), *options)
    assert (code, report["verdict"]["outcome"], report["artifact"]["files"]) == (2, "error", [])


# conversion


def test_a_twin_holds_the_tensors_that_torch_loads_bit_for_bit(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    checkpoint_of_unknown_class(tmp_path / "model" / "pytorch_model.bin")
    code, report = verify("model", "--convert-to", "converted")
    assert (code, report["verdict"]["variant"]) == (0, "pytorch → twin")
    assert outcomes(report) == {"pytorch": "review", "pytorch → twin": "pass"}
    (conversion,) = report["conversions"]
    assert conversion["dropped"]
    twin = load_file(tmp_path / "converted" / conversion["output"])
    assert set(twin) == {"weight"}
    expected = torch.arange(12.0).reshape(3, 4)
    assert twin["weight"].dtype == expected.dtype
    assert twin["weight"].numpy().tobytes() == expected.numpy().tobytes()
    assert set(files_below(tmp_path / "converted")) == {conversion["output"], conversion["receipt"]}


def test_a_converted_model_gives_the_same_logits_as_the_original(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    code, report = verify(SAMPLES / "checkpoint", "--convert-to", tmp_path / "converted")
    assert (code, report["verdict"]["variant"]) == (0, "pytorch → twin")
    for name in ("config.json", "generation_config.json"):
        (tmp_path / "converted" / name).write_bytes((SAMPLES / "checkpoint" / name).read_bytes())
    inputs = torch.arange(24).reshape(2, 12)
    logits = []
    for folder in (SAMPLES / "checkpoint", tmp_path / "converted"):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        with torch.no_grad():
            logits.append(model(inputs).logits)
    assert torch.equal(*logits)
    stored = {}
    for shard in sorted((SAMPLES / "checkpoint").glob("*.bin")):
        stored |= torch.load(shard, weights_only=True)
    from safetensors.torch import load_file

    twin = {}
    for shard in (tmp_path / "converted").glob("*.safetensors"):
        twin |= load_file(shard)
    assert set(twin) <= set(stored)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in twin.items())
    assert len(list((tmp_path / "converted").glob("*.index.json"))) == 1


def test_nothing_is_overwritten_and_what_is_already_right_is_kept(machine: Machine) -> None:
    sample("checkpoint", machine.here)
    twins = machine.here / "converted"
    assert machine.run("verify", "checkpoint", "--convert-to", "converted").code == 0
    before = files_below(twins)
    assert machine.run("verify", "checkpoint", "--convert-to", "converted").code == 0
    assert files_below(twins) == before
    last = max(name for name in before if name.endswith(".safetensors"))
    for name in before:
        if name != last:
            (twins / name).unlink()
    (twins / last).write_bytes(before[last][:-1] + b"?")
    assert "exists already" in machine.fails("verify", "checkpoint", "--convert-to", "converted")
    assert files_below(twins) == {last: before[last][:-1] + b"?"}


@pytest.mark.parametrize("output", [".", "converted", "../checkpoint/converted"])
def test_twins_are_not_written_into_the_target(machine: Machine, output: str) -> None:
    sample("checkpoint", machine.here)
    before = files_below(machine.here)
    machine.here = machine.here / "checkpoint"
    assert "lies inside the artifact" in machine.fails("verify", ".", "--convert-to", output)
    assert files_below(machine.here.parent) == before


def test_a_checkpoint_that_cannot_be_converted_is_an_error_that_says_why(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    save_with_torch({"epoch": 3}, tmp_path / "model" / "pytorch_model.bin")
    assert verify("model")[0] == 0
    code, report = verify("model", "--convert-to", "converted")
    assert (code, report["verdict"]["outcome"]) == (2, "error")
    (finding,) = (item for item in report["findings"] if item["rule"] == "AIV410")
    assert any(finding["message"] in reason for reason in report["verdict"]["reasons"])
    assert not (tmp_path / "converted").exists()


def test_the_twin_of_a_live_payload_is_written_only_by_the_policys_word(
    verify: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    assert verify(SAMPLES / "payload", "--convert-to", "converted")[0] == 1
    assert not (tmp_path / "converted").exists()
    (tmp_path / "aiverify.toml").write_text("twin_of_blocked = true\n")
    code, report = verify(SAMPLES / "payload", "--convert-to", "converted")
    assert code == 0
    assert outcomes(report) == {"pytorch": "block", "pytorch → twin": "pass"}
    assert b"system" not in (tmp_path / "converted" / "model.safetensors").read_bytes()


def test_a_module_run_is_the_same_as_the_command() -> None:
    run = subprocess.run([sys.executable, "-m", "aiverify", "--version"], capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"aiverify \d+\.\d+\.\d+\S*\n", run.stdout)


def test_the_variables_of_sigstore_name_the_signer(machine: Machine) -> None:
    sample("signed", machine.here)
    root = ("--trusted-root", TRUST / "trusted_root.json")
    expected = {"SIGSTORE_CERT_IDENTITY": IDENTITY, "SIGSTORE_CERT_OIDC_ISSUER": ISSUER}
    ran = machine.run("verify", "signed", *root, "--format", "json", **expected)
    assert (ran.code, ran.report["signatures"][0]["outcome"]) == (0, "verified")
    ran = machine.run("verify", "signed", *root, **{**expected, "SIGSTORE_CERT_IDENTITY": "somebody@example.test"})
    assert ran.code == 1
    assert "AIV204" in ran.out
    assert "needed together" in machine.fails("verify", "signed", SIGSTORE_CERT_IDENTITY=IDENTITY)


def test_the_environment_does_not_replace_the_signers_of_a_policy(machine: Machine) -> None:
    sample("signed", machine.here)
    (machine.here / "rules.toml").write_text(f"[[signers]]\nidentity = {IDENTITY!r}\nissuer = {ISSUER!r}\n")
    other = {"SIGSTORE_CERT_IDENTITY": "somebody@example.test", "SIGSTORE_CERT_OIDC_ISSUER": ISSUER}
    options = ("--trusted-root", TRUST / "trusted_root.json", "--policy", "rules.toml")
    assert machine.run("verify", "signed", *options, **other).code == 0
    named = ("--cert-identity", "somebody@example.test", "--cert-oidc-issuer", ISSUER)
    assert machine.run("verify", "signed", *options, *named).code == 1
    converted = machine.run("convert", "signed", "-o", "out", *options, "--format", "json", **other)
    assert converted.report["signatures"][0]["outcome"] == "verified"
