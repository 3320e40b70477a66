"""The judgement: one rule after the other, then hostile variants of everything that is trusted."""

import pickle

import pickle_builder as b
import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Severity
from aiverify.pickles.judge import judge
from aiverify.pickles.machine import Budget, interpret
from aiverify.pickles.tables import Use
from aiverify.pickles.uses import sightings

RUN = b.call("os.system", b.text("true"))
UNKNOWN = "some.where.Thing"


def found(stream: bytes, *, storages: bool = True, trust=frozenset()) -> dict:
    """The findings by rule; the last of each."""
    return {item.rule: item for item in judge(interpret(stream), file="f", member="m", storages=storages, trust=trust)}


def rules(value: bytes, **options) -> set[str]:
    return set(found(b.stream(value), **options))


def complaint(value: bytes) -> str:
    return found(b.stream(value))["AIV303"].message


# Each rule


def test_a_dangerous_name_is_critical_whatever_is_done_with_it():
    for value in (
        b.named("os.system"),
        RUN,
        b.lst(b.named("os.system")),
        b.frozen(b.named("os.system")),
        b"N" + b.named("os.system") + b"0",
    ):
        item = found(b.stream(value))["AIV301"]
        assert item.severity == "critical"
        assert "os.system, which runs commands" in item.message


def test_the_payload_is_shown_as_source():
    item = found(b.stream(b.call("os.system", b.text("rm -rf /"), b.dct((b.number(1), b.blob(b"x"))))))["AIV301"]
    assert item.evidence["payload"] == "os.system('rm -rf /', {1: <1 bytes>})"
    assert item.evidence["uses"] == ["construct"]
    assert (item.file, item.location.member, item.location.offset) == ("f", "m", 2)


def test_a_name_is_shown_as_it_is_written_where_python_3_calls_it_otherwise():
    item = found(b.stream(b.call("__builtin__.eval", b.text("1")), 2))["AIV301"]
    assert "builtins.eval (written __builtin__:eval)" in item.message


def test_an_unknown_name_asks_for_review_and_says_how_it_is_used():
    item = found(b.stream(b.call(UNKNOWN)))["AIV302"]
    assert "some.where.Thing, which is not on the trusted table (called)" in item.message
    assert item.evidence["global"] == UNKNOWN
    assert "imports" not in item.message
    assert found(b.stream(b.named(UNKNOWN)))["AIV302"].evidence["payload"] == "from some.where import Thing"


def test_a_policy_can_trust_an_unknown_name_but_not_a_dangerous_one():
    assert rules(b.build(b.call(UNKNOWN), b.dct()), trust={UNKNOWN}) == set()
    assert rules(RUN, trust={"os.system"}) == {"AIV301"}


@pytest.mark.parametrize(
    ("value", "use"),
    [
        (b.named("torch.FloatStorage"), "held as a value"),
        (b.new("collections.OrderedDict"), "created without being called"),
        (b.call("torch.Tensor"), "called"),
        (b.build(b.call("torch.Size", b.tup()), b.dct()), "given state"),
        (b.fill(b.call("torch.device", b.text("cpu")), (b.number(1), b"N")), "filled"),
        (b.frozen(b.named("torch.Tensor")), "hashed"),
        (b.dct((b.named("torch.Tensor"), b"N")), "hashed"),
        (b.call("collections.OrderedDict", b.named("torch.device")), "passed to a call"),
        (b.storage("torch.Tensor"), "named in a persistent id"),
    ],
)
def test_a_trusted_name_is_not_trusted_for_every_use(value, use):
    messages = [item.message for item in judge(interpret(b.stream(value)), file="f", storages=True)]
    assert any(f"is {use}, which ordinary files do not do" in message for message in messages)


def test_a_computed_name_is_critical():
    assert rules(b.call("builtins.str") + b.text("system") + b"\x93") >= {"AIV304"}
    assert rules(b.persistent(b.text("x")) + b.text("system") + b"\x93") >= {"AIV304"}


def test_the_extension_registry_is_never_trusted():
    assert rules(b"\x82\x01") == {"AIV305"}
    assert "AIV305" in rules(b"\x82\x01" + b")R")


