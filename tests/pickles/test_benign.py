"""What the real libraries write gives no finding at all."""

import argparse
import collections
import datetime
import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch

from aiverify.pickles.judge import judge
from aiverify.pickles.machine import interpret

PROTOCOLS = range(6)


def silent(stream: bytes, *, storages: bool = False) -> None:
    graph = interpret(stream)
    assert graph.failure is None
    assert graph.anomalies == []
    assert [item.message for item in judge(graph, file="f", storages=storages)] == []


def saved(content, **options) -> bytes:
    """The pickle inside of what torch.save writes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, file, **options)
    with zipfile.ZipFile(file) as archive:
        return archive.read("archive/data.pkl")


DTYPES = [value for value in vars(torch).values() if isinstance(value, torch.dtype)]


def empty(dtype: torch.dtype) -> torch.Tensor | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.empty(2, 3, dtype=dtype)
        except (RuntimeError, TypeError):
            return None


@pytest.mark.parametrize("dtype", sorted(set(map(str, DTYPES))))
def test_a_tensor_of_any_element_type_that_can_be_saved_is_silent(dtype):
    tensor = empty(getattr(torch, dtype.removeprefix("torch.")))
    if tensor is None:
        pytest.skip("torch makes no plain tensor of this type")
    try:
        stream = saved({"w": tensor})
    except (RuntimeError, AttributeError, KeyError) as error:
        pytest.skip(f"torch does not save it: {error}")
    silent(stream, storages=True)


def state_dict():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 2))
    return model.state_dict()


def with_attribute():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "kept"
    return parameter


def conjugate():
    return torch.ones(2, dtype=torch.complex64).conj()


CHECKPOINTS = {
    "state dict": state_dict,
    "parameter": lambda: {"p": torch.nn.Parameter(torch.ones(2, 2))},
    "parameter with an attribute": lambda: {"p": with_attribute()},
    "conjugate": lambda: {"c": conjugate()},
    "views": lambda: (lambda base: {"a": base, "b": base[1:], "c": base.T})(torch.ones(3, 3)),
    "optimizer": lambda: torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    "sizes": lambda: {"size": torch.Size([1, 2]), "device": torch.device("cuda", 0), "cpu": torch.device("cpu")},
    "types": lambda: {torch.float32: torch.bfloat16, "layout": torch.strided},
    "version": lambda: {"version": torch.torch_version.TorchVersion("2.13.0")},
    "nothing": dict,
    "scalar": lambda: {"epoch": 3, "lr": 1e-4, "name": "x", "flags": [True, None], "best": torch.tensor(1.0)},
    "hyper-parameters": lambda: {
        "hyper_parameters": argparse.Namespace(lr=0.1, layers=[1, 2], inner=argparse.Namespace())
    },
    "numpy": lambda: {"a": np.arange(3), "s": np.float32(1.5)},
    "empty tensor": lambda: {"e": torch.empty(0, 5)},
    "untyped storage": lambda: {"s": torch.ones(2).untyped_storage()},
}


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_checkpoint_is_silent(name, protocol):
    silent(saved(CHECKPOINTS[name](), pickle_protocol=protocol), storages=True)


def aligned():
    return np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True))


ARRAYS = {
    **{f"type {code}": (lambda code=code: np.zeros(3, code)) for code in np.typecodes["All"] if code not in "OSUVMm"},
    "big-endian": lambda: np.zeros(3, ">f4"),
    "text": lambda: np.array(["a", "bcd"]),
    "byte strings": lambda: np.array([b"a", b"bcd"]),
    "void": lambda: np.zeros(2, "V5"),
    "dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "spans": lambda: np.array([3], "m8[25s]"),
    "C order": lambda: np.arange(6.0).reshape(2, 3),
    "Fortran order": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "view": lambda: np.arange(10)[::2],
    "empty": lambda: np.zeros((0, 4)),
    "no dimension": lambda: np.array(1.5),
    "structured": lambda: np.zeros(2, [("a", "<i4"), ("b", ">f8", (2, 2)), ("c", "U3")]),
    "titles": lambda: np.zeros(2, [(("title", "name"), "i4")]),
    "aligned": aligned,
    "nested": lambda: np.zeros(2, [("a", [("x", "f4"), ("y", "f4")])]),
    "overlapping fields": lambda: np.zeros(1, {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]}),
    "objects": lambda: np.array([None, "text", 3, {"k": (1,)}], dtype=object),
    "structured objects": lambda: np.zeros(2, [("a", "i4"), ("o", "O")]),
    "scalar": lambda: np.float64(2.5),
    "integer scalar": lambda: np.int64(7),
    "bool scalar": lambda: np.bool_(True),
    "text scalar": lambda: np.str_("x"),
    "byte scalar": lambda: np.bytes_(b"x"),
    "date scalar": lambda: np.datetime64("2020-01-01"),
    "void scalar": lambda: np.zeros(1, [("a", "i4")])[0],
    "element type": lambda: np.dtype("f4"),
    "list of arrays": lambda: [np.ones(2), np.ones(2)],
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_is_silent(name, protocol):
    silent(pickle.dumps(ARRAYS[name](), protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_under_the_module_names_of_numpy_1_is_silent(protocol):
    stream = pickle.dumps([np.arange(3.0), np.float32(1)], protocol)
    if protocol < 4:
        stream = stream.replace(b"numpy._core.", b"numpy.core.")
    else:
        stream = stream.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        stream = stream.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
    assert b"_core" not in stream
    if protocol >= 4:  # the frame is now too long, which is noted, and nothing else
        assert {item.rule for item in judge(interpret(stream), file="f")} <= {"AIV311"}
    else:
        silent(stream)


def metadata():
    made = collections.OrderedDict(a=1)
    made._metadata = collections.OrderedDict(version=1)
    return made


def words():
    made = collections.defaultdict(list)
    made["a"].append(1)
    return made


VALUES = {
    "ordered dict with metadata": metadata,
    "defaultdict of lists": words,
    "defaultdict of ordered dicts": lambda: collections.defaultdict(collections.OrderedDict),
    "defaultdict without factory": lambda: collections.defaultdict(None, {1: 2}),
    "counter": lambda: collections.Counter("abracadabra"),
    "deque": lambda: collections.deque([1, 2, (3,)], 5),
    "namespace": lambda: argparse.Namespace(a=1, b=[argparse.Namespace(c=None)]),
    "times": lambda: [
        datetime.datetime(2020, 1, 2, 3, 4, 5),  # noqa: DTZ001 - one without a zone is the point
        datetime.date(2020, 1, 2),
        datetime.time(1, 2),
        datetime.timedelta(1, 2, 3),
    ],
    "sets": lambda: [{1, 2, "x"}, frozenset({("a", 1)}), set()],
    "numbers": lambda: [1 << 200, -1, 0.1, float("inf"), complex(1, -2), True],
    "bytes": lambda: [b"", b"\xff\x00", bytearray(b"\xe9abc"), bytearray()],
    "texts": lambda: ["", "é", "\n", "\udc80", "a" * 70_000],
    "shared": lambda: (lambda inner: [inner, inner, {"a": inner}])([1, 2]),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "random state": lambda: np.random.RandomState(1),
    "random generator": lambda: np.random.default_rng(1),
    "types": lambda: [int, str, list, dict, float, bool, tuple, set],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_ordinary_value_is_silent(name, protocol):
    silent(pickle.dumps(VALUES[name](), protocol))


def test_a_vocabulary_of_two_hundred_thousand_words_is_silent():
    silent(pickle.dumps({f"word{number}": number for number in range(200_000)}, 4))


def test_a_container_that_holds_itself_is_silent():
    loop: list = [1]
    loop.append(loop)
    silent(pickle.dumps({"loop": loop, "set": collections.deque([loop])}, 4))


def test_a_time_zone_is_silent_though_its_method_is_reached_through_getattr():
    method = b"c__builtin__\ngetattr\nczoneinfo\nZoneInfo\nX\t\x00\x00\x00_unpickle\x86R"
    silent(b"\x80\x02" + method + b"X\x03\x00\x00\x00UTC\x88\x86R.")
