"""Whatever goes wrong: one clear message on stderr, exit code 2, no traceback, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from end_to_end import SAMPLES, Machine, files_below, sample, save_with_torch, weights
from lying_hub import LyingHub
from typer.testing import CliRunner

from aiverify import api
from aiverify.cli.app import app
from aiverify.demo.hub import LocalHub


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub(SAMPLES.parent, gated=["demo/checkpoint"], private=["demo/tampered"]) as hub:
        yield hub


@pytest.fixture
def online(tmp_path: Path, hub: LocalHub) -> Machine:
    return Machine(tmp_path, HF_ENDPOINT=hub.endpoint)


@pytest.fixture
def dead_end() -> Iterator[str]:
    """An address where nobody listens, and nobody can begin to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


# the Hub


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo/nowhere"], "demo/nowhere@main: no such repository, or a private one"),
        (["demo/tampered"], "demo/tampered@main: no such repository, or a private one"),
        (["demo/checkpoint"], "demo/checkpoint@main: the repository is gated"),
        (["demo/signed@v9"], "demo/signed@v9: no such revision"),
        (["demo/signed", "--revision", "0" * 40], f"demo/signed@{'0' * 40}: no such revision"),
        (["demo/signed", "--offline"], "demo/signed@main is not in the Hub cache"),
        (["demo/payload", "--include", "*.onnx"], "no files are left of demo/payload@"),
        (["demo/signed@"], "'demo/signed@' ends where a revision is expected"),
        (["demo/signed@main", "--revision", "v1"], "'demo/signed@main' and --revision v1 name different revisions"),
        (["demo/signed@../../x"], "'../../x' is no revision"),
        (["hf://demo/signed/model.safetensors"], "'demo/signed/model.safetensors' is no repository name"),
        (["hf://"], "'' is no repository name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_hub_does_not_give(online: Machine, arguments: list[str], says: str) -> None:
    assert online.fails("verify", *arguments).startswith(says)
    assert not list(online.home.rglob("*.safetensors"))


def test_a_hub_that_is_not_there(machine: Machine, dead_end: str) -> None:
    message = machine.fails("verify", "demo/signed", HF_ENDPOINT=dead_end)
    assert message.startswith(f"demo/signed@main: {dead_end} refuses the connection")
    assert "--offline" in message


def test_the_offline_variables_of_the_hub_forbid_every_request(machine: Machine, dead_end: str) -> None:
    for name in ("HF_HUB_OFFLINE", "AIVERIFY_OFFLINE"):
        message = machine.fails("verify", "demo/signed", HF_ENDPOINT=dead_end, **{name: "1"})
        assert message.startswith("demo/signed@main is not in the Hub cache")


def test_a_hub_whose_bytes_are_not_what_it_states_is_refused(machine: Machine) -> None:
    with LyingHub(SAMPLES.parent, about="model.safetensors", body="flip") as hub:
        ran = machine.run("verify", "demo/signed", "--format", "json", HF_ENDPOINT=hub.endpoint)
    assert (ran.code, ran.report["verdict"]["outcome"]) == (1, "block")
    assert "AIV101" in {finding["rule"] for finding in ran.report["findings"]}


# local targets


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere", "'nowhere' is neither a file or folder here nor a repository"),
        ("./nowhere", "'./nowhere' cannot be read: No such file or directory"),
        ("", "'' is neither"),
        ("a b", "'a b' is neither"),
        ("a/b/c", "'a/b/c' is neither"),
        ("\x1b[2J", "'\\x1b[2J' is neither"),
        ("https://huggingface.co/demo/signed", "'https://huggingface.co/demo/signed' is neither"),
        ("x" * 5000, "'xxxx"),
        ("/proc/self/mem", "mem: cannot be read: "),
        ("empty", "no files in empty"),
        ("dangling", "the link 'dangling' leads nowhere"),
        ("loop", "'loop' cannot be read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_target(machine: Machine, target: str, says: str) -> None:
    (machine.here / "empty").mkdir()
    (machine.here / "dangling").symlink_to("nowhere")
    (machine.here / "loop").symlink_to("loop")
    message = machine.fails("verify", target)
    if target != "loop":
        assert message.startswith(says)
    assert "\x1b" not in message


@pytest.mark.parametrize("command", ["verify", "scan"])
@pytest.mark.parametrize("files", [{"config.json": b"{}"}, {"README.md": b"# Nothing"}, {"notes.bin": b""}])
def test_a_folder_without_a_model_is_an_error_with_a_report(
    machine: Machine, command: str, files: dict[str, bytes]
) -> None:
    for name, content in files.items():
        (machine.here / name).write_bytes(content)
    ran = machine.run(command, ".", "--format", "json")
    assert (ran.code, ran.report["verdict"]["outcome"]) == (2, "error")


@pytest.mark.parametrize("content", [b"not a model at all", b"\x00\x01\x02\x03" * 64, b"MZ", b"\x7fELF" + bytes(60)])
def test_what_is_no_model_never_passes(machine: Machine, content: bytes) -> None:
    (machine.here / "model.bin").write_bytes(content)
    assert machine.run("verify", "model.bin").code in (1, 2)


@pytest.mark.parametrize("content", [b'{"a": ', b"", b"\xff\xfe", b'{"a": NaN', b"[" * 100_000])
def test_a_broken_configuration_of_the_model_is_no_pass(machine: Machine, content: bytes) -> None:
    (weights(machine.here) / "config.json").write_bytes(content)
    assert machine.run("verify", ".").code != 0


def test_a_broken_bundle_is_no_pass(machine: Machine) -> None:
    model = weights(machine.here / "model")
    for content in (b"", b"\x80\x04."):
        (model / "model.sig").write_bytes(content)
        assert machine.run("verify", "model").code == 1
        (machine.here / "named.sig").write_bytes(content)
        machine.fails("verify", "model", "--bundle", "named.sig")


def test_a_file_that_may_not_be_read_is_an_error_and_can_be_left_out(machine: Machine) -> None:
    model = weights(machine.here / "model")
    (model / "notes.txt").write_text("secret")
    (model / "notes.txt").chmod(0)
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("the superuser reads everything, and there is no setpriv to give that up")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    message = machine.fails("verify", "model", prefix=prefix)
    assert f"{Path('model', 'notes.txt')} cannot be read: permission denied" in message
    assert machine.run("verify", "model", "--exclude", "notes.txt", prefix=prefix).code == 0
    model.chmod(0)
    machine.fails("verify", "model", prefix=prefix)
    model.chmod(0o700)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_would_block_for_ever_is_an_error(machine: Machine, kind: str) -> None:
    model = weights(machine.here / "model")
    if kind == "pipe":
        os.mkfifo(model / "extra.bin")
    else:
        place = socket.socket(socket.AF_UNIX)
        os.chdir(model)
        place.bind("extra.bin")
    assert "not a file" in machine.fails("verify", "model")
    assert "not a file" in machine.fails("verify", "model/extra.bin")


# options


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "model", "--no-such-option"],
        ["verify", "model", "--format", "pdf"],
        ["verify", "model", "--revision"],
        ["verify", "model", "--revision", "main"],
        ["scan"],
        ["scan", "model", "--revision", "main"],
        ["scan", "nowhere"],
        ["scan", "demo/signed"],
        ["demo", "model"],
        ["explain", "AIV999"],
        ["explain", "AIV301", "AIV302"],
        ["nonsense"],
        ["--no-such-option"],
        ["verify", "model", "--policy", "nowhere.toml"],
    ],
    ids=" ".join,
)
def test_a_command_that_makes_no_sense(machine: Machine, arguments: list[str]) -> None:
    weights(machine.here / "model")
    ran = machine.run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        *(["convert", "--check"], ["verify", "model", "--bundle"], ["verify", "model", "--accept-attestation"]),
        *(["verify", "model", "--trusted-root"], ["verify", "model", "--key"], ["report"], ["audit"]),
        *(["policy", "check"], ["hook", "status", "--python"]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["folder", "nowhere"])