def test_a_persistent_id_must_be_a_storage_of_this_container():
    assert rules(b.storage()) == set()
    assert rules(b.storage(), storages=False) == {"AIV306"}
    for pid in (
        b.text("x"),
        b.number(1),
        b.tup(b.text("module")),
        b.tup(b.text("storage"), b.text("torch.FloatStorage"), b.text("0"), b.text("cpu"), b.number(1)),
    ):
        assert rules(b.persistent(pid)) == {"AIV306"}


def test_what_happened_before_a_break_is_judged():
    graph = interpret(b"\x80\x04" + RUN + b"\xff")
    assert {item.rule for item in judge(graph, file="f")} == {"AIV301", "AIV307"}
    assert next(item for item in judge(graph, file="f") if item.rule == "AIV307").location.offset == len(
        b"\x80\x04" + RUN
    )


def test_a_budget_is_a_break():
    graph = interpret(b"N0" * 100, budget=Budget(opcodes=10))
    assert [item.rule for item in judge(graph, file="f")] == ["AIV307"]


@pytest.mark.parametrize("change", [b"}b", b"Na", b"(Ne", b"NNs", b"(NNu", b"(N\x90", b"N}\x86b"])
def test_changing_an_imported_thing_is_critical(change):
    for target in ("collections.OrderedDict", "torch.Tensor", UNKNOWN):
        assert "AIV310" in rules(b.named(target) + change)


def test_changing_what_is_no_object_is_odd():
    assert rules(b"K\x01}b") == {"AIV311"}
    assert rules(b.storage() + b"}b") == {"AIV311"}


@pytest.mark.parametrize(
    "stream",
    [b"\x80\x04\x80\x02N.", b"\x80\x04\x95\xff" + b"\0" * 7 + b"N.", b"Nr\xff\xff\xff\xff.", b"I010\n.", b"N\x98."],
)
def test_what_no_pickler_writes_is_odd(stream):
    assert set(found(stream)) == {"AIV311"}


def test_a_call_of_something_computed_is_never_trusted():
    nested = b.call(b.call("collections.OrderedDict"))
    assert rules(nested) == {"AIV303"}
    assert "calls something that is itself computed" in complaint(nested)
    assert "AIV303" in rules(b.persistent(b.text("x")) + b")R")
    assert "AIV303" in rules(b"K\x01)R")


def test_one_complaint_is_made_once():
    value = b.lst(*(b.call("torch.Size", b.text("x")) for _ in range(50)))
    assert len(judge(interpret(b.stream(value)), file="f")) == 1


# Hostile variants of what is trusted

EVIL = b.named("os.system")
THING = b.named("torch.Tensor")
FLAGS = {"plain": b.number(0), "objects": b.number(63), "none": b.number(-1)}
NONE = b"N"


def array_state(element: bytes, content: bytes, shape: bytes = b.tup(b.number(1))) -> bytes:
    return b.tup(b.number(1), shape, element, b"\x89", content)


def array(state: bytes) -> bytes:
    return b.build(
        b.call("numpy._core.multiarray._reconstruct", b.named("numpy.ndarray"), b.tup(b.number(0)), b.blob(b"b")), state
    )


def element(
    code: str = "f8",
    *,
    base=NONE,
    names=NONE,
    fields=NONE,
    size: int = -1,
    align: int = -1,
    flags: int = 0,
    order: str = "<",
    version: int = 3,
) -> bytes:
    return b.dtype(
        code, b.number(version), b.text(order), base, names, fields, b.number(size), b.number(align), b.number(flags)
    )


def fields(*items: tuple[str, bytes, int]) -> dict:
    return {
        "names": b.tup(*(b.text(name) for name, _, _ in items)),
        "fields": b.dct(*((b.text(name), b.tup(inner, b.number(offset))) for name, inner, offset in items)),
    }


OBJECT = element("O8", order="|", flags=63)

