"""What an attacker may try on the way to a twin: refused with the reason, and nothing is written."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pickle_builder as b
import pytest
from zip_builder import Member, archive, checkpoint

from aiverify import api
from aiverify.convert.checkpoint import plan
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent
from aiverify.report import Outcome

BYTES = bytes(range(64))


def view(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, numel: int = 16) -> bytes:
    numbers = (b.tup(*map(b.number, size)), b.tup(*map(b.number, stride)))
    held = b.storage(size=numel)
    return b.call("torch._utils._rebuild_tensor_v2", held, b.number(offset), *numbers, b"\x89", b.ordered())


def state(tensor: bytes, name: str = "w") -> bytes:
    return b.stream(b.dct((b.text(name), tensor)))


def file(tensor: bytes, *more: Member, name: str = "w", held: bytes = BYTES) -> bytes:
    return archive(*checkpoint(state(tensor, name), storages={"0": held}), *more)


PLAIN = view((16,), (1,))
STORAGE = b"archive/data/0"


def overlapping() -> bytes:
    """The data of one entry is the whole of another one."""
    members = checkpoint(state(PLAIN), storages={"0": BYTES})
    inner = archive(Member(name=b"archive/data/1", data=BYTES))
    outer = Member(name=b"archive/data/2", data=inner)
    raw = archive(*members, outer)
    place = raw.index(inner)
    return archive(*members, outer, Member(name=b"archive/data/1", data=BYTES, central={"header": place}))


ATTACKS = {
    "a tensor larger than its storage": (file(view((17,), (1,))), "reaches beyond its storage"),
    "a tensor behind its storage": (file(view((1,), (1,), 16)), "reaches beyond its storage"),
    "strides out of the storage": (file(view((2, 2), (15, 1))), "reaches beyond its storage"),
    "a size that overflows": (file(view((1 << 62, 1 << 62), (0, 0))), "overflows"),
    "a storage shorter than stated": (file(PLAIN, held=BYTES[:60]), "has 60 bytes, the pickle says 64"),
    "a storage longer than stated": (file(PLAIN, held=BYTES + b"x"), "has 65 bytes, the pickle says 64"),
    "a storage that is missing": (archive(*checkpoint(state(PLAIN))), "it is not in the file"),
    "a bomb of stride zero": (file(view((1 << 20, 1 << 10), (0, 0))), "bytes of data"),
    "a name of control characters": (file(PLAIN, name="w\x1b[2J"), "not a name that a tensor may have"),
    "the name of the metadata": (file(PLAIN, name="__metadata__"), "not a name that a tensor may have"),
    "an entry that stands twice": (file(PLAIN, Member(name=STORAGE, data=bytes(64))), "stands twice|AIV402"),
    "a shadowed entry": (file(PLAIN, Member(name=b"archive/DATA/0", data=bytes(64))), "one name to PyTorch|AIV402"),
    "a shadowed pickle": (file(PLAIN, Member(name=b"archive/data.PKL", data=state(PLAIN))), "AIV313|AIV402"),
    "entries that overlap": (overlapping(), "overlaps|AIV402"),
    "another length in the local header": (
        file(PLAIN, Member(name=b"archive/data/1", data=BYTES, local={"size": 32})),
        "AIV402",
    ),
}


def refused(model: Path, output: Path, reason: str) -> None:
    import re

    report = api.convert(model, output)
    said = [*report.verdict.reasons, *(f"{item.message} ({item.rule})" for item in report.findings)]
    assert report.verdict.outcome is not Outcome.PASS
    assert any(re.search(reason, text) for text in said), said
    assert not output.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_nothing_is_written(tmp_path, attack):
    raw, reason = ATTACKS[attack]
    model = tmp_path / "model"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(raw)
    refused(model, tmp_path / "out", reason)


@pytest.mark.parametrize("shard", ["../x.bin", "/etc/passwd", "a/../../x.bin", "..\\x.bin", "C:x.bin"])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path, shard):
    model = tmp_path / "model"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(file(PLAIN))
    index = {"metadata": {"total_size": 64}, "weight_map": {"w": shard}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    refused(model, tmp_path / "out", "where files are not examined")


class _Meddler(Silent):
    """Changes a file as soon as the conversion begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage(self, name: str, total: int | None = None) -> None:
        if name == "convert":
            raw = self.path.read_bytes()
            self.path.write_bytes(raw.replace(BYTES, BYTES[::-1]))


