"""Runs that were stopped: what is there is whole, and the next run completes it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import PACKAGE_HOME, SAMPLES, files_below, sample

from aiverify import api
from aiverify.convert import kernel, publishing, stage, writer
from aiverify.convert.plan import ConversionError, SourceChangedError
from aiverify.progress import Silent

POINTS = 12
# Converts argv[1] into argv[2] and kills itself at the argv[3]-th thing that the convert stage does to the system.
# With 0 it lives, and says how many things there were.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from aiverify import api
from aiverify.progress import Silent

class Watcher(Silent):
    on = False
    count = 0
    def stage(self, name, total=None):
        self.on = name == "convert"

watcher = Watcher()

def hook(event, arguments):
    if watcher.on and event in ("open", "os.link", "os.mkdir", "os.truncate", "subprocess.Popen", "os.rename"):
        watcher.count += 1
        if watcher.count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
report = api.convert(Path(sys.argv[1]), Path(sys.argv[2]), with_config=True, progress=watcher)
print(watcher.count, report.verdict.outcome)
"""


def child(output: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SAMPLES / "checkpoint"), str(output), str(kill_at)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_HOME)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """What an undisturbed run leaves, and how many things it does."""
    output = tmp_path_factory.mktemp("whole") / "out"
    done = child(output, 0)
    count, outcome = done.stdout.split()
    assert outcome == "pass"
    return files_below(output), int(count)


@pytest.mark.parametrize("point", range(POINTS))
def test_a_run_that_is_killed_leaves_only_whole_files_and_the_next_one_completes_it(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], point: int
) -> None:
    expected, count = whole
    assert count > POINTS
    done = child(tmp_path / "out", 1 + point * (count - 1) // (POINTS - 1))
    assert done.returncode == -signal.SIGKILL
    left = files_below(tmp_path / "out") if (tmp_path / "out").exists() else {}
    assert left.items() <= expected.items()
    assert point == 0 or point < POINTS - 1 or left
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", with_config=True)
    assert files_below(tmp_path / "out") == expected


def test_a_finished_shard_is_read_but_not_written_again(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = whole
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", with_config=True)
    first = "model-00001-of-00002.safetensors"
    for name in expected:
        if not name.startswith(first):
            (tmp_path / "out" / name).unlink()
    before = (tmp_path / "out" / first).stat()
    written = []
    real = stage.write_twin
    monkeypatch.setattr(stage, "write_twin", lambda *args, **options: written.append(args[2]) or real(*args, **options))
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", with_config=True)
    assert [path.name for path in written] == ["model-00002-of-00002.safetensors"]
    after = (tmp_path / "out" / first).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert files_below(tmp_path / "out") == expected


@pytest.mark.parametrize("place", [0, 8, 60, -1])
def test_a_twin_that_differs_in_one_byte_is_neither_kept_nor_replaced(tmp_path: Path, place: int) -> None:
    api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    twin = tmp_path / "out" / "model-00002-of-00002.safetensors"
    content = bytearray(twin.read_bytes())
    content[place] ^= 1
    twin.write_bytes(content)
    (tmp_path / "out" / "model-00001-of-00002.safetensors.receipt.json").unlink()
    before = files_below(tmp_path / "out")
    with pytest.raises(ConversionError, match=r"model-00002-of-00002\.safetensors exists already"):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    assert files_below(tmp_path / "out") == before


@pytest.mark.parametrize("missing", ["", ".receipt.json"])
@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00002.safetensors.receipt.json",
        "model.safetensors.index.json",
        "model.safetensors.index.json.receipt.json",
    ],
)
def test_a_receipt_or_an_index_that_differs_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, missing: str
) -> None:
    api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    for left in (tmp_path / "out").glob(f"model-00002-of-00002.safetensors{missing or '*'}"):
        left.unlink()
    before = files_below(tmp_path / "out")
    with pytest.raises(ConversionError, match=f"{name} exists already"):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    assert files_below(tmp_path / "out") == before


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_stands_in_the_place_of_a_twin_and_is_no_file_is_refused_without_waiting(
    tmp_path: Path, kind: str
) -> None:
    api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    twin = tmp_path / "out" / "model-00002-of-00002.safetensors"
    if kind == "link":
        twin.rename(tmp_path / "elsewhere")
        twin.symlink_to(tmp_path / "elsewhere")
    else:
        twin.unlink()
        twin.mkdir() if kind == "folder" else os.mkfifo(twin)
    with pytest.raises(ConversionError, match="exists already"):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")


def test_a_folder_in_the_output_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    sample("checkpoint", tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "checkpoint").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConversionError, match="is a link"):
        api.convert(tmp_path / "model", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def fails_at_the_second(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    real, calls = stage.write_twin, []

    def write(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(stage, "write_twin", write)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConversionError("the disk is full")])
def test_what_is_finished_stays_when_a_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patched:
        fails_at_the_second(patched, error)
        with pytest.raises(type(error)):
            api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    first = "model-00001-of-00002.safetensors"
    assert set(files_below(tmp_path / "out")) == {first, f"{first}.receipt.json"}
    assert api.convert(SAMPLES / "checkpoint", tmp_path / "out").verdict.outcome == "pass"


def test_everything_is_taken_back_when_the_source_is_no_longer_what_was_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_at_the_second(monkeypatch, SourceChangedError("changed"))
    with pytest.raises(SourceChangedError):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_files_that_have_no_name_the_twins_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[dict[str, bytes], int]
) -> None:
    monkeypatch.setattr(publishing, "_nameless", lambda folder: None)
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", with_config=True)
    assert files_below(tmp_path / "out") == whole[0]


@pytest.mark.parametrize("lacking", [[], ["copy_file_range"], ["copy_file_range", "sendfile"]])
def test_without_digests_the_system_copies_the_same_bytes_by_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: list[str], whole: tuple[dict[str, bytes], int]
) -> None:
    def unable(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    for name in lacking:
        monkeypatch.setattr(kernel.os, name, unable)
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", digests=False)
    twins = {name: content for name, content in files_below(tmp_path / "out").items() if name.endswith(".safetensors")}
    assert len(twins) == 2
    assert twins.items() <= whole[0].items()


def test_a_run_with_other_options_does_not_keep_the_receipts_of_the_first(tmp_path: Path) -> None:
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", digests=False)
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", digests=False)
    with pytest.raises(ConversionError, match=r"receipt\.json exists already"):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")


def test_too_little_space_for_all_of_them_is_noticed_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = list(os.statvfs(tmp_path))
    fields[1], fields[4] = 1, (1 << 20) + 100_000  # f_frsize, f_bavail: room for one shard
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    with pytest.raises(ConversionError, match="are free"):
        api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_source_is_not_hashed_again_when_it_is_the_file_that_was_digested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = writer._pass

    def watched(*args, **named):
        taken = real(*args, **named)
        seen.append(taken.source)
        return taken

    monkeypatch.setattr(writer, "_pass", watched)
    report = api.convert(SAMPLES / "checkpoint", tmp_path / "out", progress=Silent())
    assert seen == [None, None]
    stated = {file.path: file.sha256 for file in report.artifact.files}
    for conversion in report.conversions:
        record = json.loads((tmp_path / "out" / conversion.receipt).read_bytes())
        content = (SAMPLES / "checkpoint" / conversion.source).read_bytes()
        assert record["predicate"]["source"]["sha256"] == stated[conversion.source]
        assert stated[conversion.source] == hashlib.sha256(content).hexdigest()