HOSTILE = {
    "hooks on a tensor": b.tensor(hooks=b.ordered((b.number(0), EVIL))),
    "trusted callables as hooks": b.tensor(hooks=b.ordered((b.number(0), b.named("torch.Size")))),
    "hooks in a plain dict": b.tensor(hooks=b.dct((b.number(0), THING))),
    "hooks given to the constructor": b.tensor(
        hooks=b.call("collections.OrderedDict", b.lst(b.tup(b.number(0), THING)))
    ),
    "a tensor of something else than a storage": b.tensor(b.text("x")),
    "a tensor of a tensor": b.tensor(b.tensor()),
    "sizes that are computed": b.call(
        "torch._utils._rebuild_tensor", b.storage(), b.number(0), b.call("torch.Size", b.text("x")), b.tup()
    ),
    "a tensor of too few arguments": b.call("torch._utils._rebuild_tensor_v2", b.storage()),
    "a third version of too few arguments": b.call("torch._utils._rebuild_tensor_v3", b.storage()),
    "a flag that is text": b.tensor(flag=b.text("x")),
    "metadata with objects": b.tensor(more=(b.dct((b.text("conj"), b.lst(THING))),)),
    "metadata that is no dict": b.tensor(more=(b.text("x"),)),
    "arguments that are computed": b.named("torch._utils._rebuild_tensor_v2")
    + b.call("collections.OrderedDict")
    + b"R",
    "a third version with a computed type": b.call(
        "torch._utils._rebuild_tensor_v3",
        b.storage(),
        b.number(0),
        b.tup(),
        b.tup(),
        b"\x89",
        b.ordered(),
        b.text("float32"),
    ),
    "a parameter of something else": b.call("torch._utils._rebuild_parameter", b.text("x"), b"\x88", b.ordered()),
    "a parameter with hooks": b.call(
        "torch._utils._rebuild_parameter", b.tensor(), b"\x88", b.ordered((b.number(0), THING))
    ),
    "a parameter with special attributes": b.call(
        "torch._utils._rebuild_parameter_with_state",
        b.tensor(),
        b"\x88",
        b.ordered(),
        b.dct((b.text("__class__"), THING)),
    ),
    "special attributes in a constructor": b.call(
        "torch._utils._rebuild_parameter_with_state",
        b.tensor(),
        b"\x88",
        b.ordered(),
        b.call("collections.OrderedDict", b.lst(b.lst(b.text("__class__"), THING))),
    ),
    "a parameter with slots": b.call(
        "torch._utils._rebuild_parameter_with_state",
        b.tensor(),
        b"\x88",
        b.ordered(),
        b.tup(NONE, b.dct((b.text("__class__"), THING))),
    ),
    "a parameter of too few arguments": b.call("torch._utils._rebuild_parameter_with_state", b.tensor()),
    "a parameter with thousands of attributes": b.call(
        "torch._utils._rebuild_parameter_with_state",
        b.tensor(),
        b"\x88",
        b.ordered(),
        b.dct(*((b.text(f"a{number}"), NONE) for number in range(2000))),
    ),
    "from_type with another function": b.call(
        "torch._tensor._rebuild_from_type_v2", EVIL, THING, b.tup(b.text("true")), b.dct()
    ),
    "from_type with a trusted function": b.call(
        "torch._tensor._rebuild_from_type_v2", b.named("torch.Size"), THING, b.tup(), b.dct()
    ),
    "from_type with another type": b.call(
        "torch._tensor._rebuild_from_type_v2",
        b.named("torch._utils._rebuild_tensor_v2"),
        b.named("builtins.list"),
        b.tup(),
        b.dct(),
    ),
    "from_type with a computed function": b.call(
        "torch._tensor._rebuild_from_type_v2", b.text("x"), THING, b.tup(), b.dct()
    ),
    "from_type with hooks": b.call(
        "torch._tensor._rebuild_from_type_v2",
        b.named("torch._utils._rebuild_tensor_v2"),
        THING,
        b.tup(b.storage(), b.number(0), b.tup(), b.tup(), b"\x89", b.ordered((b.number(0), THING))),
        b.dct(),
    ),
    "from_type with special attributes": b.call(
        "torch._tensor._rebuild_from_type_v2",
        b.named("torch._utils._rebuild_tensor_v2"),
        THING,
        b.tup(b.storage(), b.number(0), b.tup(), b.tup(), b"\x89", b.ordered()),
        b.dct((b.text("__setstate__"), THING)),
    ),
    "other attributes of an ordered dict": b.build(
        b.ordered(), b.dct((b.text("move_to_end"), b.named("builtins.list")))
    ),
    "slots of an ordered dict": b.build(b.ordered(), b.tup(NONE, b.dct((b.text("_metadata"), NONE)))),
    "an ordered dict of arguments": b.call("collections.OrderedDict", b.number(1)),
    "a factory that runs": b.call("collections.defaultdict", EVIL),
    "a factory that is trusted for something else": b.call("collections.defaultdict", b.named("argparse.Namespace")),
    "a factory that is computed": b.call("collections.defaultdict", b.call("collections.OrderedDict")),
    "a set of names": b.call("builtins.set", b.lst(THING)),
    "a set of calls": b.call("builtins.set", b.lst(b.call("torch.Size", b.tup()))),
    "a byte array of a size": b.call("builtins.bytearray", b.number(1 << 40)),
    "a codec that transforms": b.call("_codecs.encode", b.text("x"), b.text("rot13")),
    "a codec that unescapes": b.call("_codecs.encode", b.text("x"), b.text("unicode_escape")),
    "a codec that compresses": b.call("_codecs.encode", b.text("x"), b.text("zlib")),
    "an encoding of an object": b.call("_codecs.encode", b.call("collections.OrderedDict"), b.text("latin1")),
    "an encoding with error handler": b.call("_codecs.encode", b.text("x"), b.text("ascii"), b.text("ignore")),
    "a decoding": b.call("_codecs.decode", b.blob(b"x"), b.text("rot13")),
    "a namespace with arguments": b.call("argparse.Namespace", b.text("x")),
    "a namespace with special attributes": b.build(b.call("argparse.Namespace"), b.dct((b.text("__class__"), NONE))),
    "a namespace with keyword arguments": b.new_ex("argparse.Namespace", b")", b.dct((b.text("a"), b.number(1)))),
    "a namespace with keys that are no text": b.build(b.call("argparse.Namespace"), b.dct((b.number(1), NONE))),
    "a date of an object": b.call("datetime.date", b.call("collections.OrderedDict")),
    "a device of an object": b.call("torch.device", b.call("collections.OrderedDict")),
    "a size of text": b.call("torch.Size", b.lst(b.text("x"))),
    "a version of bytes": b.call("torch.torch_version.TorchVersion", b.blob(b"x")),
    "an array class called directly": b.call("numpy.ndarray", b.tup(b.number(3))),
    "an array of another class": b.call(
        "numpy._core.multiarray._reconstruct", b.named("torch.Tensor"), b.tup(b.number(0)), b.blob(b"b")
    ),
    "an array that is allocated": b.call(
        "numpy._core.multiarray._reconstruct", b.named("numpy.ndarray"), b.tup(b.number(1 << 40)), b.blob(b"b")
    ),
    "an array of another first type": b.call(
        "numpy._core.multiarray._reconstruct", b.named("numpy.ndarray"), b.tup(b.number(0)), b.text("O")
    ),
    "a type that is a name": b.call("numpy.dtype", b.text("float64,O")),
    "a type that is a path": b.call("numpy.dtype", b.text("os.system")),
    "a type that is a class": b.call("numpy.dtype", b.named("builtins.list")),
    "a type with more arguments": b.call("numpy.dtype", b.text("f8"), b"\x89", b"\x88", b.dct()),
    "a type that hides its objects": array(array_state(element("O8", order="|", flags=0), b.blob(b"A" * 8))),
    "fields that hide their objects": array(
        array_state(element("V8", order="|", size=8, align=1, flags=0, **fields(("a", OBJECT, 0))), b.blob(b"A" * 8))
    ),
    "raw bytes as objects": array(array_state(OBJECT, b.blob(b"A" * 8))),
    "objects as numbers": array(array_state(element(), b.lst(NONE))),
    "a field outside of the element": element("V8", order="|", size=8, align=1, **fields(("a", element(), 1000))),
    "a field before the element": element("V8", order="|", size=8, align=1, **fields(("a", element(), -8))),
    "a field that is too long": element("V4", order="|", size=4, align=1, **fields(("a", element(), 0))),
    "a subarray that is too long": element(
        "V8", order="|", base=b.tup(element(), b.tup(b.number(1000))), size=8, align=1
    ),
    "a subarray of nothing": element("V8", order="|", base=b.text("x"), size=8, align=1),
    "a subarray with fields": element("V8", base=b.tup(element(), b.tup()), size=8, **fields(("a", element(), 0))),
    "a number with fields": element("f8", **fields(("a", element(), 0))),
    "a width that lies": element("V8", order="|", size=1 << 20, align=1),
    "names without fields": element("V8", order="|", names=b.tup(b.text("a")), fields=b.dct(), size=8),
    "names that are none": element("V8", order="|", names=b.tup(b.number(1)), fields=b.dct(), size=8),
    "a field that is no pair": element(
        "V8", names=b.tup(b.text("a")), fields=b.dct((b.text("a"), b.number(1))), size=8
    ),
    "fields in a list": element("V8", names=b.tup(), fields=b.lst(), size=8),
    "an object of half a pointer": b.dtype("O4"),
    "half a pointer with state": element("O4", order="|", flags=63),
    "flags without need": element("f8", flags=63),
    "a type given state twice": b.build(
        element(), b.tup(b.number(3), b.text("<"), NONE, NONE, NONE, b.number(-1), b.number(-1), b.number(0))
    ),
    "an unknown version of state": element(version=2),
    "an unknown byte order": element(order="?"),
    "a type with a state of text": b.build(b.dtype("f8"), b.text("x")),
    "a type with metadata of names": b.build(
        b.dtype("M8"),
        b.tup(
            b.number(4),
            b.text("<"),
            NONE,
            NONE,
            NONE,
            b.number(-1),
            b.number(-1),
            b.number(0),
            b.dct((b.text("x"), THING)),
        ),
    ),
    "an array state of text": array(b.text("x")),
    "an array state with a foreign type": array(array_state(b.text("f8"), b.blob(b"x"))),
    "an array state with sizes of text": array(array_state(element(), b.blob(b"x"), b.lst(b.text("x")))),
    "a scalar of objects": b.call("numpy._core.multiarray.scalar", OBJECT, b.blob(b"A" * 8)),
    "a scalar of an object": b.call("numpy._core.multiarray.scalar", element(), b.call("collections.OrderedDict")),
    "a scalar of too few arguments": b.call("numpy._core.multiarray.scalar", element()),
    "a buffer of an object": b.call(
        "numpy._core.numeric._frombuffer", b.call("collections.OrderedDict"), element(), b.tup(), b.text("C")
    ),
    "a buffer of objects": b.call(
        "numpy._core.numeric._frombuffer", b.blob(b"A" * 8), OBJECT, b.tup(b.number(1)), b.text("C")
    ),
    "a buffer of too few arguments": b.call("numpy._core.numeric._frombuffer", b.blob(b"A" * 8)),
    "a dotted way to a trusted name": b.call(b.stack_named("torch:_utils._rebuild_tensor_v2"), b.storage()),
    "a method of a trusted class": b.call(b.stack_named("collections:OrderedDict.fromkeys"), b.lst()),
    "a way out through a trusted module": b.stack_named("torch:serialization.os.system"),
    "a way into the interpreter": b.stack_named("collections:OrderedDict.__init__.__globals__"),
    "a module through another": b.stack_named("collections:abc.sys.modules"),
    "items of a module": b.named("sys.modules") + b.text("os") + NONE + b"s",
    "state of a class": b.named("collections.OrderedDict") + b.tup(NONE, b.dct((b.text("__init__"), EVIL))) + b"b",
    "a payload as a dict key": b.dct((RUN, NONE)),
    "a payload in a set": b.members(RUN),
    "a payload in a frozen set": b.frozen(RUN),
    "a payload in a persistent id": b.persistent(
        b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), RUN, b.number(1))
    ),
    "a payload in a storage's size": b.persistent(
        b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), b.text("cpu"), RUN)
    ),
    "a payload in a view": b.persistent(
        b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), b.text("cpu"), b.number(4), b.tup(RUN))
    ),
    "a payload in slots": b.build(b.call("argparse.Namespace"), b.tup(NONE, b.dct((b.text("a"), RUN)))),
    "a payload in state": b.build(b.call("argparse.Namespace"), b.dct((b.text("a"), RUN))),
    "a payload thrown away": RUN + b"0N",
    "a payload under a mark": b"(" + RUN + b"1N",
    "a payload in keyword arguments": b.new_ex("argparse.Namespace", b")", b.dct((b.text("a"), RUN))),
    "a payload in an appended item": b.append(b.call("collections.deque"), RUN),
    "a payload in an item": b.fill(b.ordered(), (b.text("a"), RUN)),
    "an old-style instance": b.inst("os.system", b.text("true")),
    "an object by OBJ": b.obj("os.system", b.text("true")),
    "an object by NEWOBJ": b.new("subprocess.Popen", b.text("true")),
    "a name from a memo": b.text("os")
    + b"\x940"
    + b.text("system")
    + b"\x940"
    + b"h\x00h\x01\x93"
    + b.tup(b.text("true"))
    + b"R",
    "a map that runs": b.call("builtins.list", b.call("builtins.map", EVIL, b.lst(b.text("true")))),
    "a partial": b.call(b.call("functools.partial", EVIL, b.text("true"))),
    "a nested pickle": b.call("_pickle.loads", b.blob(pickle.dumps(1))),
    "code": b.call("types.FunctionType", b.call("marshal.loads", b.blob(b"")), b.dct()),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_variant_never_passes(name):
    items = judge(interpret(b.stream(HOSTILE[name])), file="f", storages=True)
    assert interpret(b.stream(HOSTILE[name])).failure is None
    assert any(item.severity in ("medium", "high", "critical") for item in items)


