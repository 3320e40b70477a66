"""Attacks that once passed, and were found by looking for them."""

import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest
from attacks.expressions import STYLES, State, do, name, new, write

from aiverify.api import scan
from aiverify.formats.tar import begins_like_tar
from aiverify.report import Outcome


@pytest.mark.parametrize("place", [".git", ".cache/huggingface", ".."])
def test_an_index_that_names_a_file_which_is_not_examined_does_not_pass(place, tmp_path):
    model = tmp_path / "model"
    shard = model / place / "shard.bin"
    model.mkdir()
    shard.parent.mkdir(parents=True, exist_ok=True)
    shard.write_bytes(b"\x80\x02cos\nsystem\n(Vtrue\ntR.")
    index = {"metadata": {}, "weight_map": {"w": f"{place}/shard.bin"}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (model / "other.bin").write_bytes(b"\x80\x02}.")
    assert scan(model, engines=()).verdict.outcome is not Outcome.PASS


def test_a_module_that_makes_names_without_end_does_not_pass(loading, tmp_path):
    state = {"num_layers": 1 << 50, "_all_weights": [[1]], "bidirectional": False, "bias": True, "proj_size": 0}
    file = tmp_path / "a.pkl"
    file.write_bytes(write(State(new("torch.nn.modules.rnn.LSTM"), state), STYLES["4"]))
    became = loading[True].prove(file=str(file), loader="pickle", marker=str(tmp_path / "1000"), proof="dies")
    assert became != "ran" or scan(file, engines=()).verdict.outcome is not Outcome.PASS


def marked(loading, file, loader: str, marker) -> str:
    return loading[True].prove(file=str(file), loader=loader, marker=str(marker), proof="exists")


def touching(marker) -> bytes:
    return write(do("os.mkdir", str(marker)), STYLES["2"])


def header(name: bytes, size: int) -> bytes:
    """The header of a member of a tar archive under a name of any bytes."""
    info = tarfile.TarInfo()
    info.size = size
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[:100] = name.ljust(100, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tar_of(first: bytes, members: dict[str, bytes]) -> bytes:
    parts = [header(first, 0)]
    for member, content in members.items():
        parts += [header(member.encode(), len(content)), content, bytes(-len(content) % 512)]
    return b"".join((*parts, bytes(1024)))


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (b"\x80\x03", b"."),
        (
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02",
            b".\x80\x02}.\x80\x02].",
        ),
    ],
    ids=["a pickle", "a checkpoint of old"],
)
def test_an_archive_that_torch_tries_first_inside_of_a_pickle_does_not_pass(begin, end, loading, tmp_path):
    marker, file = tmp_path / "1000", tmp_path / "a.pt"
    nothing = pickle.dumps(0, 2)
    members = {
        "storages": nothing + pickle.dumps([], 2),
        "tensors": nothing,
        "sys_info": pickle.dumps({}, 2),
        "pickle": touching(marker),
    }
    length = len(tar_of(b"", members)) - len(begin) - 5
    file.write_bytes(tar_of(begin + b"B" + struct.pack("<I", length), members) + end)
    assert marked(loading, file, "torch", marker) == "ran"
    assert scan(file, engines=()).verdict.outcome is Outcome.BLOCK


def test_a_checksum_that_only_python_reads_still_makes_an_archive():
    block = bytearray(header(b"\x80\x03N.", 0))
    total = int(bytes(block[148:154]), 8)
    for written in (b"0o%06o" % total, b"+%07o" % total, b" 0_%05o" % total):
        assert tarfile.TarInfo.frombuf(bytes(block[:148]) + written + bytes(block[156:]), "utf-8", "surrogateescape")
        assert begins_like_tar(bytes(block[:148]) + written + bytes(block[156:])), written


def test_a_file_of_tensors_that_is_a_pickle_besides_does_not_pass(loading, tmp_path):
    """Its length looks like the beginning of a pickle, its header like opcodes."""
    marker, file = tmp_path / "1000", tmp_path / "weights"
    length = 0x470480
    words = ["multiprocessing.popen_spawn_posix", "os.path.os.path.os.path.os.mkdir", "./" * 16 + marker.name]
    first, second, third = (f"U{chr(len(word))}{word}" for word in words)
    payload = f"{first}{second}q\u0093{third}q\u0085R."
    hidden = '":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"x":"--'
    text = f'{{"aU{chr(len(hidden))}{hidden}{payload}"}}}}'.encode()
    file.write_bytes(struct.pack("<Q", length) + text.ljust(length) + b"\0")
    assert marked(loading, file, "pickle", marker) == "ran"
    assert scan(file, engines=()).verdict.outcome is Outcome.BLOCK


def test_an_archive_that_fills_a_pickle_from_its_first_byte_does_not_pass(tmp_path):
    """Readers that look for an archive from the end take the whole file for one."""
    packed = io.BytesIO(b"\x80\x04B\0\0\0\0")
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04N.")
        archive.comment = b"."
    data = bytearray(packed.getvalue())
    struct.pack_into("<I", data, 3, len(data) - 8)
    file = tmp_path / "a.pt"
    file.write_bytes(data)
    assert pickle.loads(data)  # nothing but bytes
    assert scan(file, engines=()).verdict.outcome is Outcome.BLOCK


