"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aiverify.files import WriteError, cache_folder, read_at_most, read_pem, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_content_and_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "report.json", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o640
    assert names(tmp_path) == ["report.json"]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), b"content")
    assert names(tmp_path) == ["x" * 255]


def test_an_old_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old and longer")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"old and longer"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["nowhere/report.json", "folder", "", "x" * 300, "file/report.json"])
def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"here")
    with pytest.raises(WriteError):
        write_whole(tmp_path / name, b"content")
    assert names(tmp_path) == ["file", "folder"]
    assert not names(tmp_path / "folder")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old")
    call = f"write_whole(Path({str(path)!r}), bytes(9999))"
    code = f"from pathlib import Path; from aiverify.files import write_whole; {call}"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert "WriteError" in run.stderr
    assert "File too large" in run.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["report.json"]


def test_a_link_stays_a_link_and_its_end_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.json").symlink_to(Path("elsewhere", "report.json"))
    for content in (b"first", b"second"):
        write_whole(tmp_path / "link.json", content)
        assert (tmp_path / "elsewhere" / "report.json").read_bytes() == content
    assert (tmp_path / "link.json").is_symlink()
    assert names(tmp_path) == ["elsewhere", "link.json"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, b"content")
    reader.join(10)
    assert received == [b"content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_user_without_a_home_has_a_cache_in_which_nothing_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OSError, match="Not a directory"):
        cache_folder().mkdir(parents=True)


def test_a_pipe_that_nobody_writes_to_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="nobody writes to"):
        read_at_most(tmp_path / "pipe", 10)


def test_a_pipe_is_read_to_its_end_as_slowly_as_somebody_writes_to_it() -> None:
    # What <(command) is in a shell.
    code = "import time; print('first', flush=True); time.sleep(0.3); print('second')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert read_at_most(Path(f"/dev/fd/{writer.stdout.fileno()}"), 100) == b"first\nsecond\n"


def test_of_a_file_without_end_no_more_is_read_than_tells_that_it_is_too_long() -> None:
    assert read_at_most(Path("/dev/zero"), 10) == bytes(11)
    with pytest.raises(ValueError, match="more than"):
        read_pem(Path("/dev/zero"))
