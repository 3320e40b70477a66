"""What the pages on adoption say is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def docs(root: Path) -> Path:
    return root / "docs"


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("heading", "source"), [("What they find", "scorecard"), ("What they cost", "benchmarks")])
def test_the_comparison_repeats_what_was_measured(docs: Path, heading: str, source: str) -> None:
    """If this fails: copy the rows from the page that was written anew, and its versions and date."""
    compared = rows(section((docs / "comparison.md").read_text("utf-8"), heading))
    measured = rows((docs / f"{source}.md").read_text("utf-8"))

    assert len(compared) > 5
    assert not set(compared) - set(measured)


def test_the_comparison_names_the_versions_and_numbers_of_the_scorecard(docs: Path) -> None:
    scorecard = (docs / "scorecard.md").read_text("utf-8")
    compared = " ".join(section((docs / "comparison.md").read_text("utf-8"), "What they find").split())

    for name, version in re.findall(r"(picklescan|modelscan|modelaudit|fickling) (\d[\d.]*\d)", scorecard):
        assert f"{name} {version}" in compared
    attacks, benign = re.findall(r"gives (\d+) attacks and (\d+) benign files", scorecard)[0]
    assert f"{attacks} attacks and {benign} benign files" in compared


def test_the_page_on_github_names_every_input_and_output(root: Path, docs: Path) -> None:
    action = yaml.safe_load((root / ".github" / "actions" / "aiverify" / "action.yml").read_text("utf-8"))
    page = (docs / "integrations" / "github.md").read_text("utf-8")
    named = {name for row in rows(page) for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}

    assert named == set(action["inputs"]) | set(action["outputs"])


def test_examples_of_workflows_are_pinned_and_give_no_more_rights_than_needed(docs: Path) -> None:
    page = (docs / "integrations" / "github.md").read_text("utf-8")
    workflow = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])

    (job,) = workflow["jobs"].values()
    assert all(re.search("@[0-9a-f]{40}$", step["uses"]) for step in job["steps"])
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write", "security-events": "write"}


def test_the_example_for_pre_commit_names_a_hook_that_there_is(root: Path, docs: Path) -> None:
    page = (docs / "integrations" / "pre-commit.md").read_text("utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    hooks = {hook["id"]: hook for hook in yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text("utf-8"))}

    (repo,) = yaml.safe_load(example)["repos"]
    (hook,) = repo["hooks"]
    assert hook["id"] in hooks
    assert f"`[{', '.join(hooks[hook['id']]['args'])}]`" in page


def test_the_python_reference_has_every_public_name(docs: Path) -> None:
    import aiverify

    page = (docs / "reference" / "python.md").read_text("utf-8")
    for name in set(aiverify.__all__) - {"__version__"}:
        assert f"\n## aiverify.{name}\n" in page
