"""Hostile variants of what the trusted table allows: classes, what is handed on to be created, keys, native code."""

import struct
import sys
from collections.abc import Callable

import pickle_builder as b
import pytest

from aiverify.pickles import arrays
from aiverify.pickles.judge import judge
from aiverify.pickles.machine import interpret

EVIL = b.named("os.system")
NONE = b"N"
TRUE, FALSE = b"\x88", b"\x89"


def findings(value: bytes, *, storages=True, protocol: int = 4):
    data = b.stream(value, protocol)
    graph = interpret(data)
    assert graph.failure is None
    return judge(graph, file="f", storages=storages, data=data)


def grave(value: bytes, **options) -> list[str]:
    return [f"{item.rule} {item.message}" for item in findings(value, **options) if item.rule not in ("AIV314",)]


def array(code: str = "f8") -> bytes:
    made = b.call("numpy._core.multiarray._reconstruct", b.named("numpy.ndarray"), b.tup(b.number(0)), b.blob(b"b"))
    content = b.blob(b"A" * int(code[1:]))
    return b.build(made, b.tup(b.number(1), b.tup(b.number(1)), b.dtype(code), FALSE, content))


def made(class_: str, *state: tuple[str, bytes]) -> bytes:
    return b.build(b.new(class_), b.dct(*((b.text(key), value) for key, value in state)))


def reconstructed(class_: bytes, base: bytes = b"cbuiltins\nobject\n", state: bytes = NONE) -> bytes:
    return b.call("copyreg._reconstructor", class_, base, state)


LINEAR = "torch.nn.modules.linear.Linear"
ARGUMENTS = "transformers.training_args.TrainingArguments"
NAMESPACE = "argparse.Namespace"
PCG = b.named("numpy.random._pcg64.PCG64")
BIT_GENERATOR = b.call("numpy.random._pickle.__bit_generator_ctor", b.named("numpy.random._mt19937.MT19937"))
ZONE = b.named("zoneinfo.ZoneInfo")
SIZE_AS_HOOK = b.named("builtins.list")


def unpickle_zone(key: str) -> bytes:
    return b.call(b.stack_named("zoneinfo:ZoneInfo._unpickle"), b.text(key), TRUE)


def keyed(key: bytes) -> bytes:
    return b.dct((key, NONE))


def array_of() -> bytes:
    return b.call("numpy._core.multiarray._reconstruct", b.named("numpy.ndarray"), b.tup(b.number(0)), b.blob(b"b"))


def doubled(times: int) -> bytes:
    """A tuple of two, each of which is the same tuple of two, and so on."""
    return b")" + b"".join(b"q%c0h%ch%c\x86" % (200, 200, 200) for _ in range(times))


def doubled_type(times: int) -> bytes:
    """An element type with a hundred fields, each of which is the same type with a hundred fields, and so on."""
    inner = b.dtype("V0")
    for _ in range(times):
        names = [b.text(f"f{number}") for number in range(100)]
        fields = b.dct(*((name, b.tup(b"h\xc8", b.number(0))) for name in names))
        state = b.tup(b.number(3), b.text("|"), NONE, b.tup(*names), fields, b.number(0), b.number(1), b.number(16))
        inner = inner + b"q\xc80" + b.build(b.call("numpy.dtype", b.text("V0"), FALSE, TRUE), state)
    return inner


ATTRIBUTES = "lightning.fabric.utilities.data.AttributeDict"
BUNCH = "sklearn.utils._bunch.Bunch"
ISOTONIC = "sklearn.isotonic.IsotonicRegression"
INDEX = "pandas.core.indexes.base._new_Index"
MANAGER = "pandas.core.internals.managers.BlockManager"
BLOCK = "pandas._libs.internals._unpickle_block"
MINUS = b"J\xff\xff\xff\xff"


def whole(*numbers: int, order: str = "<") -> bytes:
    """An array of integers."""
    element = b.dtype("i8", b.number(3), b.text(order), NONE, NONE, NONE, MINUS, MINUS, b.number(0))
    content = b.blob(struct.pack(f"{order}{len(numbers)}q", *numbers))
    return b.build(array_of(), b.tup(b.number(1), b.tup(b.number(len(numbers))), element, FALSE, content))


def sliced(start: int, stop: int, step: int = 1) -> bytes:
    return b.call("builtins.slice", *map(b.number, (start, stop, step)))


def index(data: bytes, class_: str = "pandas.Index") -> bytes:
    return b.call(INDEX, b.named(class_), b.dct((b.text("data"), data)))


def labels(count: int) -> bytes:
    bounds = (("start", 0), ("stop", count), ("step", 1))
    return b.call(INDEX, b.named("pandas.RangeIndex"), b.dct(*((b.text(key), b.number(at)) for key, at in bounds)))


def frame(place: bytes, columns: int) -> bytes:
    """The blocks of a frame: one, which lies at ``place``."""
    return b.call(MANAGER, b.tup(b.call(BLOCK, array(), place, b.number(2))), b.lst(labels(columns), labels(1)))


def multiple(codes: bytes, count: int) -> bytes:
    pairs = (b.text("levels"), b.lst(labels(count))), (b.text("codes"), b.lst(codes))
    return b.call(INDEX, b.named("pandas.MultiIndex"), b.dct(*pairs))


def categories(count: int) -> bytes:
    return made("pandas.CategoricalDtype", ("categories", labels(count)), ("ordered", FALSE))


