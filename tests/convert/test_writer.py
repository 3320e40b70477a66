"""Writing twins from hand-made sources: exact bytes, exact digests, and nothing left behind when something is wrong."""

import hashlib
import os
import shutil
import threading
import zlib
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder
from safetensors import safe_open

from aiverify.convert import publishing, reading, writer
from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionError, ConversionPlan, SourceChangedError, StorageChecksumError
from aiverify.convert.publishing import ExistsError, new_file
from aiverify.convert.reading import Ranges, read_exactly, read_through
from aiverify.convert.writer import Known, TwinDigests, compare_twin, write_twin
from aiverify.digests.hashing import Identity
from aiverify.formats.checkpoint import StorageRange
from aiverify.progress import Silent


class Counting(Silent):
    def __init__(self) -> None:
        self.total = 0

    def advance(self, count: int) -> None:
        self.total += count


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(range(256)) * 4)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def plan_for(source: Path) -> ConversionPlan:
    """Two copied tensors that overlap, a strided one, an empty one, a scalar, with checksums as an archive has them."""
    build = GraphBuilder()
    content = source.read_bytes()
    floats, shorts = build.storage("f", numel=64), build.storage("s", "torch.ShortStorage", 100, 2)
    root = build.dict(
        {
            "whole": build.tensor(floats, 0, (8, 8), (8, 1)),
            "part": build.tensor(floats, 8, (2, 8), (8, 1)),
            "turned": build.tensor(floats, 0, (8, 8), (1, 8)),
            "short": build.tensor(shorts, 50, (50,), (1,)),
            "empty": build.tensor(shorts, 0, (0, 3), (3, 1)),
            "one": build.tensor(shorts, 3, (), ()),
        }
    )
    for key, offset, length in (("f", 100, 256), ("s", 500, 200)):
        build.storages[key] = StorageRange(offset, length, zlib.crc32(content[offset : offset + length]))
    return plan(root, build.graph, build.storages, source_size=len(content))


def expected_bytes(content: bytes) -> dict[str, bytes]:
    floats, shorts = content[100:356], content[500:700]
    cells = [floats[index : index + 4] for index in range(0, 256, 4)]
    return {
        "whole": floats,
        "part": floats[32:96],
        "turned": b"".join(cells[8 * column + row] for row in range(8) for column in range(8)),
        "short": shorts[100:],
        "empty": b"",
        "one": shorts[6:8],
    }


def test_a_twin_holds_exactly_the_bytes_of_the_source(source, folder):
    progress = Counting()
    made = plan_for(source)
    digests = write_twin(source, made, folder / "m.safetensors", progress)
    written = (folder / "m.safetensors").read_bytes()
    expected = expected_bytes(source.read_bytes())
    for tensor in made.tensors:
        start = len(made.header) + tensor.offset
        assert written[start : start + tensor.length] == expected[tensor.name], tensor.name
    assert written[: len(made.header)] == made.header
    assert digests.twin == hashlib.sha256(written).hexdigest()
    assert digests.source == hashlib.sha256(source.read_bytes()).hexdigest()
    assert digests.tensors == {name: hashlib.sha256(data).hexdigest() for name, data in expected.items()}
    assert (digests.size, progress.total) == (len(written), len(written) + source.stat().st_size)


@pytest.mark.parametrize("chunk", [1, 7, 64, 333])
def test_the_size_of_the_chunks_does_not_matter(source, folder, monkeypatch, chunk):
    before = write_twin(source, plan_for(source), folder / "a", Silent())
    monkeypatch.setattr(reading, "CHUNK", chunk)
    monkeypatch.setattr(reading, "PIECE", chunk)
    assert write_twin(source, plan_for(source), folder / "b", Silent()) == before
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_without_digests_the_bytes_are_the_same_and_nothing_is_claimed(source, folder):
    progress, made = Counting(), plan_for(source)
    write_twin(source, made, folder / "a", Silent())
    taken = write_twin(source, made, folder / "b", progress, digests=False)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    assert taken == TwinDigests(source=None, size=made.output_size, checksums=False)
    assert progress.total == made.source_size + made.output_size


