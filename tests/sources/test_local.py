"""Folders and files, taken in place."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from aiverify.artifact import Fetched, SourceKind
from aiverify.progress import Silent
from aiverify.sources import local
from aiverify.sources.interface import HostileSourceError, Selection, SourceError
from aiverify.sources.local import FileSource, FolderSource, strangers


def fetch(folder: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Fetched:
    return FolderSource(folder).fetch(Selection(include=include, exclude=exclude), Silent())


def paths(fetched: Fetched) -> list[str]:
    return [file.path for file in fetched.files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "unet" / "deep").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "unet" / "weights.bin").write_bytes(b"12345")
    (model / "unet" / "deep" / "a.txt").write_text("a")
    return model


def test_files_are_listed_in_place_in_order_and_without_digests(folder: Path) -> None:
    fetched = fetch(folder)
    assert paths(fetched) == ["config.json", "unet/deep/a.txt", "unet/weights.bin"]
    assert [file.size for file in fetched.files] == [2, 1, 5]
    assert all(file.location == folder / file.path for file in fetched.files)
    assert {(file.sha256, file.git_sha1) for file in fetched.files} == {(None, None)}
    assert (fetched.kind, fetched.repo, fetched.revision) == (SourceKind.FOLDER, None, None)
    assert (fetched.left_out, fetched.findings) == ((), ())


def test_what_the_selection_leaves_out_is_named(folder: Path) -> None:
    assert paths(fetch(folder, include=("*.bin", "*.json"))) == ["config.json", "unet/weights.bin"]
    fetched = fetch(folder, exclude=("unet/",))
    assert paths(fetched) == ["config.json"]
    assert fetched.left_out == ("unet/deep/a.txt", "unet/weights.bin")
    assert paths(fetch(folder, include=("unet/*",), exclude=("*.txt",))) == ["unet/weights.bin"]


PATTERN = st.text(alphabet="ab./*?[]!\\-", max_size=6)


@given(
    st.lists(st.text(alphabet="aAb./\\*[", min_size=1, max_size=6), max_size=6),
    st.lists(PATTERN, max_size=3),
    st.lists(PATTERN, max_size=3),
)
def test_the_selection_is_the_hub_clients(names: list[str], include: list[str], exclude: list[str]) -> None:
    selection = Selection(include=include, exclude=exclude)
    theirs = filter_repo_objects(names, allow_patterns=include or None, ignore_patterns=exclude or None)
    assert [name for name in names if selection.wants(name)] == list(theirs)


def test_housekeeping_at_the_top_is_left_out_as_a_whole(folder: Path) -> None:
    for name in (".git/objects/pack", ".cache/huggingface/download", ".cache/other", "unet/.git"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text("x")
    fetched = fetch(folder)
    assert fetched.left_out == (".cache/huggingface/", ".git/")
    assert {".cache/other/file", "unet/.git/file"} < set(paths(fetched))
    assert not any("huggingface" in path for path in paths(fetched))


def test_a_file_called_git_is_a_file(folder: Path) -> None:
    (folder / ".git").write_text("gitdir: elsewhere")
    assert ".git" in paths(fetch(folder))


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "empty").mkdir()])
def test_a_folder_without_files_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(SourceError, match="no files in"):
        fetch(tmp_path)


def test_a_selection_that_leaves_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match="no files are left"):
        fetch(folder, include=("*.gguf",))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        fetch(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="not a folder"):
        fetch(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match="loop"):
        fetch(tmp_path / "loop")


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    (folder / "copy.json").symlink_to("config.json")
    (folder / "unet2").symlink_to("unet", target_is_directory=True)
    fetched = fetch(folder)
    assert {"copy.json", "unet2/weights.bin", "unet2/deep/a.txt"} < set(paths(fetched))
    assert fetched.findings == ()


def test_a_folder_that_contains_itself_is_entered_once(folder: Path) -> None:
    (folder / "unet" / "again").symlink_to("..", target_is_directory=True)
    (folder / "self").symlink_to(".", target_is_directory=True)
    fetched = fetch(folder)
    assert paths(fetched) == ["config.json", "unet/deep/a.txt", "unet/weights.bin"]
    assert fetched.left_out == ("self/", "unet/again/")


def test_links_that_multiply_paths_end_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_ENTRIES", 500)
    for level in range(12):
        (tmp_path / f"level{level}").mkdir()
        for name in "ab":
            (tmp_path / f"level{level}" / name).symlink_to(f"../level{level + 1}", target_is_directory=True)
    (tmp_path / "level12").mkdir()
    with pytest.raises(SourceError, match="more than 500"):
        fetch(tmp_path)


def test_a_link_out_of_the_folder_is_a_finding_and_no_part_of_the_artifact(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.bin").write_bytes(b"x")
    (folder / "a.bin").symlink_to(tmp_path / "outside" / "secret.bin")
    (folder / "more").symlink_to("../outside", target_is_directory=True)
    fetched = fetch(folder)
    assert {(each.rule, each.file) for each in fetched.findings} == {("AIV409", "a.bin"), ("AIV409", "more")}
    assert paths(fetched) == ["config.json", "unet/deep/a.txt", "unet/weights.bin"]


def test_a_link_that_climbs_through_a_link_is_seen_for_where_it_ends(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder / "step").symlink_to("unet/deep", target_is_directory=True)
    (folder / "climb").symlink_to("step/../../../secret")
    assert [each.file for each in fetch(folder).findings] == ["climb"]


def test_an_include_pattern_does_not_hide_a_folder_that_leads_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "more").symlink_to("../outside", target_is_directory=True)
    assert [each.file for each in fetch(folder, include=("*.bin",)).findings] == ["more"]
    fetched = fetch(folder, exclude=("more/",))
    assert (fetched.findings, fetched.left_out) == ((), ("more/",))


def test_a_folder_of_nothing_but_links_out_is_hostile(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(HostileSourceError) as caught:
        fetch(tmp_path / "model")
    assert caught.value.finding.rule == "AIV409"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def snapshot(cache: Path, repository: str = "models--org--name", commit: str = COMMIT) -> Path:
    folder = cache / repository / "snapshots" / commit
    (folder / "unet").mkdir(parents=True)
    blobs = cache / repository / "blobs"
    blobs.mkdir()
    (blobs / "one").write_text("1")
    (folder / "config.json").symlink_to("../../blobs/one")
    store = cache / "blobs" / "ab"
    store.mkdir(parents=True, exist_ok=True)
    (store / "two").write_text("22")
    (blobs / "two").symlink_to("../../blobs/ab/two")
    (folder / "unet" / "weights.bin").symlink_to("../../../blobs/two")
    return folder


def test_a_snapshot_of_the_hub_cache_is_followed_to_its_blobs(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    fetched = fetch(folder)
    assert [(file.path, file.size) for file in fetched.files] == [("config.json", 1), ("unet/weights.bin", 2)]
    assert fetched.findings == ()
    assert paths(fetch(folder / "unet")) == ["weights.bin"]


def test_the_name_of_a_folder_is_no_statement_about_its_origin(tmp_path: Path) -> None:
    fetched = fetch(snapshot(tmp_path))
    assert (fetched.repo, fetched.revision) == (None, None)


def test_a_snapshot_may_not_lead_to_another_repository(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    snapshot(tmp_path, "models--org--other")
    (folder / "evil.bin").symlink_to("../../../models--org--other/blobs/one")
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "store").symlink_to("../../../blobs", target_is_directory=True)
    assert {each.file for each in fetch(folder).findings} == {"evil.bin", "passwd", "store"}


def test_blobs_that_are_themselves_elsewhere_are_not_the_hub_cache(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    shutil.move(tmp_path / "models--org--name" / "blobs", tmp_path / "elsewhere")
    (tmp_path / "models--org--name" / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostileSourceError):
        fetch(folder, include=("config.json",))


@pytest.mark.parametrize(("repository", "commit"), [("models--org--name", "main"), ("org--name", COMMIT)])
def test_only_the_layout_of_the_hub_cache_is_trusted(tmp_path: Path, repository: str, commit: str) -> None:
    folder = snapshot(tmp_path, repository, commit)
    (folder / "plain").write_text("x")
    assert {each.file for each in fetch(folder).findings} == {"config.json", "unet/weights.bin"}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    # The address of a socket is short; the path of a test's folder need not be.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")
        Path(short, "s").rename(path)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "message"),
    [(make_pipe, "is a named pipe"), (make_socket, "is a socket"), (make_dangling, "leads nowhere")],
)
def test_what_is_no_file_is_an_error_that_names_it(folder: Path, make: object, message: str) -> None:
    odd = folder / "unet" / "odd.bin"
    make(odd)  # type: ignore[operator]
    with pytest.raises(SourceError, match=message) as caught:
        fetch(folder)
    assert str(odd) in str(caught.value)
    assert fetch(folder, exclude=("unet/odd.bin",)).left_out == ("unet/odd.bin",)


def test_a_device_is_an_error(folder: Path) -> None:
    (folder / "null").symlink_to(folder.parent / "null")
    try:
        os.mknod(folder / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device needs privileges")
    with pytest.raises(SourceError, match="is a device"):
        fetch(folder, exclude=("null",))


def test_a_name_that_is_not_utf8_is_an_error(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.bin")).write_text("x")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(SourceError, match=r"not UTF-8") as caught:
        fetch(folder)
    assert str(caught.value).isprintable()
    assert len(fetch(folder, exclude=("bad*",)).left_out) == 1


@pytest.fixture
def unprivileged(folder: Path) -> Iterator[Path]:
    """``folder`` somewhere that everybody reaches, and this process without the right to read everything."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        shutil.copytree(folder, Path(place, "model"))
        if os.getuid() != 0:
            yield Path(place, "model")
            return
        os.setresuid(65534, 65534, 0)
        try:
            yield Path(place, "model")
        finally:
            os.setresuid(0, 0, 0)