def categorical(codes: bytes, count: int) -> bytes:
    maker = "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked"
    return b.build(b.call(maker, b.named("pandas.Categorical"), b.number(0), NONE), b.tup(categories(count), codes))


OBJECTS = b.dtype(
    "O8", b.number(3), b.text("|"), NONE, NONE, NONE, b"J\xff\xff\xff\xff", b"J\xff\xff\xff\xff", b.number(63)
)
HOSTILE = {
    # Modules
    "a module that is called": b.call(LINEAR, b.number(1), b.number(2)),
    "a module with arguments": b.build(b.new(LINEAR, b.number(1)), b.dct()),
    "a hook": made(LINEAR, ("_forward_hooks", b.ordered((b.number(1), SIZE_AS_HOOK)))),
    "a hook in a dict": made(LINEAR, ("_state_dict_hooks", b.dct((b.number(1), SIZE_AS_HOOK)))),
    "a hook that is a table of its own": made(LINEAR, ("_backward_hooks", made(NAMESPACE))),
    "a hook before unpickling others": made(LINEAR, ("_load_state_dict_pre_hooks", b.lst(SIZE_AS_HOOK))),
    "hooks filled later": made(LINEAR, ("_forward_hooks", b.call("collections.OrderedDict") + b"q\x00"))
    + b"0h\x00"
    + b.number(1)
    + SIZE_AS_HOOK
    + b"s",
    "a module whose forward is replaced": made(LINEAR, ("forward", SIZE_AS_HOOK)),
    "a module whose call is replaced": made(LINEAR, ("_call_impl", SIZE_AS_HOOK)),
    "a module with a compiled call": made(LINEAR, ("_compiled_call_impl", SIZE_AS_HOOK)),
    "a module with special attributes": made(LINEAR, ("__class__", b.named(LINEAR))),
    "a module with slots": b.build(b.new(LINEAR), b.tup(NONE, b.dct((b.text("training"), TRUE)))),
    "a module with a state of pairs": b.build(b.new(LINEAR), b.lst(b.tup(b.text("forward"), NONE))),
    "a module as a value": b.named(LINEAR),
    "a module that is filled": b.fill(b.new(LINEAR), (b.text("a"), NONE)),
    "an activation that runs": made("torch.nn.modules.transformer.TransformerEncoderLayer", ("activation", EVIL)),
    # What is handed on to be created or called
    "an unknown class through _reconstructor": reconstructed(b.named("some.where.Thing")),
    "a function through _reconstructor": reconstructed(EVIL),
    "a trusted class that may not be created": reconstructed(b.named("numpy.ndarray")),
    "a base that is no base": reconstructed(b.named(NAMESPACE), base=EVIL),
    "a base of another module": reconstructed(b.named(NAMESPACE), base=b.named("collections.OrderedDict")),
    "a state for object": reconstructed(b.named(NAMESPACE), state=b.text("x")),
    "a content for a class that holds none": reconstructed(b.named(NAMESPACE), b.named("builtins.dict"), b.dct()),
    "a text for a class that takes none": reconstructed(b.named(NAMESPACE), b.named("builtins.str"), b.text("x")),
    "special attributes through _reconstructor": b.build(
        reconstructed(b.named(NAMESPACE)), b.dct((b.text("__class__"), NONE))
    ),
    "a module with hooks through _reconstructor": b.build(
        reconstructed(b.named(LINEAR)), b.dct((b.text("_forward_hooks"), b.lst(SIZE_AS_HOOK)))
    ),
    "_reconstructor as a value": b.named("copyreg._reconstructor"),
    "a computed class through _reconstructor": b.call(
        "copyreg._reconstructor", b.call("collections.OrderedDict"), b.named("builtins.object"), NONE
    ),
    "an unknown class through __newobj__": b.call("copyreg.__newobj__", b.named("some.where.Thing")),
    "a function through __newobj__": b.call("copyreg.__newobj__", EVIL, b.text("true")),
    "arguments through __newobj__": b.call("copyreg.__newobj__", b.named(ARGUMENTS), b.text("x")),
    "nothing through __newobj__": b.call("copyreg.__newobj__"),
    "keywords through __newobj_ex__": b.call(
        "copyreg.__newobj_ex__", b.named(NAMESPACE), b.tup(), b.dct((b.text("a"), NONE))
    ),
    "another attribute of a trusted class": b.call(b.call("builtins.getattr", ZONE, b.text("from_file")), b.text("x")),
    "an attribute of a module": b.call("builtins.getattr", b.named("os.path"), b.text("system")),
    "a special attribute": b.call("builtins.getattr", ZONE, b.text("__init__")),
    "an attribute with a default": b.call("builtins.getattr", ZONE, b.text("_unpickle"), NONE),
    "getattr itself beside an honest use of it": b.lst(
        b.call(b.call("builtins.getattr", ZONE, b.text("_unpickle")), b.text("UTC"), TRUE), b.named("builtins.getattr")
    ),
    "a trusted method that is stored": b.lst(b.call("builtins.getattr", ZONE, b.text("_unpickle"))),
    "a trusted method under a false module": b.call(b.stack_named("zoneinfo.ZoneInfo:_unpickle"), b.text("UTC"), TRUE),
    # Time zones
    "a zone that is a path": unpickle_zone("/etc/passwd"),
    "a zone that climbs": unpickle_zone("../../../tmp/zone"),
    "a zone with a dot": unpickle_zone("tzdata.evil"),
    "a zone that is a file": b.call(b.stack_named("zoneinfo:ZoneInfo._unpickle"), b.text("UTC"), FALSE),
    "a moment with a zone of text": b.call("datetime.datetime", b.blob(b"x" * 10), b.text("UTC")),
    "a moment with a zone that is anything": b.call("datetime.datetime", b.blob(b"x" * 10), b.call(NAMESPACE)),
    "a timestamp with a zone of text": b.call(
        "pandas._libs.tslibs.timestamps._unpickle_timestamp", b.number(1), NONE, b.text("dateutil//etc/x"), b.number(9)
    ),
    "a column type with a zone of text": made("pandas.DatetimeTZDtype", ("unit", b.text("ns")), ("tz", b.text("x"))),
    # Functions as values
    "a partial of a danger": b.call("functools.partial", EVIL),
    "a partial of a class that is only handed on": b.call("functools.partial", b.named("numpy.matrix")),
    "a partial whose function is replaced": b.build(
        b.call("functools.partial", b.named("builtins.int")), b.tup(EVIL, b.tup(), NONE, NONE)
    ),
    "a partial of a partial": b.call("functools.partial", b.call("functools.partial", b.named("builtins.int"))),
    "a partial with attributes": b.build(
        b.call("functools.partial", b.named("builtins.int")),
        b.tup(b.named("builtins.int"), b.tup(), NONE, b.dct((b.text("func"), NONE))),
    ),
    "a partial that is called": b.call(b.call("functools.partial", b.named("builtins.int")), b.text("1")),
    "a score that is called": b.call("sklearn.metrics._regression.r2_score", b.lst(), b.lst()),
    "a function of tensors that is called": b.call("torch.nn.functional.relu", b.tensor()),
    # Keys
    "an object as a key": keyed(b.call(NAMESPACE)),
    "an object in a tuple as a key": keyed(b.tup(b.number(1), b.tup(b.call(NAMESPACE)))),
    "an object in a set": b.members(b.call(NAMESPACE)),
    "an object in a frozen set as a key": keyed(b.frozen(b.call(NAMESPACE))),
    "an object in a set of protocol 2": b.call("builtins.set", b.lst(b.call(NAMESPACE))),
    "an object among the keys that Python 2 wrote": b.call(
        "collections.OrderedDict", b.lst(b.lst(b.call(NAMESPACE), NONE))
    ),
    "an object as a key of an ordered dict": b.fill(b.ordered(), (b.call(NAMESPACE), NONE)),
    "arguments of training as a key": keyed(made(ARGUMENTS)),
    "an object through _reconstructor as a key": keyed(reconstructed(b.named(NAMESPACE))),
    # numpy
    "a generator of another class": b.call("numpy.random._pickle.__bit_generator_ctor", EVIL),
    "a generator of a class that is only handed on": b.call(
        "numpy.random._pickle.__bit_generator_ctor", b.named("numpy.ndarray")
    ),
    "a generator of a text": b.call("numpy.random._pickle.__bit_generator_ctor", b.text("os")),
    "a generator by another constructor": b.call("numpy.random._pickle.__generator_ctor", b.text("PCG64"), EVIL),
    "a generator by a trusted function": b.call(
        "numpy.random._pickle.__generator_ctor", b.text("PCG64"), b.named("builtins.list")
    ),
    "a position behind the buffer": b.build(
        BIT_GENERATOR, b.tup(b.dct((b.text("state"), b.dct((b.text("pos"), b.number(625))))), NONE)
    ),
    "a position before the buffer": b.build(BIT_GENERATOR, b.tup(b.dct((b.text("buffer_pos"), b.number(-1))), NONE)),
    "a position that is computed": b.build(BIT_GENERATOR, b.dct((b.text("pos"), array()))),
    "another key of a generator": b.build(BIT_GENERATOR, b.dct((b.text("lock"), b.number(1)))),
    "a seed of another kind": b.build(BIT_GENERATOR, b.tup(b.dct(), b.call(NAMESPACE))),
    "a seed sequence of another class": b.call(
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence", b.named("numpy.ndarray"), b.number(1), NONE
    ),
    "attributes of a seed sequence": b.build(
        b.call(
            "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
            b.named("numpy.random.bit_generator.SeedSequence"),
            b.number(1),
            NONE,
        ),
        b.tup(b.number(1), b.number(0), array("u4"), b.number(4), b.tup(), b.dct((b.text("a"), NONE))),
    ),
    "a change of numpy's own type": b.build(
        b.call("numpy.dtype", b.text("f8"), FALSE, FALSE),
        b.tup(b.number(3), b.text(">"), NONE, NONE, NONE, b.number(-1), b.number(-1), b.number(0)),
    ),
    "a type of another class": b.call("numpy.dtype", b.named("numpy.ndarray"), FALSE, TRUE),
    "a record without fields": b.call("numpy.dtype", b.named("numpy.record"), FALSE, FALSE),
    "a masked array of another class": b.call(
        "numpy.ma.core._mareconstruct",
        b.named("numpy.ndarray"),
        b.named("numpy.ndarray"),
        b.tup(b.number(0)),
        b.text("b"),
    ),
    "a masked array of another base": b.call(
        "numpy.ma.core._mareconstruct", b.named("numpy.ma.MaskedArray"), EVIL, b.tup(b.number(0)), b.text("b")
    ),
    # pandas
    "an index of another class": b.call("pandas.core.indexes.base._new_Index", b.named("builtins.dict"), b.dct()),
    "an index of a trusted maker": b.call(
        "pandas.core.indexes.base._new_Index", b.named("pandas.core.indexes.base._new_Index"), b.dct()
    ),
    "an index with another keyword": b.call(
        "pandas.core.indexes.base._new_Index", b.named("pandas.Index"), b.dct((b.text("tupleize_cols"), TRUE))
    ),
    "an index with a type of text": b.call(
        "pandas.core.indexes.base._new_Index", b.named("pandas.Index"), b.dct((b.text("dtype"), b.text("x")))
    ),
    "an index with computed keywords": b.call(
        "pandas.core.indexes.base._new_Index", b.named("pandas.Index"), b.ordered((b.text("data"), NONE))
    ),
    "an array of another class, empty": b.call(
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", EVIL, b.number(1), NONE
    ),
    "attributes of an array": b.build(
        b.call("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", b.named("pandas.Categorical"), b.number(1), NONE),
        b.tup(b.dtype("f8"), array(), b.dct((b.text("_codes"), NONE))),
    ),
    "a frame with another attribute": made("pandas.DataFrame", ("columns", b.lst())),
    "a frame of blocks that are none": made("pandas.DataFrame", ("_mgr", b.call(NAMESPACE))),
    "a frame with flags of its own": made("pandas.DataFrame", ("_flags", b.dct((b.text("x"), TRUE)))),
    # Hyper-parameters and callbacks
    "hyper-parameters that are given state": b.build(
        b.new("lightning.fabric.utilities.data.AttributeDict"), b.dct((b.text("a"), NONE))
    ),
    "a callback that is created": b.new("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    # Estimators and boosters
    "an estimator that is called": b.call("sklearn.svm._classes.SVC"),
    "an estimator with a cache": made("sklearn.pipeline.Pipeline", ("memory", b.text("cache"))),
    "an estimator with special attributes": made("sklearn.svm._classes.SVC", ("__class__", NONE)),
    "a kernel function that runs": made("sklearn.svm._classes.SVC", ("kernel", EVIL)),
    "a booster that is a pointer": made("lightgbm.basic.Booster", ("_handle", b.number(0xDEAD))),
    "a booster that is an old pointer": made("lightgbm.basic.Booster", ("handle", b.number(0xDEAD))),
    "a booster with data": made("lightgbm.basic.Booster", ("train_set", b.call(NAMESPACE))),
    "another booster that is a pointer": made("xgboost.core.Booster", ("handle", b.number(0xDEAD))),
    "another booster that is text": made("xgboost.core.Booster", ("handle", b.text("x"))),
    "a booster that is called": b.call("xgboost.core.Booster"),
    "a distance that calls a function": b.call(
        "sklearn.metrics._dist_metrics.newObj", b.named("sklearn.metrics._dist_metrics.PyFuncDistance64")
    ),
    "a distance with a function": b.build(
        b.call("sklearn.metrics._dist_metrics.newObj", b.named("sklearn.metrics._dist_metrics.EuclideanDistance64")),
        b.tup(b"G" + b"\0" * 8, array(), array(), SIZE_AS_HOOK, b.dct()),
    ),
    "a tree of another class": b.call("sklearn.neighbors._kd_tree.newObj", EVIL),
    "a tree of nodes in a list": b.build(
        b.call("sklearn.tree._tree.Tree", b.number(1), array("i8"), b.number(1)), b.dct((b.text("nodes"), b.lst()))
    ),
    "an array of joblib of another class": made("joblib.numpy_pickle.NumpyArrayWrapper", ("subclass", EVIL)),
    "an array of joblib of a class that is handed on": made(
        "joblib.numpy_pickle.NumpyArrayWrapper", ("subclass", b.named("numpy.matrix"))
    ),
    "an old array of joblib, in another file": made(
        "joblib.numpy_pickle_compat.NDArrayWrapper", ("filename", b.text("../x.npy"))
    ),
    # Training
    "arguments of training that are called": b.call(ARGUMENTS, b.text("out")),
    "an enumeration with a number": b.call("transformers.trainer_utils.IntervalStrategy", b.number(1)),
    "an enumeration that is changed": b.build(
        b.call("transformers.trainer_utils.IntervalStrategy", b.text("no")), b.dct((b.text("_value_"), NONE))
    ),
    "an enumeration that is changed itself": b.build(b.named("transformers.trainer_utils.IntervalStrategy"), b.dct()),
    # torch
    "hooks among the attributes of a parameter": b.call(
        "torch._utils._rebuild_parameter_with_state",
        *(b.tensor(), TRUE, b.ordered(), b.dct((b.text("_backward_hooks"), b.dct((b.number(1), SIZE_AS_HOOK))))),
    ),
    "data among the attributes of a tensor": b.call(
        "torch._tensor._rebuild_from_type_v2",
        *(b.named("torch._utils._rebuild_tensor_v2"), b.named("torch.Tensor")),
        b.tup(b.storage(), b.number(0), b.tup(), b.tup(), FALSE, b.ordered()),
        b.dct((b.text("data"), b.tensor())),
    ),
    "a storage that is no storage": b.tensor(b.call("argparse.Namespace")),
    "a quantiser of another scheme": b.call(
        "torch._utils._rebuild_qtensor",
        *(b.storage(), b.number(0), b.tup(), b.tup()),
        *(b.tup(b.named("torch.strided"), b.number(1), b.number(1)), FALSE, b.ordered()),
    ),
    "a quantiser without numbers": b.call(
        "torch._utils._rebuild_qtensor", b.storage(), b.number(0), b.tup(), b.tup(), b.tup(), FALSE, b.ordered()
    ),
    "a quantised tensor with hooks": b.call(
        "torch._utils._rebuild_qtensor",
        *(b.storage(), b.number(0), b.tup(), b.tup()),
        *(b.tup(b.named("torch.per_tensor_affine"), b.number(1), b.number(1)), FALSE),
        b.ordered((b.number(1), SIZE_AS_HOOK)),
    ),
    "a sparse tensor of anything": b.call(
        "torch._utils._rebuild_sparse_tensor",
        b.call("torch.serialization._get_layout", b.text("torch.sparse_coo")),
        b.tup(NONE),
    ),
    "a tensor from numpy on a computed device": b.call(
        "torch._utils._rebuild_device_tensor_from_numpy", array(), b.named("torch.float32"), b.call(NAMESPACE), FALSE
    ),
    "a wrapper of another class": b.call("torch._utils._rebuild_wrapper_subclass", EVIL, b.named("torch.float32")),
    "a storage from computed bytes": b.call("torch.storage._load_from_bytes", b.call("collections.OrderedDict")),
    "a storage at an unknown place": b.persistent(
        b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), b.text("os"), b.number(4))
    ),
    "a compiled module": b.new("torch.jit._script.RecursiveScriptModule"),
    # Code
    "a class by value": b.call("dill._dill._create_type", b.named("builtins.type"), b.text("A"), b.tup(), b.dct()),
    "a class of cloudpickle": b.call("cloudpickle.cloudpickle._make_skeleton_class", b.named("builtins.type")),
    "a class that is made": b.call("builtins.type", b.text("A"), b.tup(), b.dct()),
}