def test_a_twin_that_stands_is_compared_and_gives_the_same_digests(source, folder):
    progress, made = Counting(), plan_for(source)
    written = write_twin(source, made, folder / "m", Silent())
    assert compare_twin(source, made, folder / "m", progress) == written
    assert progress.total == made.source_size + made.output_size


def test_every_single_byte_of_a_twin_is_compared(source, folder):
    made = plan_for(source)
    write_twin(source, made, folder / "m", Silent())
    content = (folder / "m").read_bytes()
    for place in range(0, len(content), 13):
        (folder / "m").write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        with pytest.raises(ExistsError):
            compare_twin(source, made, folder / "m", Silent())
    (folder / "m").write_bytes(content[:-1])
    with pytest.raises(ExistsError):
        compare_twin(source, made, folder / "m", Silent())


def test_a_source_whose_digest_is_known_is_told_by_its_identity(source, folder):
    made = plan_for(source)
    known = Known(sha256="ab" * 32, identity=Identity.of(source.stat()))
    assert write_twin(source, made, folder / "a", Silent(), known=known).source == "ab" * 32
    unhashed = Known(identity=known.identity)
    assert write_twin(source, made, folder / "b", Silent(), known=unhashed).source is None
    source.write_bytes(source.read_bytes())
    assert "since it was examined" in fails(source, made, folder / "c", SourceChangedError, known=known)


@pytest.mark.parametrize("digests", [True, False])
def test_a_twin_that_is_not_cleared_never_gets_its_name(source, folder, digests):
    class WithheldError(Exception):
        pass

    def withhold() -> None:
        assert not list(folder.iterdir())
        raise WithheldError

    with pytest.raises(WithheldError):
        write_twin(source, plan_for(source), folder / "m", Silent(), digests=digests, cleared=withhold)
    assert not list(folder.iterdir())


def test_the_library_opens_the_twin(source, folder):
    write_twin(source, plan_for(source), folder / "m.safetensors", Silent())
    with safe_open(folder / "m.safetensors", framework="numpy") as file:
        assert file.get_tensor("turned").shape == (8, 8)


def test_a_twin_gets_the_usual_rights_and_no_trace_stays(source, folder):
    write_twin(source, plan_for(source), folder / "m.safetensors", Silent())
    assert [path.name for path in folder.iterdir()] == ["m.safetensors"]
    umask = os.umask(0)
    os.umask(umask)
    assert (folder / "m.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def fails(
    source: Path, made: ConversionPlan, output: Path, error: type[BaseException] = ConversionError, **options
) -> str:
    before = sorted(output.parent.iterdir())
    with pytest.raises(error) as caught:
        write_twin(source, made, output, Silent(), **options)
    assert sorted(output.parent.iterdir()) == before
    return str(caught.value)


def test_an_existing_file_is_never_overwritten(source, folder):
    (folder / "m").write_text("mine")
    assert "exists already" in fails(source, plan_for(source), folder / "m")
    assert (folder / "m").read_text() == "mine"


def test_an_existing_file_is_noticed_before_anything_is_read(source, folder):
    (folder / "m").write_text("mine")
    progress = Counting()
    with pytest.raises(ConversionError, match="exists already"):
        write_twin(source, plan_for(source), folder / "m", progress)
    assert progress.total == 0


def test_a_link_that_leads_nowhere_is_not_overwritten_either(source, folder):
    (folder / "m").symlink_to(folder / "elsewhere")
    assert "exists already" in fails(source, plan_for(source), folder / "m")


def test_a_file_that_appears_meanwhile_is_not_overwritten(folder):
    with pytest.raises(ConversionError, match="exists already"), new_file(folder / "m"):
        (folder / "m").write_text("mine")
    assert [path.name for path in folder.iterdir()] == ["m"]
    assert (folder / "m").read_text() == "mine"


def no_links(self, target):
    raise PermissionError(1, "no links here")


