"""``aiverify scan``: the static part, on local files, with no network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pickle_builder as b
import pytest
from end_to_end import SAMPLES, Machine, Ran, outcomes, weights

from aiverify.progress import Silent
from aiverify.sources.interface import Selection, SourceError
from aiverify.sources.stream import StreamSource

RUN = b.stream(b.call("os.system", b.text("true")))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "code", "outcome"), [("signed", 0, "pass"), ("checkpoint", 0, "pass"), ("payload", 1, "block")]
)
def test_a_folder_is_scanned(machine: Machine, name: str, code: int, outcome: str) -> None:
    ran = machine.run("scan", SAMPLES / name, "--format", "json")
    assert (ran.code, ran.report["verdict"]["outcome"]) == (code, outcome)
    assert ran.report["signatures"] == []
    assert ran.report["conversions"] == []


def test_a_file_is_scanned_wherever_the_path_begins(machine: Machine) -> None:
    weights(machine.here)
    for spelling in ("model.safetensors", "./model.safetensors", machine.here / "model.safetensors"):
        assert machine.run("scan", spelling, "-q").out.startswith("PASS")


def test_a_path_that_looks_like_a_repository_is_a_path(machine: Machine) -> None:
    weights(machine.here / "org" / "name")
    ran = machine.run("scan", "org/name", "--format", "json")
    assert (ran.code, ran.report["artifact"]["source"]) == (0, "folder")
    weights(machine.here / "hf:" / "org" / "name")
    assert machine.run("scan", "hf://org/name").code == 0


def test_files_are_named_as_seen_from_where_the_scan_ran(machine: Machine) -> None:
    weights(machine.here / "models" / "tiny")
    machine.run("scan", "models/tiny", "--format", "sarif", "--output", "found.sarif")
    run = json.loads((machine.here / "found.sarif").read_text())["runs"][0]
    assert {file["location"]["uri"] for file in run["artifacts"]} == {"models/tiny/model.safetensors"}
    assert machine.run("scan", "models/tiny", "-q").out.startswith("PASS    models/tiny (safetensors)")


def test_a_repository_is_not_downloaded_by_a_scan(machine: Machine) -> None:
    assert "no such file or folder" in machine.fails("scan", "demo/signed")


def test_several_paths_are_scanned_and_the_worst_decides(machine: Machine) -> None:
    weights(machine.here / "a")
    ran = machine.run("scan", "nowhere", "a", "--format", "json")
    assert ran.code == 2
    failed, scanned = ran.report["reports"]
    assert (failed["verdict"]["outcome"], outcomes(scanned)) == ("error", {"safetensors": "pass"})
    assert machine.run("scan", "nowhere", "a", SAMPLES / "payload").code == 1


def test_include_and_exclude_choose_the_files(machine: Machine) -> None:
    ran = machine.run("scan", SAMPLES / "payload", "--include", "*.bin", "--format", "json")
    assert [file["path"] for file in ran.report["artifact"]["files"]] == ["pytorch_model.bin"]
    assert "left" in machine.fails("scan", SAMPLES / "payload", "--include", "*.onnx")


def test_a_policy_inside_the_path_is_refused(machine: Machine) -> None:
    (weights(machine.here / "a") / "rules.toml").write_text("")
    assert "inside a target" in machine.fails("scan", "a", "--policy", "a/rules.toml")


# stdin


def piped(machine: Machine, content: bytes, *options: str | Path) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "aiverify", "scan", "-", *map(str, options)],
        cwd=machine.here,
        env=machine.environ(),
        input=content,
        capture_output=True,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    ("content", "code", "outcome"),
    [(b.stream(b"N"), 0, "pass"), (RUN, 1, "block"), (b"\x80\x04(", 2, "error"), (b"\x00\x01\x02", 2, "error")],
    ids=["clean", "payload", "broken", "unknown"],
)
def test_stdin_is_scanned(machine: Machine, content: bytes, code: int, outcome: str) -> None:
    ran = piped(machine, content, "--format", "json")
    assert (ran.code, ran.report["verdict"]["outcome"]) == (code, outcome)
    (file,) = ran.report["artifact"]["files"]
    assert (ran.report["target"], file["path"], file["size"]) == ("-", "<stdin>", len(content))


def test_stdin_may_hold_whatever_a_file_may(machine: Machine) -> None:
    model = (SAMPLES / "payload" / "pytorch_model.bin").read_bytes()
    found = {item["rule"] for item in piped(machine, model, "--format", "json").report["findings"]}
    file = machine.run("scan", SAMPLES / "payload" / "pytorch_model.bin", "--format", "json")
    assert found == {item["rule"] for item in file.report["findings"]}
    assert "AIV301" in found


def test_stdin_stands_beside_files_and_is_read_once(machine: Machine) -> None:
    weights(machine.here / "a")
    ran = piped(machine, RUN, "a", "--format", "json")
    assert ran.code == 1
    assert [report["verdict"]["outcome"] for report in ran.report["reports"]] == ["block", "pass"]
    assert "only once" in machine.fails("scan", "-", "a", "-")


def test_a_file_named_like_stdin_can_be_scanned(machine: Machine) -> None:
    (machine.here / "-").write_bytes(RUN)
    assert machine.run("scan", "./-").code == 1


def test_nothing_on_stdin_is_no_verdict_to_load(machine: Machine) -> None:
    assert machine.run("scan", "-").code != 1


def test_a_closed_stdin_is_an_error(machine: Machine) -> None:
    assert "when it is closed" in machine.fails("scan", "-", preexec=lambda: os.close(0))


def test_stdin_leaves_no_file_behind(machine: Machine) -> None:
    temporary = machine.here / "tmp"
    temporary.mkdir()
    machine.environment["TMPDIR"] = str(temporary)
    assert piped(machine, RUN).code == 1
    assert list(temporary.iterdir()) == []


def test_memory_does_not_grow_with_stdin(machine: Machine) -> None:
    code = "import os, resource, sys; os.execv(sys.executable, [sys.executable, '-m', 'aiverify', 'scan', '-', '-q'])"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, (150 << 20, 150 << 20)); {code}"
    array = b"\x80\x04B" + (300 << 20).to_bytes(4, "little")
    with subprocess.Popen(
        [sys.executable, "-c", limit],
        cwd=machine.here,
        env=machine.environ(measured=False),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        child.stdin.write(array)
        for _ in range(300):
            child.stdin.write(bytes(1 << 20))
        child.stdin.write(b".")
        out, _ = child.communicate(timeout=60)
    assert (child.returncode, out[:4]) == (0, b"PASS")


class Endless(io.RawIOBase):
    """A stream without end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return len(buffer)


