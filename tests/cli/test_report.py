"""``aiverify report``, and the forms of every command that makes reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import SAMPLES, Machine, files_below, weights
from report_builder import every_kind

from aiverify.reporters.forms import Form, reporter_for

BEGINS = {
    Form.HUMAN: "BLOCK   ",
    Form.JSON: "{",
    Form.SARIF: "{",
    Form.MARKDOWN: "## aiverify",
    Form.HTML: "<!doctype html>",
    Form.CYCLONEDX: "{",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")


@pytest.fixture
def saved(machine: Machine) -> Path:
    """A saved report on every kind of verdict."""
    path = machine.here / "report.json"
    path.write_text(reporter_for(Form.JSON).render(every_kind()))
    return path


# a saved report


@pytest.mark.parametrize("form", Form)
def test_a_saved_report_is_written_in_any_form_as_the_run_itself_would(machine: Machine, form: Form) -> None:
    live = machine.run("scan", SAMPLES / "payload", "--format", "json", "-o", "report.json")
    assert (live.code, live.out) == (1, "")
    ran = machine.run("report", "report.json", "--format", form)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.lower().startswith(BEGINS[form].lower())
    if form is Form.JSON:
        assert ran.out == (machine.here / "report.json").read_text()


def test_rendering_is_not_judging(machine: Machine, saved: Path) -> None:
    assert json.loads(saved.read_text())["outcome"] == "block"
    ran = machine.run("report", saved)
    assert ran.code == 0
    assert ran.out.startswith("PASS ")
    assert "Summary" in ran.out


def test_a_report_on_what_could_not_be_verified_is_shown(machine: Machine) -> None:
    machine.run("scan", "nowhere", "--format", "json", "-o", "report.json")
    ran = machine.run("report", "report.json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("ERROR   nowhere")


def test_quiet_and_verbose_count_for_the_form_for_people(machine: Machine, saved: Path) -> None:
    assert len(machine.run("report", saved, "-q").out.splitlines()) == len(every_kind())
    assert "Policy" not in machine.run("report", saved).out
    assert "Policy" in machine.run("report", saved, "-v").out
    assert "| info |" not in machine.run("report", saved, "--format", "markdown").out
    assert "| info |" in machine.run("report", saved, "--format", "markdown", "-v").out


def test_a_report_is_read_from_stdin(machine: Machine, saved: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "aiverify", "report", "-", "-q"],
        input=saved.read_bytes(),
        cwd=machine.here,
        env=machine.environ(),
        capture_output=True,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.startswith(b"PASS ")


def test_the_file_is_replaced_as_a_whole_or_not_at_all(machine: Machine, saved: Path) -> None:
    before = files_below(machine.here)
    assert machine.run("report", saved, "--format", "html", "-o", "page.html").code == 0
    page = (machine.here / "page.html").read_bytes()
    assert files_below(machine.here) == {**before, "page.html": page}
    saved.write_text("{")
    machine.fails("report", saved, "--format", "sarif", "-o", "page.html")
    assert (machine.here / "page.html").read_bytes() == page


def test_a_file_that_cannot_be_written_is_an_error(machine: Machine, saved: Path) -> None:
    assert "nowhere/page.html: cannot be written" in machine.fails("report", saved, "-o", "nowhere/page.html")


# what is no report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "report.json: the report is not JSON"),
        ("[]", "report.json: the report: must be an object, is an array"),
        ('{"runs": []}', "report.json: schema_version: is missing"),
        ('{"schema_version": "0.9"}', "report.json: schema_version: is 0.9, and this aiverify reads 1.0\nVerify again"),
        ('{"schema_version": "1.1"}', "report.json: schema_version: is 1.1, and this aiverify reads 1.0\nUpdate"),
        ('{"schema_version": "1.0"}', "report.json: tool: is missing"),
        ("[" * 100_000, "report.json: the report is nested too deeply"),
        ('{"schema_version": "1.0", "\x1b[2J": 1}', "report.json: "),
    ],
    ids=["empty", "array", "sarif", "older", "newer", "incomplete", "deep", "escape"],
)
def test_what_is_no_report_is_refused_with_the_place(machine: Machine, content: str, message: str) -> None:
    (machine.here / "report.json").write_text(content)
    said = machine.fails("report", "report.json")
    assert said.startswith(message)
    assert "\x1b" not in said


def test_a_wrong_field_of_one_of_several_reports_is_named(machine: Machine, saved: Path) -> None:
    form = json.loads(saved.read_text())
    form["reports"][1]["findings"][0]["location"]["offset"] = "5"
    saved.write_text(json.dumps(form))
    message = "reports[1].findings[0].location.offset: must be a whole number, is a string"
    assert machine.fails("report", saved) == f"{saved}: {message}\n"


@pytest.mark.parametrize("path", [".", "nowhere.json"])
def test_what_cannot_be_read_is_an_error(machine: Machine, path: str) -> None:
    assert "cannot be read" in machine.fails("report", path)


# the commands that make reports


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("command", ["verify", "scan"])
def test_a_run_is_reported_in_any_form(machine: Machine, command: str, form: Form) -> None:
    ran = machine.run(command, SAMPLES / "payload", "--format", form, "-o", "report")
    assert (ran.code, ran.out) == (1, "")
    text = (machine.here / "report").read_text()
    assert text.lower().startswith(BEGINS[form].lower())
    assert "pytorch_model.bin" in text


def test_the_environment_names_the_form(machine: Machine) -> None:
    weights(machine.here)
    assert machine.run("scan", ".", AIVERIFY_FORMAT="markdown").out.startswith("## aiverify")
    # A list is no report: what a job sets for its reports does not break it.
    assert machine.run("store", "ls", AIVERIFY_FORMAT="sarif").code == 0


def test_a_dry_run_and_the_check_of_a_receipt_are_no_reports(machine: Machine) -> None:
    assert "makes no report" in machine.fails("verify", "org/name", "--dry-run", "--format", "html")
    assert "makes no report" in machine.fails("convert", "--check", "x.receipt.json", "--format", "html")


def test_a_form_whose_library_is_missing_is_refused_before_the_work(machine: Machine) -> None:
    weights(machine.here)
    hidden = machine.home / "hiding"
    hidden.mkdir()
    # Where it cannot be found is all that matters: the interpreter looks here first.
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'cyclonedx' else find(name, *more)\n"
    )
    path = f"{hidden}{os.pathsep}{machine.environ()['PYTHONPATH']}"
    ran = machine.run("scan", ".", "--format", "cyclonedx", PYTHONPATH=path)
    assert (ran.code, ran.out) == (2, "")
    assert "aiverify-weights[cyclonedx]" in ran.err
    assert machine.run("scan", ".", "--format", "sarif", PYTHONPATH=path).code == 0
