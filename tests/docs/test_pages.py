"""What the pages state can be checked, and is: links, examples, tables, decisions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aiverify.artifact import FileClass
from aiverify.report import Outcome

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PROGRAMS = ["README.md", "docs/engines.md", "docs/guard.md", "docs/python-api.md", "docs/report.md", "docs/store.md"]


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def links(pages: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in pages.items():
        for target in LINK.findall(FENCE.sub("", text)):
            if not re.match(r"[a-z]+:", target):
                yield name, target


def test_every_internal_link_leads_somewhere(pages: dict[str, str], root: Path) -> None:
    broken = []
    for name, target in links(pages):
        path, _, anchor = target.partition("#")
        file = (root / name).parent / path if path else root / name
        if not file.exists():
            broken.append(f"{name}: {target}")
        elif anchor and anchor not in map(slug, HEADING.findall(FENCE.sub("", file.read_text("utf-8")))):
            broken.append(f"{name}: {target}: no such heading")

    assert not broken


def test_pages_of_the_site_link_to_pages_of_the_site_only(pages: dict[str, str], root: Path) -> None:
    site = root / "docs"
    outside = [
        f"{name}: {target}"
        for name, target in links(pages)
        if name.startswith("docs/") and not (root / name).parent.joinpath(target).resolve().is_relative_to(site)
    ]

    assert not outside


def test_the_navigation_reaches_every_page(docs: Path, pages: dict[str, str]) -> None:
    configuration = yaml.safe_load((docs / "mkdocs.yml").read_text("utf-8"))
    found = set(re.findall(r"[\w/-]+\.md", json.dumps(configuration["nav"])))
    hidden = {name.removeprefix("docs/") for name in pages if re.match(r"docs/(rules/AIV|decisions/0)", name)}

    assert found | hidden == {name.removeprefix("docs/") for name in pages if name.startswith("docs/")}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_python_example_runs(name: str, pages: dict[str, str], tmp_path: Path) -> None:
    examples = PYTHON.findall(pages[name])
    assert examples

    for example in examples:
        run = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)

        assert run.returncode == 0, run.stderr


def test_no_page_has_a_python_example_that_is_not_run(pages: dict[str, str]) -> None:
    """Those on integrations are run by tests/integrations, with the libraries that they need."""
    found = [name for name, text in pages.items() if PYTHON.search(text)]
    assert [name for name in found if not name.startswith("docs/integrations/")] == sorted(PROGRAMS)


@pytest.mark.parametrize("name", ["README.md", "docs/verdicts.md", "docs/reference/commands.md"])
def test_tables_of_exit_codes_are_those_of_the_program(name: str, pages: dict[str, str]) -> None:
    section = pages[name].partition("## Exit codes")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?(\d) \|$", section, re.MULTILINE))

    assert rows == {str(outcome): str(outcome.exit_code) for outcome in Outcome}


def test_the_page_on_verdicts_names_every_file_class(pages: dict[str, str]) -> None:
    for kind in FileClass:
        assert f"| `{kind}` |" in pages["docs/verdicts.md"]


def test_the_page_on_the_report_names_every_field_of_the_schema(docs: Path, pages: dict[str, str]) -> None:
    schema = json.loads((docs / "report.schema.json").read_text("utf-8"))
    table = pages["docs/report.md"].partition("| field |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(schema["$defs"]["report"]["properties"])


def test_every_dependency_has_one_decision_record(root: Path, docs: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in project["dependencies"]}
    titles = [path.read_text("utf-8").partition("\n")[0] for path in (docs / "decisions").glob("0*.md")]

    for name in names:
        spelt = {"pyyaml": "PyYAML", "rfc3161-client": "sigstore", "tuf": "sigstore"}.get(name, name)
        assert sum(re.match(rf"# \d+\. {spelt}\b", title) is not None for title in titles) == 1, name


def test_decision_records_have_one_form(docs: Path) -> None:
    for path in (docs / "decisions").glob("0*.md"):
        text = path.read_text("utf-8")
        places = [text.find(f"\n## {head}\n") for head in ("Context", "Decision", "Consequences")]

        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert -1 not in places, path.name
        assert places == sorted(places), path.name


def test_decision_records_are_numbered_without_gaps(docs: Path) -> None:
    numbers = sorted(int(path.name[:4]) for path in (docs / "decisions").glob("0*.md"))

    assert numbers == list(range(1, len(numbers) + 1))