def test_a_file_system_without_links_gets_its_twins_too(source, folder, monkeypatch):
    monkeypatch.setattr(publishing, "_nameless", lambda folder: None)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    write_twin(source, plan_for(source), folder / "m", Silent())
    assert [path.name for path in folder.iterdir()] == ["m"]
    assert (folder / "m").stat().st_size == plan_for(source).output_size


def test_without_links_a_file_that_appears_meanwhile_is_not_overwritten(folder, monkeypatch):
    monkeypatch.setattr(publishing, "_nameless", lambda folder: None)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    with pytest.raises(ConversionError, match="exists already"), new_file(folder / "m"):
        (folder / "m").write_text("mine")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("m", "mine")]


def test_without_links_a_failing_rename_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(publishing, "_nameless", lambda folder: None)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(Path, "replace", no_links)
    with pytest.raises(ConversionError, match="no links here"), new_file(folder / "m"):
        pass
    assert not list(folder.iterdir())


def test_another_sha256_than_expected_is_refused(source, folder):
    made = plan_for(source)
    assert "expected 00" in fails(source, made, folder / "m", SourceChangedError, known=Known(sha256="00" * 32))
    known = Known(sha256=hashlib.sha256(source.read_bytes()).hexdigest())
    write_twin(source, made, folder / "m", Silent(), known=known)


def test_a_flipped_byte_in_a_storage_is_refused_by_its_checksum(source, folder):
    made = plan_for(source)
    content = bytearray(source.read_bytes())
    content[690] ^= 1
    source.write_bytes(content)
    assert "storage 's': its CRC-32 is" in fails(source, made, folder / "m", StorageChecksumError)


def test_a_byte_that_no_tensor_uses_counts_for_the_checksum(source, folder):
    made = plan_for(source)
    content = bytearray(source.read_bytes())
    content[501] ^= 1
    source.write_bytes(content)
    fails(source, made, folder / "m", StorageChecksumError)


@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_source_of_another_size_is_refused(source, folder, change):
    made = plan_for(source)
    content = source.read_bytes()
    source.write_bytes(content[:-1] if change == "shorter" else content + b"x")
    assert "bytes, expected 1024" in fails(source, made, folder / "m", SourceChangedError)


class Meddling(Silent):
    """Does something to the source while it is being read."""

    def __init__(self, deed) -> None:
        self.deed = deed

    def advance(self, count: int) -> None:
        if self.deed:
            deed, self.deed = self.deed, None
            deed()


def test_a_source_that_changes_while_it_is_read_is_refused(source, folder):
    made = plan_for(source)

    def deed() -> None:
        with source.open("r+b") as file:
            file.write(b"\xff")

    with pytest.raises(SourceChangedError, match="was changed while it was read"):
        write_twin(source, made, folder / "m", Meddling(deed))
    assert not list(folder.iterdir())


def test_a_source_that_is_cut_off_while_it_is_read_is_refused(source, folder, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 100)
    made = plan_for(source)
    with pytest.raises(SourceChangedError, match="ends at byte"):
        write_twin(source, made, folder / "m", Meddling(lambda: os.truncate(source, 300)))
    assert not list(folder.iterdir())


def test_a_keyboard_interrupt_leaves_nothing_behind(source, folder):
    def interrupt() -> None:
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        write_twin(source, plan_for(source), folder / "m", Meddling(interrupt))
    assert not list(folder.iterdir())
    assert threading.active_count() == threads


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop"])
def test_a_source_that_is_no_file_is_refused_without_waiting(source, folder, kind):
    made = plan_for(source)
    source.unlink()
    if kind == "folder":
        source.mkdir()
    elif kind == "pipe":
        os.mkfifo(source)
    elif kind == "loop":
        source.symlink_to(source)
    message = fails(source, made, folder / "m")
    assert message.startswith(
        f"{source.name} {'is not a regular file' if kind in ('folder', 'pipe') else 'could not be'}"
    )


def test_a_source_behind_a_link_is_read_as_in_the_hub_cache(source, folder, tmp_path):
    link = tmp_path / "link.bin"
    link.symlink_to(source)
    assert write_twin(link, plan_for(source), folder / "m", Silent()).size