HONEST = {
    "a tensor": b.tensor(),
    "a tensor with metadata": b.tensor(more=(b.dct((b.text("conj"), b"\x88")),)),
    "a third version": b.call(
        "torch._utils._rebuild_tensor_v3",
        b.storage("torch.storage.UntypedStorage"),
        b.number(0),
        b.tup(),
        b.tup(),
        b"\x89",
        b.ordered(),
        b.named("torch.uint16"),
    ),
    "a first version": b.call(
        "torch._utils._rebuild_tensor",
        b.storage(),
        b.number(0),
        b.call("torch.Size", b.tup(b.number(1))),
        b.tup(b.number(1)),
    ),
    "from_type": b.call(
        "torch._tensor._rebuild_from_type_v2",
        b.named("torch._utils._rebuild_tensor_v2"),
        THING,
        b.tup(b.storage(), b.number(0), b.tup(), b.tup(), b"\x89", b.ordered()),
        b.dct((b.text("note"), b.text("x"))),
    ),
    "from_type of a parameter": b.call(
        "torch._tensor._rebuild_from_type_v2",
        b.named("torch._utils._rebuild_parameter"),
        b.named("torch.nn.parameter.Parameter"),
        b.tup(b.tensor(), b"\x88", b.ordered()),
        NONE,
    ),
    "a view of a storage": b.persistent(
        b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), b.text("cpu"), b.number(4), NONE)
    ),
    "an array": array(array_state(element(), b.blob(b"A" * 8))),
    "an array without version": array(b.tup(b.tup(b.number(1)), element(), b"\x89", b.blob(b"A" * 8))),
    "an array of objects": array(array_state(OBJECT, b.lst(NONE))),
    "a type without state": b.dtype("f8"),
    "objects without state": b.dtype("O8"),
    "fields": element("V16", order="|", size=16, align=1, flags=27, **fields(("a", element(), 0), ("b", OBJECT, 8))),
    "a state in an ordered dict": b.build(b.call("argparse.Namespace"), b.ordered((b.text("a"), NONE))),
    "a state of None": b.build(b.call("argparse.Namespace"), NONE),
    "a byte array of text": b.call("builtins.bytearray", b.text("x"), b.text("latin-1")),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_libraries_write_is_silent(name):
    assert [item.message for item in judge(interpret(b.stream(HONEST[name])), file="f", storages=True)] == []


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["a payload as a dict key", "an old-style instance", "a payload thrown away"])
def test_the_protocol_makes_no_difference(name, protocol):
    assert "AIV301" in {
        item.rule for item in judge(interpret(bytes((0x80, protocol)) + HOSTILE[name] + b"."), file="f")
    }