def test_what_cannot_be_read_is_named_once_and_in_words(machine: Machine, arguments: list[str], place: str) -> None:
    weights(machine.here / "model")
    (machine.here / "folder").mkdir()
    message = machine.fails(*arguments, place).splitlines()[0]
    assert message.count(place) == 1
    assert "Errno" not in message
    assert any(words in message for words in ("directory", "regular file", "Permission denied"))


# output that cannot be written


@pytest.mark.parametrize("output", ["nowhere/report.json", "model", "/proc/report.json", "/dev/full"])
def test_a_report_that_cannot_be_written_is_an_error(machine: Machine, output: str) -> None:
    weights(machine.here / "model")
    before = files_below(machine.here)
    assert machine.fails("verify", "model", "-o", output).startswith(f"{output}: cannot be written: ")
    assert files_below(machine.here) == before


@pytest.mark.parametrize(
    "arguments",
    [
        *(["verify", "model", "-o"], ["scan", "model", "-o"], ["lock", "model", "-o"], ["policy", "init", "-o"]),
        *(["sign", "--key", "key.pem"], ["sign", "model", "--key", "key.pem", "--bundle"], ["store", "ls", "--store"]),
        *(["verify"], ["convert", "--check"], ["report"], ["audit"], ["policy", "check"]),
        ["attest", "report.json", "--key", "key.pem", "--bundle"],
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have_is_an_error_and_no_defect(machine: Machine, arguments: list[str]) -> None:
    weights(machine.here / "model")
    key = ec.generate_private_key(ec.SECP256R1())
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (machine.here / "key.pem").write_bytes(written)
    assert machine.run("verify", "model", "--format", "json", "-o", "report.json").code == 0
    ran = machine.run(*arguments, "x" * 300)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "itself failed" not in ran.err


@pytest.mark.parametrize("arguments", [["verify", "model"], ["explain"], ["explain", "AIV301"], ["--help"]])
def test_a_full_disk_behind_stdout_is_an_error(machine: Machine, arguments: list[str]) -> None:
    weights(machine.here / "model")
    with Path("/dev/full").open("w") as full:
        ran = machine.run(*arguments, stdout=full.fileno())
    assert ran.code == 2
    assert "No space left on device" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_the_caller_closed_does_not_change_the_verdict(machine: Machine, stream: int) -> None:
    weights(machine.here / "model")
    assert machine.run("verify", "model", preexec=lambda: os.close(stream)).code == 0
    assert machine.run("verify", SAMPLES / "payload", preexec=lambda: os.close(stream)).code == 1


def limited(size: int) -> Callable[[], None]:
    """No file may grow beyond ``size`` bytes: what a full disk looks like from inside."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_fills_up_during_the_download_is_an_error(online: Machine) -> None:
    message = online.fails("verify", "demo/payload", preexec=limited(30_000), measured=False)
    assert message.startswith("demo/payload@main: ")
    assert not [path for path in online.home.rglob("pytorch_model.bin") if path.stat().st_size > 0]
    assert online.run("verify", "demo/payload").code == 1  # and the next run is not confused by what is left


def test_a_disk_that_fills_up_during_the_conversion_leaves_nothing(machine: Machine) -> None:
    model = sample("checkpoint", machine.here)
    before = files_below(machine.here)
    message = machine.fails("verify", model, "--convert-to", "converted", preexec=limited(30_000), measured=False)
    assert "File too large" in message
    assert files_below(machine.here) == before
    assert not (machine.here / "converted").exists()


# interrupts


class StallingHub(LyingHub):
    """Tells when the client waits for it."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.stalled = threading.Event()

    def _wait(self, kind: str) -> None:
        if kind in self._hang:
            self.stalled.set()
        super()._wait(kind)


def interrupted(code: int, out: str, err: str) -> None:
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    assert "interrupted: no verdict" in err


@pytest.mark.parametrize("stage", ["info", "tree", "HEAD", "GET"])
def test_an_interrupt_while_the_hub_does_not_answer(machine: Machine, stage: str) -> None:
    with StallingHub(SAMPLES.parent, hang=[stage]) as hub:

        def stalled(line: str) -> bool:
            return hub.stalled.wait(30)

        ran = machine.interrupt("verify", "demo/signed", when=stalled, patience=60, HF_ENDPOINT=hub.endpoint)
    assert "timed out" not in ran.err
    interrupted(ran.code, ran.out, ran.err)
    assert not list(machine.home.rglob("snapshots/*/model.safetensors"))


def test_an_interrupt_while_digests_are_taken(machine: Machine) -> None:
    with (machine.here / "model.safetensors").open("wb") as file:
        file.truncate(1 << 36)
    ran = machine.interrupt("verify", "model.safetensors", when=lambda line: line.startswith("digest"))
    interrupted(ran.code, ran.out, ran.err)


def test_an_interrupt_while_a_pickle_is_scanned(machine: Machine) -> None:
    (machine.here / "model.pkl").write_bytes(b"\x80\x02](" + b"I1\n" * 4_000_000 + b"e.")
    ran = machine.interrupt("scan", "model.pkl", when=lambda line: line.startswith("  model.pkl"))
    interrupted(ran.code, ran.out, ran.err)


def test_an_interrupt_while_a_twin_is_written(machine: Machine) -> None:
    torch = pytest.importorskip("torch")
    save_with_torch({"weight": torch.zeros(60_000_000)}, machine.here / "model" / "pytorch_model.bin")
    ran = machine.interrupt(
        "verify", "model", "--convert-to", "converted", when=lambda line: line.startswith("convert")
    )
    interrupted(ran.code, ran.out, ran.err)
    assert list(files_below(machine.here)) == ["model/pytorch_model.bin"]


# crashes


@pytest.mark.parametrize("debug", [False, True])
def test_a_crash_of_ours_is_an_error_and_never_a_verdict(monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    def crash(*arguments: object, **options: object) -> None:
        raise RuntimeError("a name of an artifact: \x1b[2J")

    monkeypatch.setattr(api, "scan", crash)
    monkeypatch.setenv("AIVERIFY_DEBUG", "1" if debug else "")
    ran = CliRunner().invoke(app, ["scan", str(SAMPLES / "signed")])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "aiverify itself failed: RuntimeError: a name of an artifact: \\x1b[2J\nThis is a bug." in ran.stderr
    assert ("Traceback" in ran.stderr) is debug
