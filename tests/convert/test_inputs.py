"""Inputs beside the ordinary checkpoint: deflated entries, arrays of numpy, archives of other times."""

import io
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from checkpoint_builder import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from pickle_builder import dct, number, storage, stream, tensor, text
from safetensors import safe_open
from zip_builder import Member, archive, checkpoint

from aiverify.convert import checkpoint as planning
from aiverify.convert import gather as gathering
from aiverify.convert.checkpoint import plan
from aiverify.convert.inflate import CHUNK, inflated_parts
from aiverify.convert.plan import ConversionError, ConversionPlan, NotConvertibleError, StorageChecksumError
from aiverify.convert.writer import write_twin
from aiverify.formats.checkpoint import Inflated, StorageRange
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent


def planned(path: Path) -> ConversionPlan:
    found = examine(path, path.name, ScanOptions()).checkpoint
    assert found is not None
    return plan(
        found.graph.root, found.graph, found.storages, byteorder=found.byteorder, source_size=path.stat().st_size
    )


def refused(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        write_twin(path, planned(path), path.with_name("twin"), Silent())
    assert not path.with_name("twin").exists()
    return str(caught.value)


# Deflated entries


def deflated(data: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(data) + machine.flush()


def state(numel: int) -> bytes:
    """A pickle with one tensor of 2 x 2 at the beginning of a storage of ``numel`` floats."""
    return stream(dct((text("w"), tensor(storage(size=numel)))))


def deflated_file(tmp_path: Path, member: Member, numel: int = 4) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(*checkpoint(state(numel)), member))
    return path


def entry(data: bytes, stored: bytes | None = None, **lies) -> Member:
    """A deflated entry whose compressed bytes may be ``stored`` instead of the true ones."""
    raw = deflated(data) if stored is None else stored
    facts = {"method": 8, "size": len(data), "crc": zlib.crc32(data), **lies}
    return Member(name=b"archive/data/0", data=raw, local=dict(facts), central=dict(facts))


def test_a_hand_made_deflated_entry_is_inflated(tmp_path):
    data = os.urandom(16)
    path = deflated_file(tmp_path, entry(data))
    made = planned(path)
    write_twin(path, made, tmp_path / "twin", Silent())
    assert (tmp_path / "twin").read_bytes()[len(made.header) :] == data


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (entry(bytes(16), crc=7), "CRC-32"),
        (entry(bytes(16), deflated(bytes(20))), "more than the 16 bytes"),
        (entry(bytes(16), deflated(bytes(1 << 26))), "more than the 16 bytes"),
        (entry(bytes(16), deflated(bytes(12))), "inflates to 12 bytes, 16 are stated"),
        (entry(bytes(16), deflated(bytes(16)) + b"x"), "bytes follow"),
        (entry(bytes(16), deflated(os.urandom(16))[:-3]), "breaks off"),
        (entry(bytes(16), b"\xff" * 9), "data is broken"),
        (entry(bytes(16), b""), "breaks off"),
        (entry(bytes(20)), "has 20 bytes, the pickle says 16"),
        (entry(bytes(16), method=12), "compressed by method 12"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_deflated_entry_that_is_not_as_stated_is_refused(tmp_path, member, reason):
    assert reason in refused(deflated_file(tmp_path, member))


def test_a_bomb_is_refused_before_a_byte_of_it_is_inflated(tmp_path):
    numel = 1 << 26
    path = deflated_file(tmp_path, entry(bytes(4 * numel)), numel)
    tracemalloc.start()
    assert f"more than {planning.INFLATION} times its size" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_memory_does_not_grow_with_what_comes_out(tmp_path):
    numel = 1 << 23
    content = stream(dct((text("w"), whole(numel))))
    path = tmp_path / "model.pt"
    path.write_bytes(archive(*checkpoint(content), entry(bytes(4 * numel))))
    made = planned(path)
    tracemalloc.start()
    write_twin(path, made, tmp_path / "twin", Silent())
    assert tracemalloc.get_traced_memory()[1] < 4 * numel // 2
    tracemalloc.stop()
    assert (tmp_path / "twin").stat().st_size == len(made.header) + 4 * numel


def whole(numel: int) -> bytes:
    """A flat tensor over a whole storage, as opcodes."""
    from pickle_builder import call, ordered, tup

    args = (storage(size=numel), number(0), tup(number(numel)), tup(number(1)), b"\x89", ordered())
    return call("torch._utils._rebuild_tensor_v2", *args)


def in_deflated(build: GraphBuilder, length: int) -> None:
    build.storages["0"] = StorageRange(0, 1 << 20, inflated=Inflated(length, 0))
    build.size = 1 << 20


def test_inflating_again_for_every_tensor_has_an_end():
    build = GraphBuilder()
    length = 32 << 20
    held = build.storage(numel=length // 4)
    in_deflated(build, length)
    views = [build.tensor(held, index, (1,), (1,)) for index in range(100)]
    with pytest.raises(NotConvertibleError, match="inflated too often"):
        plan(build.dict({"w": views}), build.graph, build.storages, source_size=build.size)
    made = plan(build.dict({"w": views[:30]}), build.graph, build.storages, source_size=build.size)
    assert len(made.tensors) == 30


def test_a_strided_tensor_may_not_hold_too_much(monkeypatch):
    build = GraphBuilder()
    held = build.storage(numel=1 << 20)
    in_deflated(build, 4 << 20)
    root = build.dict({"w": build.tensor(held, 0, (1 << 10, 1 << 10), (1, 1 << 10))})
    assert plan(root, build.graph, build.storages, source_size=build.size).tensors[0].transform == "inflate"
    monkeypatch.setattr(planning, "MAX_HELD", (4 << 20) - 1)
    with pytest.raises(NotConvertibleError, match="strided, in a compressed entry"):
        plan(root, build.graph, build.storages, source_size=build.size)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_part_of_a_deflated_storage_is_read_exactly_or_refused(data):
    numel = data.draw(st.sampled_from([1, 5, 64, CHUNK // 4 - 1, CHUNK // 4, CHUNK // 2 + 3]))
    pattern = data.draw(st.binary(min_size=1, max_size=8))
    content = (pattern * (4 * numel))[: 4 * numel]
    raw = deflated(content)
    build = GraphBuilder()
    held = build.storage(numel=numel)
    build.storages["0"] = StorageRange(3, len(raw), inflated=Inflated(len(content), zlib.crc32(content)))
    first = data.draw(st.integers(0, numel - 1))
    count = data.draw(st.integers(1, numel - first))
    step = data.draw(st.integers(1, max(1, (numel - first) // count)))
    root = build.dict({"w": build.tensor(held, first, (count,), (step,))})
    (made,) = plan(root, build.graph, build.storages, source_size=len(raw) + 3).tensors
    broken = bytearray(b"abc" + raw)
    flip = data.draw(st.none() | st.integers(3, len(broken) - 1))
    if flip is not None:
        broken[flip] ^= data.draw(st.integers(1, 255))
    out = bytearray(made.length)

    def write(part, offset):
        out[offset : offset + len(part)] = part

    elements = [content[4 * index : 4 * index + 4] for index in range(first, first + (count - 1) * step + 1, step)]
    try:
        gathering.gather(made, lambda offset, length: bytes(broken[offset : offset + length]), write)
    except (StorageChecksumError, ConversionError):
        assert flip is not None
    else:
        assert out == b"".join(elements)


def test_parts_are_never_longer_than_a_chunk():
    content = bytes(3 * CHUNK + 8)
    raw = deflated(content)
    build = GraphBuilder()
    held = build.storage(numel=len(content) // 4)
    inflated = Inflated(len(content), zlib.crc32(content))
    build.storages["0"] = StorageRange(0, len(raw), inflated=inflated)
    root = build.dict({"w": build.tensor(held, 1, (len(content) // 4 - 1,), (1,))})
    (made,) = plan(root, build.graph, build.storages, source_size=len(raw)).tensors
    parts = inflated_parts(made, inflated, made.span, lambda offset, length: raw[offset : offset + length])
    assert [len(part) for part in parts] == [CHUNK, CHUNK, CHUNK, 4]


# Arrays of numpy


NUMBERS = [*"?bBhHiIlLefdF", ">i2", ">u4", ">i8", ">f2", ">f4", ">f8", ">c8"]


def filled(kind: str, shape=(3, 5), seed: int = 0) -> np.ndarray:
    """An array of random bits."""
    dtype = np.dtype(kind)
    numel = int(np.prod(shape, dtype=int))
    top = 2 if kind == "?" else 256
    raw = np.random.default_rng(seed).integers(0, top, numel * dtype.itemsize, dtype=np.uint8)
    return raw.tobytes() and np.frombuffer(raw.tobytes(), dtype).reshape(shape) if numel else np.empty(shape, dtype)


VARIED = {
    **{f"{index} {kind}": filled(kind, seed=index) for index, kind in enumerate(NUMBERS)},
    "turned": np.asfortranarray(filled("<f4", (7, 9, 3))),
    "turned and swapped": np.asfortranarray(filled(">f8", (7, 9))),
    "large": np.asfortranarray(filled("<f4", (300, 1100))),
    "scalar": np.array(1.5),
    "empty": np.empty((0, 3), "<i4"),
    "zeros": np.zeros(1 << 20, "<f4"),
    "layer/0/kernel": filled("<f2", (2, 2)),
}


def converted(path: Path) -> dict[str, np.ndarray]:
    made = planned(path)
    twin = path.with_name("twin")
    twin.unlink(missing_ok=True)
    write_twin(path, made, twin, Silent())
    with safe_open(twin, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.offset_keys()}
    return {**found, **{removed: found[kept] for removed, kept in made.aliases}}


def assert_same(twin: dict, expected: dict) -> None:
    assert twin.keys() == expected.keys()
    for name, array in expected.items():
        native = array.astype(array.dtype.newbyteorder("<"), order="C")
        assert (twin[name].dtype, twin[name].shape) == (native.dtype, native.shape), name
        assert twin[name].tobytes() == native.tobytes(), name


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_kind_of_array_in_an_archive_is_bit_exact(tmp_path, save):
    path = tmp_path / "weights.npz"
    save(path, **VARIED)
    with np.load(path) as loaded:
        assert_same(converted(path), dict(loaded))
    assert examine(path, path.name, ScanOptions()).findings == []


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_kind_of_array_in_a_file_is_bit_exact(tmp_path, name, version):
    path = tmp_path / "weights.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, VARIED[name], version)
    assert_same(converted(path), {"array": np.load(path)})


def test_memory_mapped_arrays_written_by_hand_are_read(tmp_path):
    made = np.lib.format.open_memmap(tmp_path / "w.npy", "w+", np.float32, (4, 6), fortran_order=True)
    made[:] = filled("<f4", (4, 6))
    made.flush()
    assert_same(converted(tmp_path / "w.npy"), {"array": np.array(made)})


REFUSED = {
    "objects": (np.array([{}], dtype=object), "no type for numpy's '|O'"),
    "text": (np.array(["a"]), "no type for numpy's '<U1'"),
    "bytes": (np.array([b"a"]), "no type for numpy's '|S1'"),
    "dates": (np.array(["2026-01-01"], "M8[D]"), "no type for numpy's '<M8[D]'"),
    "structures": (np.zeros(2, [("a", "<f4")]), "no type for numpy's"),
    "raw": (np.zeros(2, "V2"), "no type for numpy's '|V2'"),
    "longdouble": (np.zeros(2, np.longdouble), "no type for numpy's '<f16'"),
    "complex128": (np.zeros(2, complex), "no type for torch.complex128"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("whole", [True, False])
def test_arrays_that_safetensors_cannot_hold_are_refused_by_name(tmp_path, case, whole):
    array, reason = REFUSED[case]
    path = tmp_path / ("w.npy" if whole else "w.npz")
    if whole:
        np.save(path, array)
    else:
        np.savez(path, fine=np.ones(2), odd=array)
    message = refused(path)
    assert reason in message
    assert message.startswith("'array'" if whole else "'odd'")


def npz(*members: tuple[bytes, bytes]) -> bytes:
    return archive(*(Member(name=name, data=data) for name, data in members))


def npy(array: np.ndarray) -> bytes:
    raw = io.BytesIO()
    np.save(raw, array)
    return raw.getvalue()


ONE, OTHER = npy(np.ones(2)), npy(np.zeros(2))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (npz((b"w.npy", ONE), (b"w.npy", OTHER)), "stands twice"),
        (npz((b".npy", ONE)), "not a name"),
        (npz((b"a\x1b[2J.npy", ONE)), "not a name"),
        (npz((b"__metadata__.npy", ONE)), "not a name"),
    ],
)
def test_hostile_names_in_an_archive_are_refused(tmp_path, raw, reason):
    path = tmp_path / "w.npz"
    path.write_bytes(raw)
    assert reason in refused(path)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" + raw])
@pytest.mark.parametrize("whole", [True, False])
def test_an_array_that_is_not_as_its_header_says_is_no_checkpoint(tmp_path, damage, whole):
    path = tmp_path / ("w.npy" if whole else "w.npz")
    path.write_bytes(damage(ONE) if whole else npz((b"a.npy", ONE), (b"w.npy", damage(ONE))))
    examination = examine(path, path.name, ScanOptions())
    assert examination.checkpoint is None
    assert examination.unexamined


def test_a_flipped_byte_in_an_archive_stops_the_conversion(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.full(9, 1.0))
    raw = bytearray(path.read_bytes())
    raw[raw.index(np.full(9, 1.0).tobytes()) + 5] ^= 1
    path.write_bytes(raw)
    assert "CRC-32" in refused(path)


def test_arrays_are_converted_without_numpy(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **VARIED)
    program = """
import sys
sys.modules["numpy"] = sys.modules["torch"] = None
from pathlib import Path
from aiverify.convert.checkpoint import plan
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent
path = Path(sys.argv[1])
found = examine(path, path.name, ScanOptions()).checkpoint
made = plan(found.graph.root, found.graph, found.storages, source_size=path.stat().st_size)
write_twin(path, made, path.with_name("twin"), Silent())
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "w.npz"], check=True)
    with safe_open(tmp_path / "twin", framework="np") as file:
        assert set(file.offset_keys()) == set(VARIED)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_whatever_a_header_says_the_plan_stays_inside_the_file(tmp_path_factory, data):
    raw = bytearray(npy(np.asfortranarray(filled("<f4", (3, 4)))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 120))
        raw[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"0", b"9", b"b", b"f", b">", b"8", b"c", b"True", b"-", b"(", b","])
            | st.binary(max_size=2)
        )
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(raw)
    found = examine(path, path.name, ScanOptions()).checkpoint
    if found is None:
        return
    try:
        made = plan(found.graph.root, found.graph, found.storages, source_size=len(raw))
    except NotConvertibleError:
        return
    assert all(item.source_offset + item.source_length <= len(raw) for item in made.tensors)
    loaded = np.load(path)
    assert made.tensors[0].shape == loaded.shape