# Work is linear in the input


def shared(inner: bytes, repetition: bytes, times: int) -> bytes:
    """A stream that makes ``inner`` once and then does ``repetition`` with it, many times."""
    return b"\x80\x04" + inner + b"q\x000" + repetition * times + b"N."


BIG = b.lst(*[b.number(1)] * 20_000)
SHARED = {
    "arguments": shared(b.tup(*[b"N"] * 20_000), b.named("collections.Counter") + b"h\x00R0", 5000),
    "a list in arguments": shared(BIG, b.named("builtins.set") + b"h\x00\x85R0", 5000),
    "a list of names in arguments": shared(
        b.lst(*[b.named("torch.Tensor")] * 20_000), b.named("builtins.set") + b"h\x00\x85R0", 5000
    ),
    "state": shared(b.dct(*[(b.text("a"), b"N")] * 20_000), b.call("argparse.Namespace") + b"h\x00b0", 5000),
    "lists of lists of lists": b"\x80\x04N"
    + b"".join(b"q" + bytes((level,)) + b"0](" + (b"h" + bytes((level,))) * 200 + b"e" for level in range(6))
    + b"q\x070"
    + b.named("builtins.set")
    + b"h\x07\x85R.",
    "different unknown names": b"\x80\x04"
    + b"".join(b.call(f"some.n{number}") + b"0" for number in range(3000))
    + b"N.",
    "a very long name": b"\x80\x04c"
    + b"a" * 2_000_000
    + b"\nb\nq\x000]("
    + b"h\x00" * 20_000
    + b"e"
    + b"h\x00)R0" * 5000
    + b".",
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_parts_are_looked_at_once(name):
    items = judge(interpret(SHARED[name]), file="f")  # unshared work would not end
    assert sum(len(str(item.evidence)) for item in items) < 5_000_000


def test_the_shown_payload_is_bounded_whatever_the_stream_holds():
    wide = b"N"
    for _ in range(6):
        wide = b"(" + (b.text("a" * 200) + wide) * 3 + b"l"
    calls = b.call("os.system", wide) * 1 + b"0" + (b.call("os.system", b.blob(b"x"), b.number(1 << 400)) + b"0") * 20
    item = found(b.stream(calls + b"N"))["AIV301"]
    assert len(item.evidence["payload"]) < 50_000
    assert "# … and 13 more calls" in item.evidence["payload"]
    assert "401-bit number" in item.evidence["payload"]


def test_every_kind_of_value_can_be_shown():
    parts = [
        *(
            b.dct((b.number(1), b.number(2))),
            b.dct(*[(b.number(1), NONE)] * 20),
            b.lst(*[NONE] * 20),
            b.tup(NONE),
            b.members(NONE),
        ),
        *(
            b"\x8f",
            b.persistent(b.text("id")),
            b"\x82\x05",
            b"\x97",
            b"I" + b"9" * 5000 + b"\n",
            b"U\x01\xe9",
            b.text("x" * 500),
        ),
        *(
            b.new("a.b"),
            b.new_ex("a.b", b")", b.dct((b.text("k"), NONE))),
            b.named("a.b") + b"K\x01R",
            b.build(b.call("a.b"), b.number(7)),
            b"G" + b"\0" * 8,
        ),
    ]
    for part in parts:
        (payload,) = {
            item.evidence["payload"]
            for item in judge(interpret(b.stream(b.call("os.system", part))), file="f")
            if item.evidence.get("global") == "os.system"
        }
        assert payload.startswith("os.system(")
    item = found(b.stream(b.build(b.call("os.system"), b.number(7))))["AIV301"]
    assert item.evidence["payload"] == "os.system().__setstate__(7)"
    assert found(b.stream(b.named("a.b") + b.number(7) + b"b"))["AIV310"].evidence["payload"] == "a.b <- 7  # BUILD"


@effort(150)
@given(st.lists(st.sampled_from(sorted(HOSTILE) + sorted(HONEST)), min_size=1, max_size=4), st.data())
def test_a_hostile_part_is_found_wherever_it_stands(names, data):
    parts = [HOSTILE.get(name) or HONEST[name] for name in names]
    wrap = data.draw(
        st.sampled_from([b.lst, b.tup, lambda *values: b.dct(*((b.text("k"), value) for value in values))])
    )
    items = judge(interpret(b.stream(wrap(*parts))), file="f", storages=True)
    grave = [item for item in items if item.severity in ("medium", "high", "critical")]
    assert bool(grave) == any(name in HOSTILE for name in names)


@effort(150)
@given(st.binary(max_size=120))
def test_no_stream_makes_the_judgement_raise(raw):
    graph = interpret(b"\x80\x04" + b.text("os") + b"\x94" + b.named("collections.OrderedDict") + b"\x94" + raw)
    for item in judge(graph, file="f", storages=True):
        assert item.file == "f"


# What an id may be, part by part

KIND, KEY, PLACE, SIZE = b.named("torch.FloatStorage"), b.text("0"), b.text("cpu"), b.number(4)
FINE = (b.text("storage"), KIND, KEY, PLACE, SIZE)
BAD_IDS = {
    "too short": FINE[:4],
    "too long": (*FINE, b"N", b"N"),
    "another kind": (b.text("module"), *FINE[1:]),
    "no kind": (b"N", *FINE[1:]),
    "a type that is text": (FINE[0], b.text("torch.FloatStorage"), *FINE[2:]),
    "a key that is a number": (*FINE[:2], b.number(0), *FINE[3:]),
    "a key that is not there": (*FINE[:2], b.text("../1"), *FINE[3:]),
    "a place that is none": (*FINE[:3], b.text("http://host"), SIZE),
    "a place that is a number": (*FINE[:3], b.number(0), SIZE),
    "a size that is text": (*FINE[:4], b.text("4")),
    "a view that is text": (*FINE, b.text("view")),
}


def ids(*parts: bytes, storages: bool | set[str] = frozenset({"0"})) -> set[str]:
    stream = b.stream(b.persistent(b.tup(*parts)))
    return {item.rule for item in judge(interpret(stream), file="f", storages=storages)}


def test_an_id_of_a_storage_that_is_there_is_silent():
    assert ids(*FINE) == ids(*FINE, b"N") == set()


@pytest.mark.parametrize("parts", BAD_IDS.values(), ids=BAD_IDS.keys())
def test_an_id_that_no_torch_file_has_is_said(parts):
    assert "AIV306" in ids(*parts)
    if parts[2:3] != (b.text("../1"),):  # only the list of what is there tells about that one
        assert "AIV306" in ids(*parts, storages=True)


# Where a name is looked for

WITHIN = b.dct((b.named("acme.Thing"), b"N"))
PLACES = {
    "keyword arguments": b.new_ex("collections.OrderedDict", b")", WITHIN),
    "a state": b.build(b.new("collections.OrderedDict"), WITHIN),
    "what a change sets": b.build(b.named("acme.Other"), WITHIN),
}


@pytest.mark.parametrize("stream", PLACES.values(), ids=PLACES.keys())
def test_the_use_of_a_name_is_seen_wherever_it_stands(stream):
    (seen,) = [it for it in sightings(interpret(b.stream(stream))) if it.example.dotted == "acme.Thing"]
    assert Use.HASH in seen.uses


def test_a_name_that_is_thrown_away_is_used():
    (seen,) = sightings(interpret(b.stream(b.named("acme.Thing") + b"0N")))
    assert seen.uses == {Use.REFERENCE}


def test_an_argument_across_the_end_of_a_frame_is_critical():
    torn = b"\x80\x04\x95\x03" + bytes(7) + b"X\x05\x00\x00\x00hello."
    assert Severity.CRITICAL in {item.severity for item in judge(interpret(torn), file="f") if item.rule == "AIV311"}
