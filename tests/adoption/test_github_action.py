"""The action: its shell steps run as written, and it hands nothing of a stranger to a shell."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from end_to_end import sample, weights
from github_runner import EXPRESSION, Runner
from pickle_builder import call, stream, text

HARMFUL = stream(call("posix.system", text("echo this would have run")))
SCRIPTS = Path(sysconfig.get_path("scripts"))
PINNED = re.compile(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}")


@pytest.fixture
def action(root: Path) -> Path:
    return root / ".github" / "actions" / "aiverify"


@pytest.fixture
def runner(action: Path, root: Path, tmp_path: Path) -> Runner:
    """A job whose step of installation is done: this checkout, and what it needs from this environment."""
    runner = Runner(action, tmp_path)
    venv = runner.temp / "aiverify-venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text(f"{root}\n{sysconfig.get_path('purelib')}\n")
    return runner


def verified(runner: Runner, **inputs: str) -> dict[str, str]:
    """The outputs of the step that verifies, which never fails itself: the last step does, with its exit code."""
    assert runner.step("Verify", inputs) == 0, runner.log
    outputs = runner.outputs["verify"]
    assert runner.step("Verdict", inputs) == int(outputs["exit-code"])
    return outputs


def test_a_pass_is_a_pass(runner: Runner) -> None:
    weights(runner.workspace / "model")

    outputs = verified(runner, targets="model")

    assert (outputs["outcome"], outputs["exit-code"]) == ("pass", "0")
    assert json.loads(Path(outputs["sarif"]).read_text("utf-8"))["version"] == "2.1.0"
    assert runner.summary.read_text("utf-8") == Path(outputs["markdown"]).read_text("utf-8")


def test_a_blocked_model_fails_the_job_and_is_reported_in_every_form(runner: Runner) -> None:
    sample("payload", runner.workspace)

    outputs = verified(runner, targets="payload")

    assert (outputs["outcome"], outputs["exit-code"]) == ("block", "1")
    (run,) = json.loads(Path(outputs["sarif"]).read_text("utf-8"))["runs"]
    assert "AIV301" in {result["ruleId"] for result in run["results"]}
    assert "AIV301" in runner.summary.read_text("utf-8")
    assert "AIV301" in runner.log


def test_several_targets_are_one_a_line_and_the_gravest_decides(runner: Runner) -> None:
    weights(runner.workspace / "first model")
    sample("payload", runner.workspace)

    outputs = verified(runner, targets="  first model\n\n\tpayload  \n")

    assert (outputs["outcome"], outputs["exit-code"]) == ("block", "1")
    assert len(json.loads(Path(outputs["report"]).read_text("utf-8"))["reports"]) == 2


@pytest.mark.parametrize("targets", ["", "  \n ", "no/such/folder/at/all"])
def test_nothing_to_verify_is_no_pass(runner: Runner, targets: str) -> None:
    assert verified(runner, targets=targets)["exit-code"] == "2"


def test_the_policy_counts(runner: Runner) -> None:
    weights(runner.workspace / "model")
    (runner.workspace / "strict.toml").write_text("require_signature = true\n")

    assert verified(runner, targets="model", policy="strict.toml")["outcome"] == "block"
    assert verified(runner, targets="model", policy="missing.toml")["exit-code"] == "2"


HOSTILE = ["$(touch ran)", "`touch ran`", "; touch ran", "'; touch ran; '", '"; touch ran; "', "--policy=x", "-h", "*"]


def test_an_input_is_never_code_nor_an_option(runner: Runner) -> None:
    outputs = verified(runner, targets="\n".join(HOSTILE))

    assert outputs["exit-code"] == "2"
    reports = json.loads(Path(outputs["report"]).read_text("utf-8"))["reports"]
    assert [report["target"] for report in reports] == HOSTILE
    assert verified(runner, targets="x", policy="".join(HOSTILE))["exit-code"] == "2"
    assert not list(runner.workspace.iterdir())


def test_nothing_is_imported_from_the_working_directory(runner: Runner) -> None:
    weights(runner.workspace / "model")
    for name in ("json", "aiverify", "sitecustomize", "typer"):
        (runner.workspace / f"{name}.py").write_text("raise SystemExit('imported from a pull request')")
    runner.environment["PYTHONPATH"] = str(runner.workspace)

    assert verified(runner, targets="model")["outcome"] == "pass"


def test_a_file_name_is_no_command_to_the_runner(runner: Runner) -> None:
    weights(runner.workspace / "model")
    (runner.workspace / "model" / "::error::x.pkl").write_bytes(HARMFUL)
    (runner.workspace / "model" / "a\n::error::y.pkl").write_bytes(HARMFUL)

    assert verified(runner, targets="model")["outcome"] != "pass"

    begin, _, rest = runner.log.partition("::stop-commands::")
    token = rest.partition("\n")[0]
    assert re.fullmatch("[0-9a-f]{32}", token)
    after = rest.partition(f"\n::{token}::\n")[2]
    assert "::" not in begin + after


def test_without_an_installation_there_is_no_verdict(action: Path, tmp_path: Path) -> None:
    runner = Runner(action, tmp_path)
    weights(runner.workspace / "model")

    runner.step("Verify", {"targets": "model"})

    assert runner.step("Verdict", {}) == 2


# Installing


@pytest.fixture
def published(action: Path, tmp_path: Path) -> Path:
    """A checkout with the action, a package in place of aiverify, and a lock of one wheel that lies beside it."""
    checkout = tmp_path / "published"
    shutil.copytree(action, checkout / ".github" / "actions" / "aiverify")
    (checkout / "aiverify.py").write_text("import needed")
    wheels = checkout / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "needed-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("needed.py", "")
        wheel.writestr("needed-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: needed\nVersion: 1\n")
        wheel.writestr("needed-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("needed-1.dist-info/RECORD", "")
    return checkout


def installing(published: Path, folder: Path, digest: str) -> tuple[Runner, int]:
    (published / ".ci").mkdir()
    (published / ".ci" / "runtime.txt").write_text(f"needed==1 --hash=sha256:{digest}\n")
    runner = Runner(published / ".github" / "actions" / "aiverify", folder)
    runner.environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(published / "wheels")}
    runner.outputs["python"] = {"python-path": sys.executable}
    return runner, runner.step("Install aiverify", {})


def test_the_checkout_and_what_its_lock_names_are_installed(published: Path, tmp_path: Path) -> None:
    (wheel,) = (published / "wheels").iterdir()
    (tmp_path / "job").mkdir()

    runner, code = installing(published, tmp_path / "job", hashlib.sha256(wheel.read_bytes()).hexdigest())

    assert code == 0, runner.log
    python = runner.temp / "aiverify-venv" / "bin" / "python"
    subprocess.run([python, "-I", "-c", "import aiverify"], cwd=tmp_path, check=True)


def test_a_package_with_another_digest_is_not_installed(published: Path, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()

    runner, code = installing(published, tmp_path / "job", "0" * 64)

    assert code != 0
    assert "DO NOT MATCH" in runner.log


# The comment


class Forge:
    """The part of GitHub's interface that keeps comments, for real HTTP clients."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                assert self.headers["Authorization"] == "Bearer a-token"
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
                found = json.dumps(forge.handle(self.command, self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle(self, method: str, path: str, body: Any) -> Any:
        if method == "GET":
            page = int(re.fullmatch(r"/repos/acme/models/issues/7/comments\?per_page=100&page=(\d+)", path)[1])
            return self.comments[(page - 1) * 100 : page * 100]
        if method == "POST":
            assert path == "/repos/acme/models/issues/7/comments"
            return self.say(body["body"], "Bot")
        number = int(re.fullmatch(r"/repos/acme/models/issues/comments/(\d+)", path)[1])
        self.comments[number]["body"] = body["body"]
        return self.comments[number]

    def say(self, body: str, kind: str = "User") -> dict[str, Any]:
        self.comments.append({"id": len(self.comments), "body": body, "user": {"type": kind}})
        return self.comments[-1]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def forge() -> Iterator[Forge]:
    forge = Forge()
    yield forge
    forge.close()


@pytest.fixture
def pull_request(runner: Runner, forge: Forge, tmp_path: Path) -> Runner:
    event = tmp_path / "event.json"
    event.write_text('{"pull_request": {"number": 7}}')
    runner.environment |= {
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_API_URL": forge.url,
        "GITHUB_WORKFLOW": "models --> all",
        "GITHUB_JOB": "verify",
    }
    return runner


def comment(runner: Runner, body: str) -> None:
    report = runner.folder / "report.md"
    report.write_text(body, "utf-8")
    runner.outputs["verify"] = {"markdown": str(report)}
    assert runner.step("Comment on the pull request", {}) == 0, runner.log


def test_a_second_run_writes_into_the_comment_of_the_first(pull_request: Runner, forge: Forge) -> None:
    for number in range(130):
        forge.say(f"talk {number}")

    comment(pull_request, "⛔ block")
    comment(pull_request, "✅ pass")

    assert len(forge.comments) == 131
    mark, body = forge.comments[-1]["body"].split("\n")
    assert re.fullmatch(r"<!-- aiverify [0-9a-f]{16} -->", mark)
    assert body == "✅ pass"


def test_a_comment_of_a_person_is_never_taken_for_ours(pull_request: Runner, forge: Forge) -> None:
    comment(pull_request, "block")
    copied = forge.say(forge.comments.pop()["body"])

    comment(pull_request, "block again")

    assert copied["body"].endswith("\nblock")
    assert forge.comments[-1]["body"].endswith("\nblock again")


def test_another_job_has_a_comment_of_its_own(pull_request: Runner, forge: Forge) -> None:
    comment(pull_request, "one")
    pull_request.environment["GITHUB_JOB"] = "another"
    comment(pull_request, "two")

    assert [entry["body"].split("\n")[1] for entry in forge.comments] == ["one", "two"]


# What is written


def workflows(root: Path) -> dict[str, Any]:
    files = [*(root / ".github").rglob("*.yml"), *(root / "docs" / "integrations").glob("*.github.yml")]
    return {path.relative_to(root).as_posix(): yaml.safe_load(path.read_text("utf-8")) for path in files}


def steps(definition: Any) -> Iterator[Any]:
    if "runs" in definition:
        yield from definition["runs"]["steps"]
    for job in definition.get("jobs", {}).values():
        yield from job["steps"]


def test_no_script_has_an_expression_in_it(root: Path) -> None:
    found = workflows(root)
    assert ".github/actions/aiverify/action.yml" in found

    for name, definition in found.items():
        for step in steps(definition):
            assert not EXPRESSION.search(step.get("run", "")), name


def test_every_action_of_others_is_pinned_by_commit(root: Path) -> None:
    for name, definition in workflows(root).items():
        for step in steps(definition):
            used = step.get("uses", "./here")
            assert used.startswith("./") or PINNED.fullmatch(used), f"{name}: {used}"


def test_scripts_pass_the_linter_for_shell_scripts(root: Path, tmp_path: Path) -> None:
    for name, definition in workflows(root).items():
        for number, step in enumerate(steps(definition)):
            if "run" in step:
                script = tmp_path / f"{number}.sh"
                script.write_text(f"#!/usr/bin/env bash\nset -eo pipefail\n{step['run']}")
                ran = subprocess.run([SCRIPTS / "shellcheck", script], capture_output=True, text=True)
                assert ran.returncode == 0, f"{name}: {ran.stdout}"


@pytest.mark.parametrize("kind", ["github-actions", "github-workflows"])
def test_the_files_fit_the_schemas_of_github(root: Path, kind: str) -> None:
    files = sorted((root / ".github").rglob("action.yml" if kind == "github-actions" else "workflows/*.yml"))
    assert files

    ran = subprocess.run(
        [SCRIPTS / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", *files], capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
