"""What is released can be made again by anybody, byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

PARTS = ("aiverify", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".ci", ".github")
EPOCH = "1700000000"


def built(checkout: Path, folder: Path, *, mtime: int, umask: int) -> dict[str, Path]:
    """Wheel and sdist of a copy of the checkout, made with that file mode mask from files of that age."""
    source = Path(shutil.copytree(checkout, folder / "source"))
    for path in source.rglob("*"):
        os.utime(path, (mtime, mtime))
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PIP_NO_INDEX": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=umask,
        timeout=300,
        check=True,
    )
    return {path.name: path for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def releases(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    """Two builds of the same sources at other places, at other times, by other users."""
    folder = tmp_path_factory.mktemp("builds")
    checkout = folder / "checkout"
    checkout.mkdir()
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, checkout)
    return [
        built(checkout, folder / "one", mtime=1_600_000_000, umask=0o022),
        built(checkout, folder / "elsewhere" / "two", mtime=1_650_000_000, umask=0o077),
    ]


def test_two_builds_are_the_same_byte_for_byte(releases: list[dict[str, Path]]) -> None:
    one, two = (
        {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in made.items()} for made in releases
    )

    assert sorted(name.rpartition(".")[2] for name in one) == ["gz", "whl"]
    assert one == two


def test_the_wheel_holds_the_package_and_nothing_else(releases: list[dict[str, Path]]) -> None:
    (wheel,) = (path for name, path in releases[0].items() if name.endswith(".whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"aiverify", "aiverify_weights"}
    assert "aiverify/rules.toml" in names
    assert "aiverify/py.typed" in names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


def test_the_sdist_holds_what_it_takes_to_build_and_check_a_release(releases: list[dict[str, Path]]) -> None:
    (sdist,) = (path for name, path in releases[0].items() if name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {".ci/runtime.txt", ".ci/build", ".github/workflows/release.yml", "pyproject.toml", "LICENSE"} <= names


# The workflow, as far as it can be held to its word without a release


@pytest.fixture
def workflow(root: Path) -> Any:
    return yaml.safe_load((root / ".github" / "workflows" / "release.yml").read_text("utf-8"))


def test_only_the_job_that_needs_a_right_has_it(workflow: Any) -> None:
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "build": {"contents": "read"},
        "attest": {"attestations": "write", "id-token": "write"},
        "publish": {"id-token": "write"},
        "release": {"contents": "write"},
    }


def test_what_has_rights_runs_nothing_of_the_checkout(workflow: Any) -> None:
    for name, job in workflow["jobs"].items():
        used = [step.get("uses", "") for step in job["steps"]]
        assert any(use.startswith("actions/checkout@") for use in used) == (name == "build"), name


def test_no_secret_is_used(root: Path) -> None:
    for path in (root / ".github").rglob("*.yml"):
        assert "secrets." not in path.read_text("utf-8"), path


def test_nothing_is_published_that_was_not_built_twice_and_attested(workflow: Any) -> None:
    assert {name: job.get("needs") for name, job in workflow["jobs"].items()} == {
        "build": None,
        "attest": "build",
        "publish": "attest",
        "release": "publish",
    }