HOSTILE |= {
    # Objects whose attributes the file may choose: loaders and libraries look methods up on them
    "hyper-parameters that are appended to": b.append(b.new(ATTRIBUTES), NONE),
    "hyper-parameters that are extended": b.append(b.fill(b.new(ATTRIBUTES), (b.text("extend"), NONE)), NONE, NONE),
    "members that are added to hyper-parameters": b.new(ATTRIBUTES) + b"(N\x90",
    "a bunch that is appended to": b.append(b.fill(b.new(BUNCH), (b.text("append"), b.new(LINEAR))), NONE),
    "hyper-parameters that offer memory": b.fill(b.new(ATTRIBUTES), (b.text("__array_interface__"), b.dct())),
    "hyper-parameters with a key that is no text": b.fill(b.new(ATTRIBUTES), (b.number(1), NONE)),
    "a bunch that becomes an array by a call": b.fill(b.new(BUNCH), (b.text("__array__"), SIZE_AS_HOOK)),
    "a module that offers memory": made(LINEAR, ("_parameters", b.dct((b.text("__array_interface__"), b.dct())))),
    "a module whose parts are special": made(LINEAR, ("_modules", b.ordered((b.text("__array__"), NONE)))),
    "a module whose parts are special, in pairs": made(
        LINEAR, ("_modules", b.call("collections.OrderedDict", b.lst(b.lst(b.text("__array__"), NONE))))
    ),
    "thresholds that are no arrays": made(ISOTONIC, ("X_thresholds_", made(NAMESPACE)), ("y_thresholds_", array())),
    "an index of something else": b.call(INDEX, b.named("pandas.Index"), b.dct((b.text("data"), made(NAMESPACE)))),
    "levels of something else": b.call(
        INDEX, b.named("pandas.MultiIndex"), b.dct((b.text("levels"), b.lst(made(NAMESPACE))))
    ),
    "blocks that are none": b.call("pandas.core.internals.managers.BlockManager", b.tup(made(NAMESPACE)), b.lst()),
    "axes that are none": b.call("pandas.core.internals.managers.BlockManager", b.tup(), b.lst(made(NAMESPACE))),
    "a type of intervals of something else": b.build(
        b.new("pandas.IntervalDtype"), b.dct((b.text("subtype"), b.new("sklearn.dummy.DummyClassifier")))
    ),
    "a frame under a long name": made("pandas.Series", ("_name", b.tup(b.tup(NONE)))),
    "positions in a sparse matrix that are text": b.fill(b.new("scipy.sparse._dok.dok_matrix"), (b.text("a"), TRUE)),
    "a sparse matrix of objects": b.fill(
        b.new("scipy.sparse._dok.dok_matrix"), (b.tup(b.number(0), b.number(0)), made(NAMESPACE))
    ),
    # What takes a loader more than it should
    "an array with room for more than it holds": b.build(
        array_of(), b.tup(b.number(1), b.tup(b.number(1 << 30)), OBJECTS, FALSE, b.lst(NONE))
    ),
    "an array with fewer bytes than its elements": b.build(
        array_of(), b.tup(b.number(1), b.tup(b.number(2)), b.dtype("f8"), FALSE, b.blob(b"A" * 8))
    ),
    "an array whose elements grow later": b.call("numpy.dtype", b.named("numpy.record"), FALSE, TRUE)
    + b"q\x00"
    + b.build(array_of(), b.tup(b.number(1), b.tup(b.number(9)), b"h\x00", FALSE, b.blob(b"")))
    + b"h\x00"
    + b.tup(b.number(3), b.text("|"), NONE, b.tup(), b.dct(), b.number(8), b.number(1), b.number(16))
    + b"b0",
    "an element type of very many parts": keyed(doubled_type(6)),
    "a set of tuples in tuples": b.call("builtins.set", b.lst(doubled(40))),
    "a count of tuples in tuples": b.call("collections.Counter", b.lst(doubled(40))),
    "pairs with tuples in tuples": b.call("collections.OrderedDict", b.lst(b.tup(doubled(40), NONE))),
    "a set of very deep tuples": b.call("builtins.frozenset", b.lst(b")" + b"\x85" * 5000)),
    "a range of very long numbers": b.call("builtins.range", NONE + b"0\x8b\x00\x00\x01\x00" + b"\x01" * 65536),
    "an expression of very many ranges": b.call("re._compile", b.text("(?i)[" + "a-\uffff" * 201 + "]"), b.number(32)),
    "an expression of very many ranges, written otherwise": b.call(
        "re._compile", b.text(r"[a-\uffffb-\U0000fffe]" * 200), b.number(32)
    ),
    "very many expressions": b.lst(*(b.call("re._compile", b.text("a" * 50_000), b.number(flag)) for flag in range(9))),
    "a very long expression": b.call("re._compile", b.text("a" * 100_001), b.number(32)),
    # Names that only look like those in the table
    "a module whose name has a colon": b.call(b"czoneinfo:ZoneInfo\n_unpickle\n", b.text("Europe/Rome"), TRUE),
}