def test_a_source_that_changes_under_the_conversion_gives_no_twin(tmp_path):
    from aiverify.errors import AiverifyError

    path = tmp_path / "model.bin"
    path.write_bytes(file(PLAIN))
    try:
        outcome = api.convert(path, tmp_path / "out", progress=_Meddler(path)).verdict.outcome
    except AiverifyError:
        outcome = Outcome.ERROR
    assert outcome in (Outcome.ERROR, Outcome.BLOCK)
    assert not list(tmp_path.glob("out/*"))


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
from pathlib import Path
from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import NotConvertibleError
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
found = examine(Path(sys.argv[1]), "model.bin", ScanOptions())
if found.checkpoint is None:
    print(found.unexamined[0].reason)
    sys.exit()
graph = found.checkpoint.graph
try:
    plan(graph.root, graph, found.checkpoint.storages, source_size=Path(sys.argv[1]).stat().st_size)
except NotConvertibleError as error:
    print(error)
"""


def test_a_million_tensors_too_many_are_refused_in_bounded_time_and_memory(tmp_path):
    """Every name stands for the same tensor, which is the cheapest way to write so many."""
    keys = b"".join(b"\x8c\x07%07dh\x00" % number for number in range(1_000_001))
    pickle = b"\x80\x04" + PLAIN + b"q\x000}(" + keys + b"u."
    path = tmp_path / "model.bin"
    path.write_bytes(archive(*checkpoint(pickle, storages={"0": BYTES})))
    program = [sys.executable, "-c", MANY, str(path)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True)
    assert "more than 1000000 entries" in ran.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20


FAR = (4 << 30) + 4096


def test_entries_beyond_four_gigabytes_are_found_and_copied(tmp_path):
    """The file has a hole instead of the bytes of a storage that no tensor needs."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(
            "archive/data.pkl", b.stream(b.dct((b.text("w"), tensor_on("1")), (b.text("t"), strided_on("1"))))
        )
        hole = zipfile.ZipInfo("archive/data/0")
        hole.file_size = hole.compress_size = FAR
        hole.CRC = 0
        hole.header_offset = made.fp.tell()
        made.fp.write(hole.FileHeader(zip64=True))
        made.fp.seek(FAR, 1)
        made.filelist.append(hole)
        made.NameToInfo[hole.filename] = hole
        made.start_dir = made.fp.tell()
        made.writestr("archive/byteorder", b"little")
        made.writestr("archive/data/1", BYTES)
        made.writestr("archive/version", b"3\n")
    assert path.stat().st_size > FAR
    assert path.stat().st_blocks * 512 < 1 << 20
    found = examine(path, path.name, ScanOptions())
    assert (found.findings, found.unexamined) == ([], [])
    assert found.checkpoint is not None
    made_plan = plan(
        found.checkpoint.graph.root,
        found.checkpoint.graph,
        found.checkpoint.storages,
        source_size=path.stat().st_size,
    )
    assert all(tensor.source_offset > 1 << 32 for tensor in made_plan.tensors)
    write_twin(path, made_plan, tmp_path / "twin", Silent(), digests=False)
    data = (tmp_path / "twin").read_bytes()[len(made_plan.header) :]
    numbers = struct.unpack("<16f", BYTES)
    held = {t.name: struct.unpack_from("<16f", data, t.offset) for t in made_plan.tensors}
    assert held["w"] == numbers
    assert held["t"] == tuple(numbers[4 * row + column] for column in range(4) for row in range(4))
    torch = pytest.importorskip("torch")
    loaded = torch.load(path, mmap=True, weights_only=True)
    assert tuple(loaded["w"].tolist()) == held["w"]
    assert zlib.crc32(BYTES) == found.checkpoint.storages["1"].crc32


def tensor_on(key: str) -> bytes:
    held = b.storage(key=key, size=16)
    return b.call(
        "torch._utils._rebuild_tensor_v2",
        held,
        b.number(0),
        b.tup(b.number(16)),
        b.tup(b.number(1)),
        b"\x89",
        b.ordered(),
    )


def strided_on(key: str) -> bytes:
    held = b.storage(key=key, size=16)
    sizes = (b.tup(b.number(4), b.number(4)), b.tup(b.number(1), b.number(4)))
    return b.call("torch._utils._rebuild_tensor_v2", held, b.number(0), *sizes, b"\x89", b.ordered())
