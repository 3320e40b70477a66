"""``aiverify demo``: the whole main job for somebody who has nothing but the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import PATIENCE, SAMPLES, TRUST, Machine, files_below

from aiverify.demo.stories import IDENTITY, ISSUER, local_hub, stories
from aiverify.report import Outcome

WITNESS = """
import sys

def witness(event, arguments):
    if event == "socket.connect" and arguments[1][0] != "127.0.0.1":
        report(f"connect {arguments[1]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and arguments[0] not in ("127.0.0.1", "localhost"):
        report(f"{event} {arguments}")
    elif event == "socket.sendto":
        report(f"{event} {arguments}")

def report(what):
    with open(PLACE, "a") as file:
        file.write(what + chr(10))

open(PLACE, "a").close()
sys.addaudithook(witness)
"""
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:  # ip link set lo up
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
os.execv(sys.executable, [sys.executable, "-m", "aiverify", "demo"])
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def verdicts(out: str) -> dict[str, list[str]]:
    table = out.partition("── The four verdicts")[2].partition("Next,")[0]
    return {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}


EXPECTED = {
    "demo/signed": ["pass", "safetensors"],
    "demo/checkpoint": ["pass", "pytorch", "→", "twin"],
    "demo/payload": ["block", "pytorch"],
    "demo/tampered": ["block", "none"],
}


def test_the_four_stories_come_out_as_they_should_and_leave_nothing(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    ran = machine.run("demo", TMPDIR=str(tmp_path / "tmp"))
    assert (ran.code, ran.err) == (0, "")
    assert verdicts(ran.out) == EXPECTED
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(machine.here.iterdir())
    assert not files_below(machine.home)


@pytest.mark.parametrize(
    "environment",
    [
        {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_TOKEN": "hf_nonsense",
            "SSL_CERT_FILE": "/nowhere",
            "AIVERIFY_REQUIRE_SIGNATURE": "1",
            "AIVERIFY_POLICY": "nowhere.toml",
            "AIVERIFY_OFFLINE": "1",
        },
        dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
        {"ALL_PROXY": "socks5://127.0.0.1:9", "PYTHONIOENCODING": "ascii", "HOME": "/nonexistent", "NO_COLOR": "1"},
    ],
    ids=["another Hub", "a proxy", "an odd shell"],
)
def test_the_environment_does_not_change_the_demo(machine: Machine, environment: dict[str, str]) -> None:
    ran = machine.run("demo", **environment)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("demo/signed") >= 2


def test_the_demo_speaks_to_nobody_but_this_machine(machine: Machine, tmp_path: Path) -> None:
    record = tmp_path / "record"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITNESS.replace("PLACE", repr(str(record))))
    path = f"{tmp_path / 'site'}:{machine.environ()['PYTHONPATH']}"
    assert machine.run("demo", PYTHONPATH=path, measured=False).code == 0
    assert record.read_text() == ""


def test_the_demo_runs_where_there_is_no_network_at_all(machine: Machine) -> None:
    unshare = shutil.which("unshare")
    alone = [str(unshare), "--net", "--map-root-user"]
    if unshare is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a process give up its network")
    run = subprocess.run(
        [*alone, sys.executable, "-c", ALONE],
        cwd=machine.here,
        env=machine.environ(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert verdicts(run.stdout) == EXPECTED


def test_a_reader_that_has_seen_enough_does_not_disturb_the_demo(machine: Machine) -> None:
    command = f"{sys.executable} -m aiverify demo | head -1; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(
        ["bash", "-c", command], cwd=machine.here, env=machine.environ(), capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("── 1. demo/signed")


@pytest.mark.parametrize(
    ("repo", "options", "code"),
    [
        (
            "demo/signed",
            ["--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--trusted-root", TRUST / "trusted_root.json"],
            0,
        ),
        ("demo/checkpoint", ["--convert-to", "converted"], 0),
        ("demo/payload", [], 1),
        ("demo/tampered", ["--key", TRUST / "publisher.pub"], 1),
    ],
)
def test_each_story_can_be_told_with_verify(machine: Machine, repo: str, options: list[str | Path], code: int) -> None:
    with local_hub() as (hub, _):
        ran = machine.run("verify", repo, *options, "--format", "json", HF_ENDPOINT=hub.endpoint)
    assert ran.code == code
    verdict = ran.report["verdict"]
    assert [verdict["outcome"], *(verdict["variant"] or "none").split()] == EXPECTED[repo]


def test_the_stories_are_about_the_repositories_that_are_there(tmp_path: Path) -> None:
    with local_hub() as (hub, trust):
        told = stories(hub, trust, tmp_path)
        assert {story.repo for story in told} == {f"demo/{path.name}" for path in SAMPLES.iterdir()}
        assert {story.expected for story in told} == {Outcome.PASS, Outcome.BLOCK}
