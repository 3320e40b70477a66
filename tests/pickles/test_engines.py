"""Engines of other people: an installed package, asked only when it is named. The page of the docs is the example."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pickle_builder as b
import pytest
from end_to_end import Machine, Ran

from aiverify.finding import Severity
from aiverify.options import Options
from aiverify.pickles.engine import EngineError, open_engines
from aiverify.pipeline import run
from aiverify.policy import Policy
from aiverify.report import Outcome

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text("utf-8")
CLEAN = b.stream(b"N")
SHOUT = b.stream(b.text("shout"))


def example(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def install(site: Path, module: str, source: str, points: dict[str, str]) -> Path:
    """A package in the folder ``site``, as an installer leaves it there."""
    information = site / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (information / "entry_points.txt").write_text(f"[aiverify.engines]\n{lines}")
    return site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    points = tomllib.loads(example("toml"))["project"]["entry-points"]["aiverify.engines"]
    return install(tmp_path / "site", "shouting_engine", example("python"), points)


@pytest.fixture
def machine(tmp_path: Path, site: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.environment["PYTHONPATH"] = f"{machine.environ()['PYTHONPATH']}:{site}"
    return machine


def scan(machine: Machine, content: bytes, *options: str) -> Ran:
    (machine.here / "model.pkl").write_bytes(content)
    return machine.run("scan", "model.pkl", "--format", "json", *options)


def found(ran: Ran) -> list[str]:
    return [item["rule"] for item in ran.report["findings"]]


def test_the_example_of_the_docs_is_asked_when_it_is_named(machine: Machine) -> None:
    quiet, loud = scan(machine, CLEAN, "--engine", "shouting"), scan(machine, SHOUT, "--engine", "shouting")
    assert (quiet.code, found(quiet)) == (0, [])
    assert (loud.code, found(loud)) == (1, ["AIV309"])
    assert "shouting names os.system" in loud.report["findings"][0]["message"]


def test_a_late_opinion_counts_before_anything_is_published(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    out = tmp_path / "out"
    options = Options(engines=("shouting",), convert_to=out, policy=Policy(block_at=Severity.MEDIUM))
    torch = pytest.importorskip("torch")
    torch.save({"quiet": torch.ones(2)}, tmp_path / "quiet.bin")
    assert run(str(tmp_path / "quiet.bin"), options).verdict.outcome is Outcome.PASS
    assert [path.suffix for path in sorted(out.iterdir())] == [".safetensors", ".json"]
    torch.save({"shout": torch.ones(2)}, tmp_path / "loud.bin")
    report = run(str(tmp_path / "loud.bin"), options)
    assert report.verdict.outcome is Outcome.BLOCK
    assert "AIV309" in [item.rule for item in report.findings]
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("options", [[], ["--engine", "all"], ["--engine", "fickling"], ["--engine", "machine"]])
def test_an_engine_that_is_only_installed_is_not_asked(machine: Machine, options: list[str]) -> None:
    assert found(scan(machine, SHOUT, *options)) == []


def test_an_engine_that_is_only_installed_is_not_even_imported(tmp_path: Path, machine: Machine) -> None:
    install(tmp_path / "other", "evil_engine", "raise SystemExit(77)", {"evil": "evil_engine:Evil"})
    path = f"{machine.environment['PYTHONPATH']}:{tmp_path / 'other'}"
    (machine.here / "model.pkl").write_bytes(CLEAN)
    assert machine.run("scan", "model.pkl", PYTHONPATH=path).code == 0


def test_several_engines_are_asked(machine: Machine) -> None:
    stream = b.stream(b.call("os.system", b.text("shout")))
    ran = scan(machine, stream, "--engine", "all", "--engine", "shouting", "--engine", "machine")
    (item,) = ran.report["findings"]
    assert item["evidence"]["second_engine"]["engine"] == "fickling"
    assert [said["severity"] for said in item["evidence"]["further_engines"]] == ["LOUD"]


def test_the_machine_alone_starts_no_engine(machine: Machine) -> None:
    (item,) = scan(machine, b.stream(b.call("os.system", b.text("x"))), "--engine", "machine").report["findings"]
    assert "second_engine" not in item["evidence"]
    assert "payload" in item["evidence"]


def test_an_engine_that_is_not_there_is_an_error_that_names_those_that_are(machine: Machine) -> None:
    (machine.here / "model.pkl").write_bytes(CLEAN)
    message = machine.fails("scan", "model.pkl", "--engine", "whispering")
    assert "there is no engine 'whispering'" in message
    assert "fickling, shouting" in message


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("raise ImportError('no')", "cannot be made: ImportError"),
        ("def Engine(): raise ValueError('no')", "cannot be made: ValueError"),
        ("Engine = None", "cannot be made: TypeError"),
        ("class Engine:\n  def examine(self): ...", "has not the methods of an engine"),
    ],
)
def test_an_engine_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    name = f"broken_engine_{abs(hash(source))}"
    monkeypatch.syspath_prepend(str(install(tmp_path / "broken", name, source, {"broken": f"{name}:Engine"})))
    with pytest.raises(EngineError, match=complaint):
        open_engines(["broken"])


def test_an_answer_that_is_no_opinion_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = "declines = lambda *_, **__: None; examine = lambda *_, **__: 'fine'; close = lambda _: 1 / 0"
    points = {"vague": "vague_engine:Engine"}
    monkeypatch.syspath_prepend(str(install(tmp_path / "vague", "vague_engine", f"class Engine: {methods}", points)))
    with open_engines(["vague", "vague"]) as engines:
        (opinion,) = engines.opinions(b"N.", 0, 2, 2)
    assert opinion.incomplete == "it failed (TypeError)"