def forbid(path: Path) -> None:
    """Take away all rights, with the rights of the owner."""
    mine = os.getresuid()
    if mine[2] == 0:
        os.setresuid(0, 0, 0)
    path.chmod(0)
    if mine[2] == 0:
        os.setresuid(*mine)


def test_an_unreadable_file_is_an_error_that_names_it(unprivileged: Path) -> None:
    forbid(unprivileged / "config.json")
    with pytest.raises(SourceError, match=r"config\.json cannot be read: permission denied"):
        fetch(unprivileged)
    assert fetch(unprivileged, exclude=("config.json",)).left_out == ("config.json",)
    with pytest.raises(SourceError, match="permission denied"):
        FileSource(unprivileged / "config.json").fetch(Selection(), Silent())


def test_an_unreadable_folder_is_an_error_that_names_it(unprivileged: Path) -> None:
    forbid(unprivileged / "unet" / "deep")
    with pytest.raises(SourceError, match=r"unet/deep cannot be read: permission denied"):
        fetch(unprivileged)
    assert fetch(unprivileged, exclude=("unet/deep/",)).left_out == ("unet/deep/",)
    forbid(unprivileged)
    with pytest.raises(SourceError, match="permission denied"):
        fetch(unprivileged)


def test_strangers_are_not_missed_in_a_folder_that_cannot_be_read(unprivileged: Path) -> None:
    assert strangers(unprivileged, ["config.json"]) == ["unet/deep/a.txt", "unet/weights.bin"]
    forbid(unprivileged / "unet" / "deep")
    with pytest.raises(SourceError, match=r"unet/deep cannot be read"):
        strangers(unprivileged, ["config.json"])