def test_a_stream_beyond_the_budget_is_an_error() -> None:
    source = StreamSource(io.BufferedReader(Endless()), largest=5_000_000)
    with pytest.raises(SourceError, match="more than 5000000 bytes"):
        source.fetch(Selection(), Silent())


def test_a_stream_that_breaks_is_an_error() -> None:
    stream = io.BytesIO(b"x")
    stream.close()
    with pytest.raises(SourceError, match="cannot be read into a temporary file"):
        StreamSource(stream).fetch(Selection(), Silent())


# where something is


def test_a_finding_names_the_member_and_the_byte(machine: Machine) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model/data.pkl", b.stream(b"N") + RUN)
        file.writestr("model/version", "3")
    (machine.here / "model.pt").write_bytes(archive.getvalue())
    ran = machine.run("scan", "model.pt", "--format", "json")
    (item,) = [item for item in ran.report["findings"] if item["rule"] == "AIV301"]
    clean = len(b.stream(b"N"))
    assert item["location"]["member"] == "model/data.pkl"
    assert clean <= item["location"]["offset"] < clean + len(RUN)


# digests


@pytest.mark.parametrize(("options", "taken"), [([], False), (["-v"], False), (["--format", "json"], True)])
def test_only_a_report_that_shows_digests_takes_them(machine: Machine, options: list[str], taken: bool) -> None:
    weights(machine.here / "a")
    ran = machine.run("scan", "a", *options, "-v")
    assert ("digest (" in ran.err) is taken


def test_a_waiver_is_for_a_digest_so_one_is_taken(machine: Machine) -> None:
    (machine.here / "a").mkdir()
    content = b.stream(b.call("mylib.Thing"))
    (machine.here / "a" / "model.pkl").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (machine.here / "aiverify.toml").write_text(
        f'[[waivers]]\nrule = "AIV302"\nsha256 = "{digest}"\nreason = "read it"\nexpires = 2999-01-01\n'
    )
    assert machine.run("scan", "a").code == 0
    (machine.here / "aiverify.toml").unlink()
    assert machine.run("scan", "a").code == 1