def test_a_full_disk_is_noticed_before_anything_is_written(source, folder, monkeypatch):
    real = os.statvfs(folder)
    fields = list(real)
    fields[4] = 1  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    assert "are free" in fails(source, plan_for(source), folder / "m")


def test_a_disk_that_fills_up_leaves_nothing_behind(source, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reading.os, "pwrite", full)
    assert "No space left" in fails(source, plan_for(source), folder / "m")


def test_a_missing_folder_is_an_error_that_names_it(source, folder):
    with pytest.raises(ConversionError, match="nowhere"):
        write_twin(source, plan_for(source), folder / "nowhere" / "m", Silent())


def test_a_folder_without_rights_is_an_error(source, folder, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    made = plan_for(source)
    monkeypatch.setattr(publishing.os, "open", denied)
    assert "Permission denied" in fails(source, made, folder / "m")


def test_a_twin_that_the_library_sees_otherwise_never_gets_its_name(source, folder, monkeypatch):
    made = plan_for(source)

    def spoil(path, plan, *, name):
        with path.open("r+b") as file:
            file.seek(8)
            file.write(made.header[8:].replace(b"F32", b"I32"))
        real(path, plan, name=name)

    real = writer.check_twin
    monkeypatch.setattr(writer, "check_twin", spoil)
    assert "sees 'part' as ['I32', [2, 8]], not ['F32', [2, 8]]" in fails(source, made, folder / "m")


def test_memory_does_not_grow_with_the_file(tmp_path, folder):
    tracemalloc = pytest.importorskip("tracemalloc")
    size = 96 << 20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    build = GraphBuilder()
    storage = build.storage(numel=size // 4)
    side = 1 << 12
    root = build.dict(
        {
            "copied": build.tensor(storage, 0, (size // 4,), (1,)),
            "turned": build.tensor(storage, 0, (side, side), (1, side)),
        }
    )
    made = plan(root, build.graph, build.storages, source_size=size)
    tracemalloc.start()
    write_twin(path, made, folder / "m", Silent())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    shutil.rmtree(folder)
    assert peak < 48 << 20


def test_every_part_of_a_range_is_seen_once_and_in_order():
    ranges = [(0, 10), (5, 3), (5, 0), (9, 20), (12, 1), (30, 5)]
    content = bytes(range(40))
    for width in (1, 3, 8, 40):
        split, seen = Ranges(ranges), {index: bytearray() for index in range(len(ranges))}
        for offset in range(0, 40, width):
            for index, done, part in split.parts(offset, memoryview(content[offset : offset + width])):
                assert done == len(seen[index])
                seen[index] += part
        assert [bytes(part) for part in seen.values()] == [content[start : start + n] for start, n in ranges]


def test_a_system_that_reads_and_writes_in_small_pieces_gets_everything(source, folder, monkeypatch):
    read, write = os.pread, os.pwrite
    monkeypatch.setattr(reading.os, "pread", lambda file, length, offset: read(file, min(length, 5), offset))
    monkeypatch.setattr(reading.os, "pwrite", lambda file, data, offset: write(file, data[:7], offset))
    digests = write_twin(source, plan_for(source), folder / "m", Silent())
    expected = expected_bytes(source.read_bytes())
    assert digests.tensors == {name: hashlib.sha256(data).hexdigest() for name, data in expected.items()}


def test_an_error_in_one_consumer_ends_the_pass(source):
    def broken(offset: int, chunk: memoryview) -> None:
        raise ValueError("broken")

    with source.open("rb") as file, pytest.raises(ValueError, match="broken"):
        read_through(file.fileno(), 1024, [lambda offset, chunk: None, broken], Silent())


def test_reading_past_the_end_is_an_error(source):
    with source.open("rb") as file:
        assert read_exactly(file.fileno(), 1000, 24) == source.read_bytes()[1000:]
        with pytest.raises(SourceChangedError):
            read_exactly(file.fileno(), 1000, 25)