def test_a_single_file_is_taken_where_it_lies(folder: Path) -> None:
    fetched = FileSource(folder / "config.json", "./config.json").fetch(Selection(), Silent())
    assert (fetched.kind, fetched.target, fetched.root) == (SourceKind.FILE, "./config.json", folder)
    assert [(file.path, file.location, file.size) for file in fetched.files] == [
        ("config.json", folder / "config.json", 2)
    ]


def test_a_linked_file_that_was_named_is_followed(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    fetched = FileSource(folder / "unet" / "weights.bin").fetch(Selection(), Silent())
    assert fetched.files[0].size == 2
    assert fetched.files[0].path == "weights.bin"


def test_what_is_no_single_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name, message in (("unet", "is a folder"), ("pipe", "is a named pipe"), ("nothing", "no such file")):
        with pytest.raises(SourceError, match=message):
            FileSource(folder / name).fetch(Selection(), Silent())
    with pytest.raises(SourceError, match="no files are left"):
        FileSource(folder / "config.json").fetch(Selection(include=("*.bin",)), Silent())
    with pytest.raises(SourceError, match="not a path"):
        FileSource(folder / "a\0b").fetch(Selection(), Silent())


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", ".git", ".cache")
)


@given(st.dictionaries(NAMES, st.binary(max_size=4), min_size=1, max_size=6))
def test_every_file_is_listed_once_under_its_own_name(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            Path(place, name).write_bytes(content)
        fetched = fetch(Path(place))
        assert paths(fetched) == sorted(path.name for path in Path(place).iterdir())
        assert all(file.location.read_bytes() == files[file.path] for file in fetched.files if file.path in files)
