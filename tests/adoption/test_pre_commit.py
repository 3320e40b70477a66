"""The hook, run by pre-commit itself: installed from this checkout, in a repository that somebody commits to.

Nothing is fetched: pip builds the hook's environment from the checkout, and takes what it needs from this one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from end_to_end import weights
from pickle_builder import call, stream, text

PARTS = ("aiverify", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
CONFIGURATION = "repos:\n  - repo: {repo}\n    rev: {rev}\n    hooks:\n      - id: aiverify-scan\n"
HARMLESS = stream(text("only a text"))
HARMFUL = stream(call("posix.system", text("echo this would have run")))


class Committer:
    """Somebody with git, pre-commit and nothing else of this machine's settings."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{role}_{key}": "somebody" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
            # What the hook's environment is made of: pip finds every dependency here, and asks nobody.
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        }

    def run(self, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def must(self, folder: Path, *command: str) -> str:
        ran = self.run(folder, *command)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout


@pytest.fixture(scope="module")
def committer(tmp_path_factory: pytest.TempPathFactory) -> Committer:
    return Committer(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def published(root: Path, committer: Committer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user's configuration points at: this checkout as a repository."""
    repository = tmp_path_factory.mktemp("published")
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, repository / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, repository / part)
    committer.must(repository, "git", "init", "--quiet")
    committer.must(repository, "git", "add", "--all")
    committer.must(repository, "git", "commit", "--quiet", "--message", "as it is")
    return repository


@pytest.fixture
def project(published: Path, committer: Committer, tmp_path: Path) -> Path:
    """A repository in which the hook is installed."""
    folder = tmp_path / "project"
    folder.mkdir()
    committer.must(folder, "git", "init", "--quiet")
    rev = committer.must(published, "git", "rev-parse", "HEAD").strip()
    (folder / ".pre-commit-config.yaml").write_text(CONFIGURATION.format(repo=published, rev=rev))
    committer.must(folder, "git", "add", "--all")
    committer.must(folder, "git", "commit", "--quiet", "--message", "begin")
    committer.must(folder, "pre-commit", "install")
    return folder


def commit(committer: Committer, project: Path) -> subprocess.CompletedProcess[str]:
    return committer.run(project, "git", "commit", "--message", "a model")


def commits(committer: Committer, project: Path) -> int:
    return int(committer.must(project, "git", "rev-list", "--count", "HEAD"))


def test_a_harmful_pickle_is_not_committed(committer: Committer, project: Path) -> None:
    (project / "model.pkl").write_bytes(HARMFUL)
    committer.must(project, "git", "add", "model.pkl")

    ran = commit(committer, project)

    assert ran.returncode != 0
    assert "BLOCK" in ran.stdout
    assert "model.pkl" in ran.stdout
    assert commits(committer, project) == 1


def test_a_harmless_model_is_committed(committer: Committer, project: Path) -> None:
    weights(project / "models")
    (project / "models" / "README.md").write_text("a model")
    committer.must(project, "git", "add", "--all")

    ran = commit(committer, project)

    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^aiverify scan\.+Passed$", ran.stdout, re.MULTILINE)
    assert commits(committer, project) == 2


@pytest.mark.parametrize("name", ["a.bin", "a/checkpoint.pth.tar", "A.PT", "a.pkl.gz", "a.pth.tar.gz", "model.mar"])
def test_files_of_models_are_looked_at_by_their_names(root: Path, name: str) -> None:
    (hook,) = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], name)
    assert not re.search(hook["files"], f"{name}.txt")


def test_a_commit_without_models_runs_nothing(committer: Committer, project: Path) -> None:
    (project / "train.py").write_text("print('training')")
    committer.must(project, "git", "add", "--all")

    assert "no files to check" in committer.must(project, "git", "commit", "--message", "code")


def test_what_is_staged_is_judged_and_not_what_lies_there_now(committer: Committer, project: Path) -> None:
    (project / "model.pkl").write_bytes(HARMFUL)
    committer.must(project, "git", "add", "model.pkl")
    (project / "model.pkl").write_bytes(HARMLESS)

    assert commit(committer, project).returncode != 0
    assert commits(committer, project) == 1


@pytest.mark.parametrize("name", ["--exclude=*.pkl", "--policy=model.pkl", "-q.pkl"])
def test_a_file_that_is_called_like_an_option_is_a_file(committer: Committer, project: Path, name: str) -> None:
    (project / name).write_bytes(HARMFUL)
    committer.must(project, "git", "add", "--all")

    ran = commit(committer, project)

    assert ran.returncode != 0
    assert "BLOCK" in ran.stdout


def test_the_hook_takes_what_loaders_unpickle_and_leaves_texts_alone(root: Path) -> None:
    (hook,) = declared(root)
    pattern = re.compile(hook["files"])

    for name in ("a.pt", "b/pytorch_model.bin", "C.PKL", "d.ckpt", "e.joblib", "f.pkl.gz", "g.npy", "h.safetensors"):
        assert pattern.search(name), name
    for name in ("README.md", "config.json", "train.py", "pt", "bin/run", "image.png", "a.pkl.md"):
        assert not pattern.search(name), name


def test_pre_commit_accepts_the_declaration_of_the_hook(root: Path, committer: Committer) -> None:
    committer.must(root, "pre-commit", "validate-manifest", ".pre-commit-hooks.yaml")
    assert [hook["id"] for hook in declared(root)] == ["aiverify-scan"]


def declared(root: Path) -> Any:
    return yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text("utf-8"))
