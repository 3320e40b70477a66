"""What a TARGET means."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.errors import AiverifyError, UsageError
from aiverify.sources.hub import HubSource
from aiverify.sources.hubclient.cache import is_repo
from aiverify.sources.interface import HubOptions, Source, SourceError
from aiverify.sources.local import FileSource, FolderSource
from aiverify.sources.target import open_source


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def open_plainly(target: str, revision: str | None = None) -> Source:
    return open_source(target, HubOptions(revision=revision))


def named(source: Source) -> tuple[str, str]:
    assert isinstance(source, HubSource)
    return source.repo, source.revision


@pytest.mark.parametrize(
    ("target", "repo", "revision"),
    [
        ("org/name", "org/name", "main"),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/4", "org/name", "refs/pr/4"),
        ("hf://org/name", "org/name", "main"),
        ("hf://org/name@" + "a" * 40, "org/name", "a" * 40),
        ("hf://gpt2", "gpt2", "main"),
        ("hf://gpt2@dev", "gpt2", "dev"),
    ],
)
def test_repositories(target: str, repo: str, revision: str) -> None:
    assert named(open_plainly(target)) == (repo, revision)


def test_a_revision_may_come_from_the_option_or_twice_the_same() -> None:
    assert named(open_plainly("org/name", "v2")) == ("org/name", "v2")
    assert named(open_plainly("org/name@v2", "v2")) == ("org/name", "v2")


@pytest.mark.parametrize("target", ["org/name@v1", "hf://org/name@v1"])
def test_two_revisions_contradict_each_other(target: str) -> None:
    with pytest.raises(UsageError, match="different revisions"):
        open_plainly(target, "v2")


@pytest.mark.parametrize("revision", ["", "../../x", "a b", "-x", "a..b", "a/.b", "a\\b", "/a", "a/", "x.lock"])
def test_a_revision_must_be_one(revision: str) -> None:
    with pytest.raises(UsageError, match="revision"):
        open_plainly(f"org/name@{revision}")


def test_an_existing_path_wins_over_a_repository(here: Path) -> None:
    (here / "org" / "name").mkdir(parents=True)
    (here / "org" / "file.bin").write_text("x")
    assert isinstance(open_plainly("org/name"), FolderSource)
    assert isinstance(open_plainly("org/file.bin"), FileSource)
    assert isinstance(open_plainly("org"), FolderSource)
    assert isinstance(open_plainly("hf://org/name"), HubSource)
    assert named(open_plainly("org/name@main")) == ("org/name", "main")


def test_what_cannot_be_looked_at_is_not_looked_for_on_the_hub(here: Path) -> None:
    (here / "org").symlink_to("org")
    with pytest.raises(SourceError, match="'org/name' cannot be read"):
        open_plainly("org/name")


@pytest.mark.parametrize("target", ["./org/name", "../org/name", "/org/name/x"])
def test_what_looks_like_a_path_is_never_a_repository(target: str) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        open_plainly(target)


def test_the_folder_itself_is_a_target() -> None:
    assert isinstance(open_plainly("."), FolderSource)
    assert isinstance(open_plainly(".."), FolderSource)


def test_a_path_has_no_revision(here: Path) -> None:
    (here / "org" / "name").mkdir(parents=True)
    with pytest.raises(UsageError, match="no revision") as caught:
        open_plainly("org/name", "v1")
    assert "hf://org/name" in caught.value.hint


def test_a_dangling_link_is_named_as_such(here: Path) -> None:
    (here / "link").symlink_to("nowhere")
    with pytest.raises(SourceError, match="leads nowhere"):
        open_plainly("link")


@pytest.mark.parametrize(
    "target", ["gpt2", "", "a/b/c", "model.safetensors", "org/na me", "org--x/name", "~/model", "@v1"]
)
def test_what_names_nothing_is_an_error_with_both_ways_out(target: str) -> None:
    with pytest.raises(SourceError, match="neither a file or folder") as caught:
        open_plainly(target)
    assert "path" in caught.value.hint
    assert "hf://name" in caught.value.hint


@pytest.mark.parametrize("target", ["hf://", "hf://a/b/c", "hf://../x", "hf://datasets/org/name", "hf://org/name.git"])
def test_a_name_that_no_repository_has_is_refused(target: str) -> None:
    with pytest.raises(SourceError, match="no repository name"):
        open_plainly(target)


@given(st.text(max_size=30) | st.text(alphabet="ab/.@:hf-~\\ ", max_size=12))
def test_any_text_opens_or_is_refused(target: str) -> None:
    with contextlib.suppress(AiverifyError):
        assert isinstance(open_plainly(target), Source)


@settings(max_examples=1000)
@given(
    st.lists(
        st.text(alphabet="aB0-_.é", max_size=4) | st.sampled_from(["a" * 96, "a" * 97, "a.git"]), min_size=1, max_size=3
    ).map("/".join)
)
def test_a_repository_name_is_what_the_hub_client_takes_for_one(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        theirs = False
    else:
        theirs = True
    assert is_repo(name) == theirs


def test_opening_a_target_imports_nothing_slow() -> None:
    program = (
        "import sys; from aiverify.sources.target import open_source; from aiverify.sources.interface import *;"
        "from aiverify.progress import Silent;"
        "open_source('.', HubOptions()); open_source('hf://org/name', HubOptions());"
        "print([name for name in sys.modules if name.startswith(('huggingface_hub', 'httpx', 'requests'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
