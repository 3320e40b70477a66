"""What aiverify brings along: few packages, each named by its hash, and none that nobody decided on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Whoever adds one writes a decision record, and this line.
RUNTIME = {
    *("cryptography", "fickling", "huggingface-hub", "pyyaml", "rfc3161-client", "rich", "safetensors"),
    *("sigstore", "tuf", "typer"),
}
MOST_IN_ALL = 50
LOCKS = {
    "runtime.txt": ("project", []),
    "development.txt": ("project", ["test", "docs"]),
    "pythons.txt": ("project", ["pythons"]),
    "release.txt": (None, ["release"]),
}


@pytest.fixture(scope="module")
def project(root: Path) -> Any:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def locked(root: Path, name: str) -> list[tuple[Requirement, list[str]]]:
    """Every package of a lock, with its hashes."""
    text = re.sub(r"^#.*\n", "", (root / ".ci" / name).read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(Requirement(line.partition(" --hash")[0].strip()), re.findall(r"--hash=(\S+)", line)) for line in lines]


def on(python: str, requirements: Iterable[Requirement]) -> dict[str, Requirement]:
    """Those that count on Linux with this Python, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    return {
        canonicalize_name(item.name): item
        for item in requirements
        if item.marker is None or item.marker.evaluate(environment)
    }


def test_the_runtime_needs_what_was_decided_and_nothing_else(project: Any) -> None:
    assert {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]} == RUNTIME


def test_all_that_comes_with_it_is_few(root: Path) -> None:
    for python in PYTHONS:
        assert len(on(python, (item for item, _ in locked(root, "runtime.txt")))) <= MOST_IN_ALL


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_one_version_and_its_hashes(root: Path, name: str) -> None:
    packages = locked(root, name)

    assert packages
    for item, hashes in packages:
        assert re.fullmatch(r"==[^*,]+", str(item.specifier)), item
        assert hashes, item
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), item


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_the_project_asks_for(root: Path, project: Any, name: str, python: str) -> None:
    """If this fails: make lock-dependencies."""
    table, groups = LOCKS[name]
    asked = list(project["project"]["dependencies"]) if table else []
    for group in groups:
        asked += project["dependency-groups"][group]
    found = on(python, (item for item, _ in locked(root, name)))

    for wanted, item in on(python, map(Requirement, asked)).items():
        if wanted == "torch":
            assert wanted not in found  # each kind of machine has another build of it: the Makefile names the version
            continue
        assert wanted in found, f"{name} has no {wanted}"
        (specifier,) = found[wanted].specifier
        assert item.specifier.contains(specifier.version), f"{name}: {found[wanted]}"


def test_locks_agree_with_each_other(root: Path) -> None:
    versions = [
        {(item.name, str(item.specifier)) for item, _ in locked(root, name)}
        for name in ("runtime.txt", "development.txt")
    ]

    assert versions[0] <= versions[1]


def test_nothing_for_graphics_cards_is_locked(root: Path) -> None:
    for name in LOCKS:
        for item, _ in locked(root, name):
            assert not re.match(r"nvidia|cuda|triton|torch$", item.name), item


def test_the_makefile_names_the_pytorch_of_the_project(root: Path, project: Any) -> None:
    (pinned,) = (line for line in project["dependency-groups"]["test"] if line.startswith("torch=="))

    assert set(re.findall(r"torch==[\w.]+", (root / "Makefile").read_text("utf-8"))) == {pinned}