def test_an_archive_as_a_value_of_a_pickle_passes(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", b"text")
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(packed.getvalue()))
    assert scan(file, engines=()).verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("through", ["copyreg.__newobj__", "copyreg.__newobj_ex__"])
def test_an_array_wrapper_that_another_function_makes_does_not_pass(through, loading, tmp_path):
    """joblib unpickles anew what follows it: the same bytes name something else there."""
    marker, file = tmp_path / "1000", tmp_path / "a.joblib"
    wrapper = name("joblib.numpy_pickle.NumpyArrayWrapper")
    arguments = (wrapper,) if through.endswith("obj__") else (wrapper, (), {})
    objects = State(do("numpy.dtype", "O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    state = {"subclass": name("numpy.ndarray"), "shape": (1,), "order": "C", "dtype": objects, "allow_mmap": False}
    made = write(State(do(through, *arguments), state), STYLES["GLOBAL"])[2:-1]
    text = [b"\x8c" + bytes((len(part),)) + part for part in (b"decimal", b"Decimal", b"os", b"mkdir")]
    inside = b"(%s\x94%s\x94h\x00h\x01\x93\x8c%c%s\x85R0" % (*text[2:], len(str(marker)), str(marker).encode())
    file.write_bytes(b"\x80\x04%s\x94%s\x9400" % (text[0], text[1]) + made + inside + b"1.")
    assert marked(loading, file, "joblib", marker) == "ran"
    assert scan(file, engines=()).verdict.outcome is not Outcome.PASS


def integers(*numbers: int) -> State:
    return array_of(State(do("numpy.dtype", "i8", False, True), (3, "<", None, None, None, -1, -1, 0)), numbers)


def array_of(element: object, numbers: tuple[int, ...]) -> State:
    made = do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b")
    return State(made, (1, (len(numbers),), element, False, struct.pack(f"<{len(numbers)}q", *numbers)))


def killed(tmp_path, expression) -> bool:
    """Whether the process dies that loads ``expression`` and prints it; its file must not pass."""
    file = tmp_path / "a.pkl"
    file.write_bytes(write(expression, STYLES["4"]))
    assert scan(file, engines=()).verdict.outcome is not Outcome.PASS
    script = "import pickle, sys; print(repr(pickle.load(open(sys.argv[1], 'rb'))))"
    return subprocess.run([sys.executable, "-c", script, str(file)], check=False, capture_output=True).returncode < 0


def test_an_array_in_which_a_number_becomes_a_pointer_does_not_pass(tmp_path):
    objects = State(do("numpy.dtype", "O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    whole = State(do("numpy.dtype", "i8", False, True), (3, "<", None, None, None, -1, -1, 0))
    fields = {"a": (whole, 0), "b": (objects, 0)}
    element = State(do("numpy.dtype", "V8", False, True), (3, "|", None, ("a", "b"), fields, 8, 1, 27))
    made = do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b")
    assert killed(tmp_path, State(made, (1, (1,), element, False, [(0x4141414141, "x")])))


def labels(count: int) -> object:
    values = {"start": 0, "stop": count, "step": 1}
    return do("pandas.core.indexes.base._new_Index", name("pandas.RangeIndex"), values)


def test_a_frame_that_writes_outside_of_itself_does_not_pass(tmp_path):
    floats = State(do("numpy.dtype", "f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    made = do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b")
    values = State(made, (1, (2, 1), floats, False, bytes(16)))
    place = do("builtins.slice", 1 << 40, (1 << 40) + 2, 1)
    block = do("pandas._libs.internals._unpickle_block", values, place, 2)
    manager = do("pandas.core.internals.managers.BlockManager", (block,), [labels(2), labels(1)])
    state = {
        "_mgr": manager,
        "_typ": "dataframe",
        "_metadata": [],
        "attrs": {},
        "_flags": {"allows_duplicate_labels": True},
    }
    assert killed(tmp_path, State(new("pandas.DataFrame"), state))


def test_labels_that_lie_outside_of_their_index_do_not_pass(tmp_path):
    objects = State(do("numpy.dtype", "O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    made = do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b")
    many = 40_000  # of fewer labels, pandas keeps the codes in fewer bytes, which point to nearby
    texts = {"data": State(made, (1, (many,), objects, False, ["a"] * many)), "name": None}
    level = do("pandas.core.indexes.base._new_Index", name("pandas.Index"), texts)
    values = {"levels": [level], "codes": [integers(2_000_000_000, 1)], "names": [None], "sortorder": None}
    assert killed(tmp_path, do("pandas.core.indexes.base._new_Index", name("pandas.MultiIndex"), values))


def test_an_estimator_that_deletes_a_file_when_it_predicts_does_not_pass(tmp_path):
    victim, file = tmp_path / "victim", tmp_path / "a.pkl"
    victim.touch()
    state = {"estimators_": [do("pathlib.PosixPath", str(victim))], "stack_method_": ["unlink"], "passthrough": False}
    file.write_bytes(write(State(new("sklearn.ensemble._stacking.StackingClassifier"), state), STYLES["4"]))
    assert scan(file, engines=()).verdict.outcome is not Outcome.PASS
    script = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')).transform([[1.0]])"
    subprocess.run([sys.executable, "-c", script, str(file)], check=False, capture_output=True)
    assert not victim.exists()