def structure(size: int, names: tuple[str, ...], *fields: tuple[bytes, bytes], alignment: int = 1, flags: int = 27):
    """An element type with fields, and an array of one such element."""
    named = b.tup(*map(b.text, names))
    state = (b.number(3), b.text("|"), NONE, named, b.dct(*fields), b.number(size), b.number(alignment))
    element = b.dtype(f"V{size}", *state, b.number(flags))
    content = b.lst(NONE) if flags & 1 else b.blob(b"A" * size)
    return b.build(array_of(), b.tup(b.number(1), b.tup(b.number(1)), element, FALSE, content))


def field(name: str, element: bytes, offset: int, *title: str) -> tuple[bytes, bytes]:
    return b.text(name), b.tup(element, b.number(offset), *map(b.text, title))


WHOLE = b.dtype("i8")
STACKING = "sklearn.ensemble._stacking.StackingClassifier"
HOSTILE |= {
    # What numpy and pandas believe
    "a number that lies over an object": structure(8, ("a", "b"), field("a", OBJECTS, 0), field("b", WHOLE, 0)),
    "objects that lie over each other": structure(16, ("a", "b"), field("a", OBJECTS, 0), field("b", OBJECTS, 4)),
    "an object under two names": structure(8, ("a", "b"), field("a", OBJECTS, 0), field("b", OBJECTS, 0)),
    "a title that is another field": structure(
        16, ("a", "c"), field("a", OBJECTS, 0, "b"), field("b", WHOLE, 0, "b"), field("c", WHOLE, 8)
    ),
    "a field without a name": structure(16, ("a",), field("a", OBJECTS, 0), field("b", WHOLE, 8)),
    "names that are one": structure(8, ("a", "a"), field("a", OBJECTS, 0)),
    "elements that are not aligned to anything": structure(8, ("a",), field("a", WHOLE, 0), alignment=0, flags=0),
    "sizes below zero": b.build(
        array_of(), b.tup(b.number(1), b.tup(b.number(-1), b.number(-1)), b.dtype("f8"), FALSE, b.blob(b"A" * 8))
    ),
    "metadata of another type behind plain ones": b.lst(
        *(
            b.dtype("M8", b.number(4), b.text("<"), NONE, NONE, NONE, MINUS, MINUS, b.number(0), metadata)
            for metadata in (NONE, made(NAMESPACE))
        )
    ),
    "a column behind the last": frame(sliced(2, 4), 2),
    "columns far away": frame(sliced(1 << 40, 1 << 41, 1 << 39), 2),
    "columns far away, in an array": frame(whole(0, 1 << 40), 2),
    "columns far away, in big-endian numbers": frame(whole(0, 1 << 40, order=">"), 2),
    "columns before the first": frame(whole(0, -1), 2),
    "columns that are no numbers": frame(array("f8"), 2),
    "as many columns as nobody knows": b.call(
        MANAGER, b.tup(b.call(BLOCK, array(), sliced(0, 1), b.number(2))), b.lst(index(made(NAMESPACE)))
    ),
    "codes of no label": multiple(whole(0, 3), 3),
    "codes below none": multiple(whole(-2, 0), 3),
    "codes of two lengths": b.call(
        INDEX,
        b.named("pandas.MultiIndex"),
        b.dct((b.text("levels"), b.lst(labels(3), labels(3))), (b.text("codes"), b.lst(whole(0), whole(0, 1)))),
    ),
    "a code of no category": categorical(whole(0, 2), 2),
    "categories that are set twice": b.build(categorical(whole(0), 2), b.tup(categories(1), whole(0))),
    # Methods that are called by their name
    "a method that stacking calls on what a file gives": made(STACKING, ("stack_method_", b.lst(b.text("unlink")))),
    "a method that a chain calls": made("sklearn.multioutput.ClassifierChain", ("chain_method_", b.text("unlink"))),
    "a method that a threshold is put to": made(
        "sklearn.model_selection._classification_threshold.FixedThresholdClassifier",
        ("response_method", b.lst(b.text("predict"), b.text("unlink"))),
    ),
    "a method that a score calls": made("sklearn.metrics._scorer._Scorer", ("_response_method", b.text("unlink"))),
    "a number of jobs that is evaluated": made(
        "sklearn.model_selection._search.GridSearchCV", ("pre_dispatch", b.text("print()"))
    ),
    "a spline that calls another function": made("scipy.interpolate._bsplines.BSpline", ("_asarray", EVIL)),
    "a spline whose call is replaced": made("scipy.interpolate._bsplines.BSpline", ("integrate", SIZE_AS_HOOK)),
    "a booster that is the name of a file": made("xgboost.sklearn.XGBModel", ("_Booster", b.text("/tmp/model"))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_use_never_passes(name):
    assert grave(HOSTILE[name])


HONEST = {
    "a module": made(LINEAR, ("training", TRUE), ("_forward_hooks", b.ordered()), ("_parameters", b.dct())),
    "a module through _reconstructor": b.build(reconstructed(b.named(LINEAR)), b.dct((b.text("training"), TRUE))),
    "a namespace through __newobj__": b.build(
        b.call("copyreg.__newobj__", b.named(NAMESPACE)), b.dct((b.text("a"), NONE))
    ),
    "a namespace through __newobj_ex__": b.call("copyreg.__newobj_ex__", b.named(NAMESPACE), b.tup(), b.dct()),
    "a zone": unpickle_zone("America/Argentina/Buenos_Aires"),
    "a zone through getattr": b.call(b.call("builtins.getattr", ZONE, b.text("_unpickle")), b.text("UTC"), TRUE),
    "days as keys": keyed(b.tup(b.call("datetime.date", b.blob(b"\x07\xe8\x01\x01")), b.call("torch.Size", b.tup()))),
    "hyper-parameters": b.fill(b.new("lightning.fabric.utilities.data.AttributeDict"), (b.text("lr"), b.number(1))),
    "a callback as a key": keyed(b.named("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")),
    "a partial": b.call("functools.partial", b.named("torch.nn.functional.relu")),
    "a generator by name": b.build(
        b.call("numpy.random._pickle.__bit_generator_ctor", b.text("MT19937")),
        b.dct((b.text("state"), b.dct((b.text("pos"), b.number(624)), (b.text("key"), array("u4"))))),
    ),
    "a generator as numpy 1 wrote it": b.call(
        "numpy.random._pickle.__generator_ctor",
        b.text("PCG64"),
        b.named("numpy.random._pickle.__bit_generator_ctor"),
    ),
    "an array of objects": b.build(
        array_of(), b.tup(b.number(1), b.tup(b.number(2)), OBJECTS, FALSE, b.lst(NONE, NONE))
    ),
    "a sparse matrix": b.fill(b.new("scipy.sparse._dok.dok_matrix"), (b.tup(b.number(0), b.number(1)), TRUE)),
    "parts of a module in pairs": made(
        LINEAR, ("_modules", b.call("collections.OrderedDict", b.lst(b.lst(b.text("0"), b.new(LINEAR)))))
    ),
    "a set of pairs": b.call("builtins.set", b.lst(b.tup(b.number(1), b.number(2)))),
    "an expression without letter case": b.call("re._compile", b.text("[a-z]+"), b.number(34)),
    "levels of an index": b.call(
        "pandas.core.indexes.base._new_Index",
        b.named("pandas.MultiIndex"),
        b.dct(
            (b.text("levels"), b.lst(labels(66))),
            (b.text("codes"), b.lst(array("i1"))),
            (b.text("names"), b.lst(NONE)),
        ),
    ),
    "an index": b.call(
        "pandas.core.indexes.base._new_Index", b.named("pandas.Index"), b.dct((b.text("data"), array()))
    ),
    "a frame": frame(sliced(0, 4, 2), 4),
    "a frame with its columns in an array": frame(whole(0, 3), 4),
    "a frame with its columns in big-endian numbers": frame(whole(0, 3, order=">"), 4),
    "codes, and none": multiple(whole(-1, 0, 2), 3),
    "a categorical": categorical(whole(-1, 0, 1), 2),
    "a field with a title": structure(8, ("a",), field("a", OBJECTS + b"q\xc9", 0, "b"), field("b", b"h\xc9", 0, "b")),
    "numbers that lie over each other": structure(8, ("a", "b"), field("a", WHOLE, 0), field("b", WHOLE, 0), flags=0),
    "a stack": made(STACKING, ("stack_method_", b.lst(b.text("predict_proba"))), ("stack_method", b.text("auto"))),
    "an estimator": made("sklearn.pipeline.Pipeline", ("memory", NONE), ("steps", b.lst())),
    "pairs as Python 2 wrote them": b.call("collections.OrderedDict", b.lst(b.lst(b.text("a"), b.tensor()))),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_use_is_silent(name):
    assert grave(HONEST[name]) == []


def test_a_storage_must_be_one_that_the_container_holds():
    assert grave(b.tensor(), storages={"0"}) == []
    assert grave(b.tensor(), storages={"1", "00"}) != []
    assert grave(b.tensor(), storages=frozenset()) != []


def test_a_storage_is_no_larger_than_what_the_container_holds():
    assert grave(b.tensor(), storages={"0": 16}) == []
    assert grave(b.tensor(), storages={"0": 15}) == [
        "AIV306 asks for a storage of 16 bytes, of which the container holds 15"
    ]


def test_what_native_code_reads_is_said_and_is_no_alarm():
    from dataclasses import replace

    from aiverify.finding import Severity
    from aiverify.policy import DEFAULT_POLICY
    from aiverify.report import Outcome
    from aiverify.verdict import effect

    value = made("xgboost.core.Booster", ("handle", b"\x96" + (4).to_bytes(8, "little") + b"ubj!"))
    (item,) = findings(b.lst(value, value))
    assert (item.rule, item.severity) == ("AIV314", "medium")
    assert "native code reads the booster of xgboost.core.Booster" in item.message
    assert effect(item, DEFAULT_POLICY) is Outcome.PASS
    assert effect(item, replace(DEFAULT_POLICY, review_at=Severity.LOW)) is Outcome.REVIEW


def test_positions_that_lie_beside_the_stream_are_said_to_be_read_by_native_code():
    values = {"subclass": b.named("numpy.ndarray"), "shape": b.tup(b.number(2)), "order": b.text("C"), "dtype": WHOLE}
    beside = made("joblib.numpy_pickle.NumpyArrayWrapper", *values.items())
    for value in (frame(beside, 2), multiple(beside, 2), categorical(beside, 2)):
        (item,) = findings(value)
        assert (item.rule, "positions" in item.message) == ("AIV314", True)


def test_of_findings_of_one_kind_there_are_no_more_than_somebody_reads():
    found = findings(b.lst(*(b.named(f"some.name{number}") for number in range(1500)), EVIL))
    assert len(found) == 1002
    assert found[-2].rule == "AIV301"
    assert found[-1].message == "500 more findings like these"


LONG = 2000  # of what is shared, and as many calls share it
SHARED = {
    "a dict of keywords": b"}(" + (b.text("name") + NONE) * LONG + b"u" + b"q\x010",
    "a table of parameters": b"}(" + (b.text("a") + NONE) * LONG + b"u" + b"q\x010",
    "names of weights": b"](" + b.text("a") * 999 + b"eq\x020](" + b"h\x02" * 999 + b"eq\x010",
    "a list of members": b"](" + b"K\x01" * LONG + b"eq\x010",
    "a list of pairs": b"](" + b.tup(b.text("a"), NONE) * LONG + b"eq\x010",
    "a dict that a class begins with": b"}(" + (b.text("a") + NONE) * LONG + b"u" + b"q\x010",
}
SHARING = {
    "a dict of keywords": b.call(INDEX, b.named("pandas.Index"), b"h\x01"),
    "a table of parameters": b.build(b.new(LINEAR), b.dct((b.text("_parameters"), b"h\x01"))),
    "names of weights": b.build(b.new("torch.nn.modules.rnn.LSTM"), b.dct((b.text("_all_weights"), b"h\x01"))),
    "a list of members": b.call("builtins.set", b"h\x01"),
    "a list of pairs": b.call("collections.OrderedDict", b"h\x01"),
    "a dict that a class begins with": reconstructed(b.named(BUNCH), b.named("builtins.dict"), b"h\x01"),
}


def within(limit: int, task: Callable[[], object]) -> None:
    """Fail when ``task`` takes more than ``limit`` instructions of Python. Time would depend on the machine."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        if count > limit:
            raise AssertionError(f"more than {limit} instructions")
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # some releases of Python 3.12 look for one frame with it now, or never
    sys.settrace(trace)
    try:
        task()
    finally:
        sys.settrace(before)
    assert count


@pytest.mark.parametrize("what", SHARED)
def test_what_many_calls_share_is_gone_through_once(what):
    graph = interpret(b.stream(SHARED[what] + b.lst(*[SHARING[what]] * LONG)))
    assert graph.failure is None
    within(3 * LONG**2, lambda: judge(graph, file="f"))


def test_fields_that_many_types_share_are_looked_at_within_a_budget(monkeypatch):
    shared = b"}(" + (b.text("a") + b.tup(b.dtype("i1"), b.number(0))) * 100 + b"u" + b"q\x010"
    sharing = b.dtype(
        "V1", b.number(3), b.text("|"), NONE, b.tup(b.text("a")), b"h\x01", b.number(1), b.number(1), b.number(0)
    )
    stream = shared + b.lst(*[sharing] * 20)
    assert grave(stream) == []
    monkeypatch.setattr(arrays, "_WORK", 1000)
    assert {text.partition(" ")[0] for text in grave(stream)} == {"AIV303"}


def test_what_a_loader_would_copy_over_and_over_does_not_pass():
    shared = b.blob(bytes(1 << 20)) + b"q\x010"
    copies = [b.call("builtins.bytearray", b"h\x01")] * 300
    assert grave(shared + b.lst(*copies[:2])) == []
    assert [text.partition(":")[0] for text in grave(shared + b.lst(*copies))] == [
        "AIV311 calls take the same large arguments over and over"
    ]


def test_arguments_and_states_that_calls_share_are_counted_once_for_each_call():
    """Going through them anew for each call would take as long as making the copies."""
    shared = b.tup(*[NONE] * LONG) + b"q\x010"
    taken = [b"q\x000" + b"h\x00h\x01R" * LONG, b"q\x000" + b"h\x00)\x81q\x02h\x01b0" + b"h\x00h\x02\x85R" * LONG]
    for calls in taken:
        graph = interpret(b.stream(shared + b.named(NAMESPACE) + calls))
        within(3 * LONG**2, lambda graph=graph: judge(graph, file="f"))


def test_what_a_stream_names_through_others_is_reported_as_what_it_is():
    items = findings(reconstructed(b.named("some.where.Thing")))
    assert [item.evidence["global"] for item in items if item.rule == "AIV302"] == ["some.where.Thing"]
    assert "created without being called" in items[0].message
    items = findings(keyed(b.call(NAMESPACE)))
    assert [item.message for item in items] == ["argparse.Namespace is hashed, which ordinary files do not do with it"]
