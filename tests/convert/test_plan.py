"""Plans made from hand-built graphs: what is converted, what is left behind, what is refused."""

import json

import pytest
from checkpoint_builder import GraphBuilder

from aiverify.convert import holdings, walk
from aiverify.convert.checkpoint import EXPANSION, plan
from aiverify.convert.plan import ConversionPlan, NotConvertibleError, Transform
from aiverify.formats.checkpoint import StorageRange
from aiverify.pickles.graph import Blob, CallKind, Mutation, OutOfBand, SetNode


@pytest.fixture
def build() -> GraphBuilder:
    return GraphBuilder()


def planned(build: GraphBuilder, root, **options) -> ConversionPlan:
    size = options.pop("source_size", build.size)
    return plan(root, build.graph, build.storages, source_size=size, **options)


def refused(build: GraphBuilder, root, **options) -> str:
    with pytest.raises(NotConvertibleError) as caught:
        planned(build, root, **options)
    return str(caught.value)


def header_of(result: ConversionPlan) -> dict:
    return json.loads(result.header[8:])


# What is converted


def test_a_flat_dict_gives_one_tensor_per_name_in_a_valid_header(build):
    root = build.ordered(
        {
            "w": build.tensor(build.storage("0", numel=6), 0, (2, 3), (3, 1)),
            "b": build.tensor(build.storage("1", "torch.HalfStorage", 3, 2), 1, (2,), (1,)),
        }
    )
    result = planned(build, root)
    assert header_of(result) == {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
    }
    assert len(result.header) % 8 == 0
    assert int.from_bytes(result.header[:8], "little") == len(result.header) - 8
    assert result.output_size == len(result.header) + 28
    assert [(tensor.source_offset, tensor.length) for tensor in result.tensors] == [(0, 24), (26, 4)]


def test_nested_dicts_and_lists_are_joined_by_dots(build):
    tensors = [build.tensor(build.storage(str(index))) for index in range(3)]
    root = build.dict({"nn": build.dict({"layers": [tensors[0], (tensors[1],)], "out": tensors[2]})})
    assert {tensor.name for tensor in planned(build, root).tensors} == {"nn.layers.0", "nn.layers.1.0", "nn.out"}


def test_an_ordered_dict_made_by_python_2_is_read(build):
    tensor = build.tensor()
    root = build.call("collections.OrderedDict", [["w", tensor], ("epoch", 3)])
    assert [tensor.name for tensor in planned(build, root).tensors] == ["w"]


def test_pairs_appended_to_the_list_of_an_ordered_dict_later_are_refused(build):
    pairs = [["w", build.tensor()]]
    root = build.call("collections.OrderedDict", pairs)
    pairs.append(["x", build.tensor(build.storage("1"))])
    assert "grows afterwards" in refused(build, root)


@pytest.mark.parametrize("function", ["_rebuild_parameter", "_rebuild_parameter_with_state"])
def test_a_parameter_is_the_tensor_in_it(build, function):
    state = (build.dict({"tag": "x"}),) if function.endswith("state") else ()
    node = build.call(f"torch._utils.{function}", build.tensor(), True, build.ordered(), *state)
    result = planned(build, build.dict({"w": node}))
    assert [tensor.name for tensor in result.tensors] == ["w"]
    assert [(dropped.path, dropped.type) for dropped in result.dropped] == ([("w.tag", "str")] if state else [])


def test_a_buffer_is_a_tensor_whose_flags_are_torchs_own_business(build):
    args = (build.storage(), 0, (2, 2), (2, 1), False, build.ordered())
    state = build.dict({"persistent": True, "_is_buffer": True})
    rebuild = build.name("torch._utils._rebuild_tensor_v2")
    node = build.call("torch._tensor._rebuild_from_type_v2", rebuild, build.name("torch.Tensor"), args, state)
    result = planned(build, build.dict({"w": node}))
    assert (len(result.tensors), result.dropped) == (1, ())


def test_a_typed_tensor_on_an_untyped_storage_counts_bytes(build):
    storage = build.storage("0", "torch.storage.UntypedStorage", 8, 1)
    dtype = build.name("torch.uint16")
    node = build.call("torch._utils._rebuild_tensor_v3", storage, 1, (3,), (1,), False, build.ordered(), dtype)
    (tensor,) = planned(build, build.dict({"w": node})).tensors
    assert (tensor.dtype, tensor.source_offset, tensor.length) == ("U16", 2, 6)


def test_packed_elements_double_the_last_dimension(build):
    storage = build.storage("0", "torch.storage.UntypedStorage", 6, 1)
    args = (storage, 0, (2, 3), (3, 1), False, build.ordered(), build.name("torch.float4_e2m1fn_x2"))
    node = build.call("torch._utils._rebuild_tensor_v3", *args)
    (tensor,) = planned(build, build.dict({"w": node})).tensors
    assert (tensor.dtype, tensor.shape, tensor.length) == ("F4", (2, 6), 6)


def test_a_storage_of_the_legacy_format_has_one_more_field(build):
    build.storage()
    storage = build.persistent(("storage", build.name("torch.FloatStorage"), "0", "cuda:0", 4, None))
    build.graph.persistents.pop(0)
    assert planned(build, build.dict({"w": build.tensor(storage)})).names == 1


def test_tied_tensors_are_stored_under_the_first_name_and_recorded_under_the_others(build):
    shared = build.tensor()
    root = build.ordered({"embed": shared, "z": build.tensor(build.storage("1")), "a.head": shared})
    again = build.tensor()
    root.items.append(("b.head", again))
    result = planned(build, root)
    assert result.aliases == (("a.head", "embed"), ("b.head", "embed"))
    assert header_of(result)["__metadata__"] == {"format": "pt", "a.head": "embed", "b.head": "embed"}
    assert (len(result.tensors), result.names) == (2, 4)


def test_views_that_overlap_without_being_the_same_are_stored_separately(build):
    storage = build.storage(numel=4)
    root = build.dict({"all": build.tensor(storage, 0, (4,), (1,)), "part": build.tensor(storage, 1, (3,), (1,))})
    result = planned(build, root)
    assert (len(result.tensors), result.aliases) == (2, ())


def test_a_tied_tensor_called_format_does_not_overwrite_the_format(build):
    shared = build.tensor()
    result = planned(build, build.dict({"w": shared, "format": shared}))
    assert (header_of(result)["__metadata__"], len(result.tensors)) == ({"format": "pt"}, 2)


def test_empty_and_scalar_tensors_have_their_place(build):
    root = build.dict(
        {
            "empty": build.tensor(build.storage("0", numel=0), 0, (0, 1 << 40), (1, 1)),
            "scalar": build.tensor(build.storage("1", numel=1), 0, (), ()),
        }
    )
    result = planned(build, root)
    assert header_of(result)["empty"]["shape"] == [0, 1 << 40]
    assert {tensor.name: tensor.length for tensor in result.tensors} == {"empty": 0, "scalar": 4}


def test_tensors_stand_by_falling_alignment_and_then_in_the_order_of_the_source(build):
    root = build.dict(
        {
            "byte": build.tensor(build.storage("0", "torch.ByteStorage", 4, 1)),
            "late": build.tensor(build.storage("1", numel=8), 4),
            "early": build.tensor(build.storage("1", numel=8), 0),
            "double": build.tensor(build.storage("2", "torch.DoubleStorage", 4, 8)),
        }
    )
    result = planned(build, root)
    assert [tensor.name for tensor in result.tensors] == ["double", "early", "late", "byte"]
    assert all(tensor.offset % tensor.itemsize == 0 for tensor in result.tensors)


@pytest.mark.parametrize(
    ("stride", "byteorder", "kind", "expected"),
    [
        ((2, 1), "little", "torch.FloatStorage", Transform.COPY),
        ((1, 2), "little", "torch.FloatStorage", Transform.GATHER),
        ((2, 1), "big", "torch.FloatStorage", Transform.BYTESWAP),
        ((1, 2), "big", "torch.FloatStorage", Transform.GATHER_BYTESWAP),
        ((2, 1), "big", "torch.ByteStorage", Transform.COPY),
    ],
)
def test_the_transform_says_whether_the_bytes_are_copied(build, stride, byteorder, kind, expected):
    width = 1 if "Byte" in kind else 4
    root = build.dict({"w": build.tensor(build.storage("0", kind, 4, width), 0, (2, 2), stride)})
    assert planned(build, root, byteorder=byteorder).tensors[0].transform is expected


def test_a_complex_number_is_swapped_in_halves(build):
    root = build.dict({"w": build.tensor(build.storage("0", "torch.ComplexFloatStorage", 4, 8))})
    (tensor,) = planned(build, root, byteorder="big").tensors
    assert (tensor.itemsize, tensor.swap) == (8, 4)


# What is left behind


def dropped(result: ConversionPlan) -> dict[str, str]:
    return {entry.path: entry.type for entry in result.dropped}


def test_values_that_are_no_tensors_are_listed_with_path_and_type(build):
    root = build.dict(
        {
            "w": build.tensor(),
            "epoch": 3,
            "config": build.dict({"lr": 0.1}),
            "device": build.call("torch.device", "cpu"),
            "dtype": build.name("torch.float32"),
            "best": build.call("numpy.core.multiarray.scalar", build.call("numpy.dtype", "f8"), Blob(0, 8)),
            "names": SetNode(["a"]),
            "raw": Blob(0, 8),
            "none": None,
        }
    )
    root.pairs.append((7, "seven"))
    assert dropped(planned(build, root)) == {
        "epoch": "int",
        "config": "dict",
        "device": "torch.device",
        "dtype": "reference to torch.float32",
        "best": "numpy.core.multiarray.scalar",
        "names": "set",
        "raw": "bytes",
        "none": "NoneType",
        "[7]": "str",
    }


def test_module_versions_are_listed_as_left_behind(build):
    root = build.ordered({"w": build.tensor()})
    root.states = [build.dict({"_metadata": build.ordered({"": build.dict({"version": 1})})})]
    assert dropped(planned(build, root)) == {"_metadata": "collections.OrderedDict"}


def optimizer(build: GraphBuilder, key: str):
    state = build.dict([(0, build.dict({"exp_avg": build.tensor(build.storage(key))}))])
    return build.dict({"state": state, "param_groups": [build.dict({"lr": 0.1})]})


@pytest.mark.parametrize("wrapper", sorted(walk.WRAPPERS | walk.SOLE_WRAPPERS))
def test_the_model_is_taken_out_of_its_wrapper_and_its_siblings_are_listed(build, wrapper):
    root = build.dict(
        {
            "epoch": 3,
            "optimizer": optimizer(build, "9"),
            wrapper: build.ordered({"w": build.tensor(), "n": 1}),
            "callbacks": build.dict({"ModelCheckpoint": build.dict({"best_model_score": build.tensor()})}),
            "optimizer_states": [optimizer(build, "8")],
        }
    )
    result = planned(build, root)
    assert [tensor.name for tensor in result.tensors] == ["w"]
    assert dropped(result) == {
        "epoch": "int",
        "optimizer": "dict with tensors",
        "callbacks": "dict with tensors",
        "optimizer_states": "list with tensors",
        f"{wrapper}.n": "int",
    }
    assert [storage.key for storage in result.storages] == ["0"]


def test_the_state_of_an_optimizer_is_known_by_its_shape_without_a_wrapper(build):
    root = build.dict({"nn": build.dict({"w": build.tensor()}), "opt": optimizer(build, "9")})
    result = planned(build, root)
    assert ([tensor.name for tensor in result.tensors], dropped(result)) == (["nn.w"], {"opt": "dict with tensors"})


def test_a_wrapper_without_tensors_is_not_a_wrapper(build):
    root = build.dict({"model": build.dict({"name": "x"}), "w": build.tensor()})
    result = planned(build, root)
    assert ([tensor.name for tensor in result.tensors], dropped(result)) == (["w"], {"model": "dict"})


@pytest.mark.parametrize(
    ("first", "second"),
    [("model", "state_dict"), ("model", "ema"), ("params", "params_ema"), ("state_dict", "state_dict_ema")],
)
def test_two_wrappers_are_both_converted_under_their_names(build, first, second):
    root = build.dict(
        {
            first: build.dict({"w": build.tensor()}),
            second: build.dict({"w": build.tensor(build.storage("1"))}),
            "scaler": build.dict({"scale": build.tensor(build.storage("2"))}),
        }
    )
    result = planned(build, root)
    assert {tensor.name for tensor in result.tensors} == {f"{first}.w", f"{second}.w"}
    assert dropped(result) == {"scaler": "dict with tensors"}


@pytest.mark.parametrize("wrapper", sorted(walk.SOLE_WRAPPERS))
def test_a_part_with_something_beside_it_keeps_its_name(build, wrapper):
    root = build.dict(
        {
            wrapper: build.dict({"w": build.tensor()}),
            "discriminator": build.dict({"w": build.tensor(build.storage("1"))}),
            "mean": build.tensor(build.storage("2")),
        }
    )
    assert {tensor.name for tensor in planned(build, root).tensors} == {f"{wrapper}.w", "discriminator.w", "mean"}


def test_an_average_beside_an_empty_model_is_the_model(build):
    root = build.dict({"model": None, "ema": build.dict({"w": build.tensor()}), "updates": 3})
    result = planned(build, root)
    assert [tensor.name for tensor in result.tensors] == ["w"]
    assert dropped(result) == {"model": "NoneType", "updates": "int"}


SIBLINGS = {
    "a tensor": lambda build: build.tensor(build.storage("9")),
    "another model": lambda build: build.dict({"w": build.tensor(build.storage("9"))}),
    "a list of lists of tensors": lambda build: [[build.tensor(build.storage("9"))]],
    "an object with tensors in its state": lambda build: with_state(build, build.tensor(build.storage("9"))),
    "a numpy array": lambda build: build.call("numpy.core.multiarray._reconstruct", build.name("numpy.ndarray")),
    "a tensor from bytes": lambda build: build.call("torch.storage._load_from_bytes", Blob(0, 9)),
    "a meta tensor": lambda build: build.call("torch._utils._rebuild_meta_tensor_no_storage", None, (1,), (1,), False),
    "a buffer beside the stream": lambda build: [OutOfBand(1)],
    "a set of tensors": lambda build: SetNode([build.tensor(build.storage("9"))]),
    "a tensor as a key": lambda build: build.dict([(build.tensor(build.storage("9")), 1)]),
}


def with_state(build: GraphBuilder, state):
    node = build.call("some.Config", kind=CallKind.NEWOBJ)
    node.states = [build.dict({"buffer": state})]
    return node


@pytest.mark.parametrize("case", SIBLINGS)
def test_tensors_beside_the_model_are_never_lost_in_silence(build, case):
    root = build.dict({"state_dict": build.dict({"w": build.tensor()}), "other": SIBLINGS[case](build)})
    assert "'other': tensors beside the model in 'state_dict' would be lost" in refused(build, root)


def test_a_weight_that_is_named_like_training_state_is_still_a_weight(build):
    root = build.dict({"model": build.dict({"w": build.tensor()}), "scaler": build.tensor(build.storage("1"))})
    assert "'scaler'" in refused(build, root)


@pytest.mark.parametrize("case", sorted(set(SIBLINGS) - {"a tensor", "another model", "a list of lists of tensors"}))
def test_something_that_holds_tensors_and_is_no_tensor_fails_the_plan(build, case):
    root = build.dict({"w": build.tensor(), "odd": SIBLINGS[case](build)})
    assert "'odd" in refused(build, root)


# What is refused: the whole


def test_a_bare_tensor_is_refused(build):
    assert "not a dict" in refused(build, build.tensor())


def test_an_object_that_is_called_into_being_is_refused_with_a_way_out(build):
    module = build.call("torch.fx.graph_module.reduce_graph_module", build.dict({"w": build.tensor()}))
    with pytest.raises(NotConvertibleError, match=r"a torch\.fx\..*reduce_graph_module, not a dict") as caught:
        planned(build, module)
    assert "state_dict()" in caught.value.diagnostics()


def test_a_checkpoint_without_tensors_is_refused(build):
    assert "holds no tensors" in refused(build, build.dict({"epoch": 1}))


def test_a_stream_that_broke_off_is_refused(build):
    build.graph.failure = "the stack is empty"
    assert "breaks off" in refused(build, build.dict({"w": build.tensor()}))


def test_a_stream_that_changes_what_it_did_not_make_is_refused(build):
    build.graph.mutations.append(Mutation("BUILD", build.name("torch.nn"), None, 0))
    assert "did not make" in refused(build, build.dict({"w": build.tensor()}))


def test_a_key_with_two_descriptions_is_refused_even_if_only_one_is_used(build):
    root = build.dict({"w": build.tensor()})
    build.storage("0", "torch.IntStorage")
    assert "storage '0' is described in two ways" in refused(build, root)


IDS = {
    "a computed class": lambda build: ("module", build.call("some.factory"), "file", "source"),
    "a source that is a list": lambda build: ("module", build.name("x.Y"), "file", []),
    "three parts": lambda build: ("module", build.name("x.Y"), "file"),
    "another word": lambda build: ("function", build.name("x.Y"), "file", "source"),
}


@pytest.mark.parametrize("case", IDS)
def test_a_persistent_id_that_is_neither_storage_nor_class_is_refused(build, case):
    root = build.dict({"w": build.tensor()})
    build.persistent(IDS[case](build))
    assert "does not name a storage" in refused(build, root)


def test_a_dict_in_itself_is_refused(build):
    root = build.dict({"w": build.tensor()})
    root.pairs.append(("again", root))
    assert "in two places, or inside itself" in refused(build, root)


def test_sharing_that_doubles_at_every_level_is_refused_at_once(build):
    node = [build.tensor()]
    for _ in range(2000):
        node = [node, node]
    # Looked at once for each way to reach it, the innermost list would be looked at for longer than the world stands.
    assert "in two places" in refused(build, build.dict({"w": node}))
    empty: list = []
    for _ in range(2000):
        empty = [empty, empty]
    assert dropped(planned(build, build.dict({"w": build.tensor(), "empty": empty}))) == {"empty": "list"}


def test_deep_nesting_is_refused_before_its_path_grows_without_bound(build):
    node = build.tensor()
    for _ in range(100_000):
        node = [node]
    assert "a path of more than 4096 characters" in refused(build, build.dict({"w": node}))


# What is refused: names


@pytest.mark.parametrize("name", ["__metadata__", "", "a\0b", "a\x1b[31m", "\u202ew", "a\nb", "\ud800", "w" * 4097])
def test_names_that_no_tensor_may_have_are_refused(build, name):
    assert "not a name that a tensor may have" in refused(build, build.dict({name: build.tensor()}))


@pytest.mark.parametrize("name", ["a\x1b[2J", "\u202ew", "x" * 5000])
def test_names_of_what_is_left_behind_are_escaped(build, name):
    (entry,) = planned(build, build.dict({"w": build.tensor(), name: 1})).dropped
    assert entry.path.isprintable()
    assert entry.path.isascii()
    assert len(entry.path) < 200


def test_two_paths_that_give_one_name_are_refused(build):
    root = build.dict({"a": build.dict({"b": build.tensor()}), "a.b": build.tensor(build.storage("1"))})
    assert "'a.b': two tensors have this name" in refused(build, root)


def test_a_key_that_stands_twice_is_refused(build):
    root = build.ordered([("w", build.tensor()), ("w", build.tensor(build.storage("1")))])
    assert "'w': the key stands twice" in refused(build, root)


@pytest.mark.parametrize("key", [0, True, None, 1.5, ("w",)])
def test_a_tensor_under_a_key_that_is_not_text_is_refused(build, key):
    assert "not text" in refused(build, build.dict([(key, build.tensor())]))


def test_a_key_that_might_equal_a_name_is_refused(build):
    root = build.dict([("w", build.tensor()), (build.call("builtins.str", "w"), 1)])
    assert "what it equals is not known" in refused(build, root)


# What is refused: tensors


def v3(build: GraphBuilder, dtype: str, *more, kind: str = "torch.storage.UntypedStorage"):
    storage = build.storage("0", kind, 64, 1)
    args = (storage, 0, (2,), (1,), False, build.ordered(), build.name(dtype), *more)
    return build.call("torch._utils._rebuild_tensor_v3", *args)


def from_type(build: GraphBuilder, kind: str, state=None, function: str = "torch._utils._rebuild_tensor_v2"):
    args = (build.storage(), 0, (2, 2), (2, 1), False, build.ordered())
    return build.call("torch._tensor._rebuild_from_type_v2", build.name(function), build.name(kind), args, state)


def from_type_of(build: GraphBuilder, function, args):
    return build.call("torch._tensor._rebuild_from_type_v2", function, build.name("torch.Tensor"), args, None)


def computed(build: GraphBuilder):
    node = build.call("some.Thing")
    node.callable = build.call("some.function")
    return node


def changed(node, **what):
    for attribute, value in what.items():
        setattr(node, attribute, value)
    return node


BEYOND = 1 << 63
TENSORS = {
    "complex128": (
        lambda build: build.tensor(build.storage("0", "torch.ComplexDoubleStorage", 4, 16)),
        "no type for torch.complex128",
    ),
    "quantised": (
        lambda build: build.call("torch._utils._rebuild_qtensor", build.storage("0", "torch.QInt8Storage", 4, 1)),
        "a quantised tensor (--lower would store its parts)",
    ),
    "quantised bytes as a plain tensor": (
        lambda build: build.tensor(build.storage("0", "torch.QInt8Storage", 4, 1)),
        "no type for torch.qint8",
    ),
    "sparse": (
        lambda build: build.call("torch._utils._rebuild_sparse_tensor", None, (build.tensor(),)),
        "a sparse tensor (--lower would store its parts)",
    ),
    "a conjugated view": (
        lambda build: build.tensor(None, 0, (2, 2), (2, 1), build.dict({"conj": True})),
        "conjugated or negated",
    ),
    "a negated view of a named type": (
        lambda build: v3(build, "torch.uint16", build.dict({"neg": True})),
        "conjugated or negated",
    ),
    "a conjugate flag that is overwritten": (
        lambda build: build.tensor(None, 0, (2, 2), (2, 1), build.dict([("conj", True), ("conj", False)])),
        "metadata that torch does not write",
    ),
    "a flag of an unknown kind": (
        lambda build: build.tensor(None, 0, (2, 2), (2, 1), build.dict({"scale": False})),
        "metadata that torch does not write",
    ),
    "flags that are no dict": (lambda build: build.tensor(None, 0, (2, 2), (2, 1), [1]), "metadata that is not a dict"),
    "an unknown type": (lambda build: v3(build, "torch.uint3"), "of unknown type 'torch.uint3'"),
    "a type from elsewhere": (lambda build: v3(build, "evil.uint8"), "of unknown type 'evil.uint8'"),
    "a named type on a typed storage": (
        lambda build: v3(build, "torch.uint8", kind="torch.ByteStorage"),
        "a storage that has another",
    ),
    "no type at all": (
        lambda build: build.tensor(build.storage("0", "torch.storage.UntypedStorage", 64, 1)),
        "without a type",
    ),
    "a storage from elsewhere": (
        lambda build: build.tensor(build.storage("0", "evil.FloatStorage")),
        "of unknown type",
    ),
    "a subclass": (lambda build: from_type(build, "torch.masked.MaskedTensor"), "of the subclass"),
    "a subclass made by another function": (
        lambda build: from_type(build, "torch.Tensor", function="os.system"),
        "made by a function that is not known",
    ),
    "a state that replaces the data": (
        lambda build: from_type(build, "torch.Tensor", build.dict({"data": 1})),
        "changes the tensor itself",
    ),
    "a state that sets the class": (
        lambda build: from_type(build, "torch.Tensor", build.dict({"__class__": 1})),
        "changes the tensor itself",
    ),
    "a state that is a list": (lambda build: from_type(build, "torch.Tensor", [1]), "state is not a dict"),
    "an attribute that is a tensor": (
        lambda build: from_type(build, "torch.Tensor", build.dict({"mask": build.tensor(build.storage("1"))})),
        "'w.mask': an attribute that holds tensors",
    ),
    "a state set afterwards": (lambda build: changed(build.tensor(), states=[1]), "changes this tensor after"),
    "items set afterwards": (lambda build: changed(build.tensor(), items=[(0, 1)]), "changes this tensor after"),
    "hooks": (lambda build: build.tensor(hooks=build.ordered({"x": 1})), "backward hooks"),
    "requires_grad that is a number": (lambda build: build.tensor(requires_grad=1), "requires_grad is not a bool"),
    "too few arguments": (
        lambda build: build.call("torch._utils._rebuild_tensor_v2", build.storage(), 0, (2,), (1,)),
        "with 4 arguments",
    ),
    "too many arguments": (lambda build: build.tensor(None, 0, (2, 2), (2, 1), None, None), "with 8 arguments"),
    "a call that is not a call": (
        lambda build: changed(build.tensor(), kind=CallKind.NEWOBJ),
        "a torch._utils._rebuild_tensor_v2 that holds tensors",
    ),
    "a parameter in itself": (lambda build: endless_parameter(build), "deeper than torch nests"),
    "a parameter of too few": (
        lambda build: build.call("torch._utils._rebuild_parameter", build.tensor(), True),
        "arguments that torch does not write",
    ),
    "a subclass of too few": (
        lambda build: build.call("torch._tensor._rebuild_from_type_v2", build.name("torch.Tensor")),
        "arguments that torch does not write",
    ),
    "arguments that are a list": (
        lambda build: changed(build.tensor(), args=[1]),
        "arguments are not a tuple",
    ),
    "a storage without a type": (
        lambda build: build.tensor(build.persistent(("storage", "torch.FloatStorage", "0", "cpu", 4))),
        "without a type",
    ),
    "a storage of an unknown type": (
        lambda build: build.tensor(build.storage("0", "torch.FooStorage")),
        "of unknown type",
    ),
    "a device that is no text": (
        lambda build: build.tensor(build.persistent(("storage", build.name("torch.FloatStorage"), "0", 3, 4))),
        "not text",
    ),
    "a persistent id that is a list": (
        lambda build: build.tensor(build.persistent(["storage", build.name("torch.FloatStorage"), "0", "cpu", 4])),
        "does not name a storage",
    ),
    "a persistent id of four": (
        lambda build: build.tensor(build.persistent(("storage", build.name("torch.FloatStorage"), "0", "cpu"))),
        "does not name a storage",
    ),
    "a persistent id of seven": (
        lambda build: build.tensor(
            build.persistent(("storage", build.name("torch.FloatStorage"), "0", "cpu", 4, None, None))
        ),
        "does not name a storage",
    ),
    "a persistent id of something else": (
        lambda build: build.tensor(build.persistent(("module", build.name("torch.FloatStorage"), "0", "cpu", 4))),
        "does not name a storage",
    ),
    "elements set afterwards": (lambda build: changed(build.tensor(), elements=[1]), "changes this tensor after"),
    "a subclass made by text": (
        lambda build: from_type_of(build, "torch._utils._rebuild_tensor_v2", ()),
        "made by a function that is not known",
    ),
    "a subclass made from a list": (
        lambda build: from_type_of(build, build.name("torch._utils._rebuild_tensor_v2"), []),
        "made by a function that is not known",
    ),
    "a parameter that requires a number": (
        lambda build: build.call("torch._utils._rebuild_parameter", build.tensor(), 1, build.ordered()),
        "arguments that torch does not write",
    ),
    "a parameter of an object": (
        lambda build: build.call("torch._utils._rebuild_parameter", build.call("some.Thing"), True, build.ordered()),
        "not a tensor",
    ),
    "a parameter of a computed call": (
        lambda build: build.call("torch._utils._rebuild_parameter", computed(build), True, build.ordered()),
        "not a tensor",
    ),
    "a parameter of a number": (
        lambda build: build.call("torch._utils._rebuild_parameter", 3, True, build.ordered()),
        "not a tensor",
    ),
    "an offset beyond the storage": (lambda build: build.tensor(None, 1), "beyond its storage"),
    "a stride beyond the storage": (lambda build: build.tensor(None, 0, (2, 2), (3, 1)), "beyond its storage"),
    "a negative offset": (lambda build: build.tensor(None, -1), "offset is not a number"),
    "a negative size": (lambda build: build.tensor(None, 0, (-1,), (1,)), "size is not a number"),
    "a negative stride": (lambda build: build.tensor(None, 3, (4,), (-1,)), "stride is not a number"),
    "a size that is true": (lambda build: build.tensor(None, 0, (True,), (1,)), "size is not a number"),
    "a size that is a fraction": (lambda build: build.tensor(None, 0, (1.0,), (1,)), "size is not a number"),
    "a size that is a list": (lambda build: build.tensor(None, 0, [2, 2], (2, 1)), "size is not a tuple"),
    "an offset that is true": (lambda build: build.tensor(None, True, (1,), (1,)), "offset is not a number"),
    "a huge offset": (lambda build: build.tensor(None, BEYOND, (0,), (1,)), "offset is not a number"),
    "sizes that overflow": (lambda build: build.tensor(None, 0, (1 << 40, 1 << 40), (0, 0)), "overflows"),
    "sizes that overflow beside a zero": (lambda build: build.tensor(None, 0, (0, 1 << 62), (0, 0)), "overflows"),
    "sixty-five dimensions": (lambda build: build.tensor(None, 0, (1,) * 65, (1,) * 65), "at most 64"),
    "more strides than sizes": (lambda build: build.tensor(None, 0, (2,), (1, 1)), "different lengths"),
    "a storage that is a list": (lambda build: build.tensor([1]), "storage is not in the file"),
    "a view of a storage": (
        lambda build: build.tensor(
            build.persistent(("storage", build.name("torch.FloatStorage"), "0", "cpu", 4, ("1", 0, 4)))
        ),
        "before 0.4",
    ),
    "a storage key that is a number": (
        lambda build: build.tensor(build.persistent(("storage", build.name("torch.FloatStorage"), 0, "cpu", 4))),
        "not text",
    ),
    "a storage length that is true": (
        lambda build: build.tensor(build.persistent(("storage", build.name("torch.FloatStorage"), "0", "cpu", True))),
        "number of elements",
    ),
    "a persistent id that is text": (lambda build: build.tensor(build.persistent("0")), "does not name a storage"),
    "one packed element": (
        lambda build: changed(
            v3(build, "torch.float4_e2m1fn_x2"),
            args=(
                *(build.storage("1", "torch.storage.UntypedStorage", 1, 1), 0, (), (), False, None),
                build.name("torch.float4_e2m1fn_x2"),
            ),
        ),
        "cannot express",
    ),
}


def endless_parameter(build: GraphBuilder):
    node = build.call("torch._utils._rebuild_parameter")
    node.args = (node, True, build.ordered())
    return node


@pytest.mark.parametrize("case", TENSORS)
def test_a_tensor_that_is_not_its_bytes_is_refused_by_name_and_reason(build, case):
    make, reason = TENSORS[case]
    message = refused(build, build.dict({"w": make(build)}))
    assert reason in message
    assert message.startswith(("'w", "the checkpoint"))


SIZES = {
    "torch.Size": (lambda build: build.call("torch.Size", (2, 2)), None),
    "torch.Size of nothing": (lambda build: build.call("torch.Size"), "size is not a tuple"),
    "torch.Size of a list": (lambda build: build.call("torch.Size", [2, 2]), "size is not a tuple"),
}


@pytest.mark.parametrize("case", SIZES)
def test_a_size_may_be_wrapped_as_old_versions_of_torch_did(build, case):
    make, reason = SIZES[case]
    root = build.dict({"w": build.tensor(None, 0, make(build))})
    if reason is None:
        assert planned(build, root).tensors[0].shape == (2, 2)
    else:
        assert reason in refused(build, root)


DICTS = {
    "made from a dict": (lambda build: build.call("collections.OrderedDict", build.dict()), "than a list of pairs"),
    "made from two lists": (lambda build: build.call("collections.OrderedDict", [], []), "than a list of pairs"),
    "made from no arguments at all": (
        lambda build: changed(build.ordered(), args=[]),
        "than a list of pairs",
    ),
    "made from triples": (lambda build: build.call("collections.OrderedDict", [["a", 1, 2]]), "than pairs"),
    "made from values": (lambda build: build.call("collections.OrderedDict", ["ab"]), "than pairs"),
    "filled without keys": (lambda build: changed(build.ordered(), elements=[1]), "without keys"),
    "with a state of three": (
        lambda build: changed(build.ordered(), states=[(None, None, None)]),
        "state is not a dict",
    ),
    "with a state of text": (lambda build: changed(build.ordered(), states=["x"]), "state is not a dict"),
    "with a numbered attribute": (
        lambda build: changed(build.ordered(), states=[build.dict([(1, 2)])]),
        "name is not text",
    ),
}


@pytest.mark.parametrize("case", DICTS)
def test_a_dict_that_python_would_not_write_is_refused(build, case):
    make, reason = DICTS[case]
    root = make(build)
    root.items = [*root.items, ("w", build.tensor())]
    assert reason in refused(build, root)


def test_an_attribute_of_a_dict_that_holds_tensors_is_refused(build):
    root = build.ordered({"w": build.tensor()})
    root.states = [(None, build.dict({"cache": build.tensor(build.storage("1"))}))]
    assert "'cache': an attribute that holds tensors" in refused(build, root)


def test_limits_on_entries_and_values_are_kept(build, monkeypatch):
    root = build.dict({"w": build.tensor(), **{str(index): index for index in range(50)}})
    monkeypatch.setattr(walk, "MAX_ENTRIES", 51)
    assert planned(build, root)
    monkeypatch.setattr(walk, "MAX_ENTRIES", 50)
    assert "more than 50 entries" in refused(build, root)
    monkeypatch.setattr(holdings, "MAX_VALUES", 50)
    assert "more than 50 values" in refused(build, build.dict({"x": [[] for _ in range(60)]}))


# What is refused: storages and work


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "it is not in the file"),
        ("the entry is compressed", "the entry is compressed"),
        (StorageRange(0, 15), "has 15 bytes, the pickle says 16"),
        (StorageRange(0, 17), "has 17 bytes, the pickle says 16"),
        (StorageRange(1, 16), "outside of the file"),
        (StorageRange(-1, 16), "outside of the file"),
    ],
)
def test_a_storage_that_is_not_there_as_declared_is_refused(build, found, reason):
    root = build.dict({"w": build.tensor()})
    build.storages.clear()
    if found is not None:
        build.storages["0"] = found
    assert reason in refused(build, root, source_size=16)


def test_flags_that_say_nothing_special_are_fine(build):
    root = build.dict(
        {
            "a": build.tensor(None, 0, (2, 2), (2, 1), build.dict({"conj": False, "neg": False})),
            "b": build.tensor(None, 0, (4,), (1,), None, hooks=build.dict()),
        }
    )
    assert len(planned(build, root).tensors) == 2


def test_a_storage_that_only_the_optimizer_uses_may_be_unusable(build):
    root = build.dict({"model": build.dict({"w": build.tensor()}), "optimizer": optimizer(build, "9")})
    build.storages["9"] = "the entry is compressed"
    assert len(planned(build, root).tensors) == 1


def test_an_expanded_tensor_may_not_blow_up_the_twin(build):
    storage = build.storage(numel=1)
    small, large = build.tensor(storage, 0, (1000, 100), (0, 0)), build.tensor(storage, 0, (1000, 1000), (0, 0))
    assert planned(build, build.dict({"small": small})).output_size > 400_000
    assert f"more than {EXPANSION * 4 + (1 << 20)} bytes" in refused(build, build.dict({"bomb": large}))


def test_many_small_expansions_may_not_blow_it_up_either(build):
    storage = build.storage(numel=2)
    root = build.dict({f"t{index}": build.tensor(storage, 0, (1 << 10, 1 + index), (0, 0)) for index in range(64)})
    assert "bytes of data" in refused(build, root)


def test_strides_that_would_take_for_ever_are_refused(build):
    storage = build.storage("0", "torch.ByteStorage", 1 << 30, 1)
    size, stride = (2,) * 30, tuple(1 << (index * 7 % 30) for index in range(30))
    assert "strided too finely" in refused(build, build.dict({"w": build.tensor(storage, 0, size, stride)}))


@pytest.mark.parametrize("length", [1, 7, 20, 64])
def test_the_tensors_begin_where_torchs_kernels_read_them_as_their_own(build, length):
    assert len(planned(build, build.dict({"w" * length: build.tensor()})).header) % 64 == 0


def test_a_twin_larger_than_a_header_allows_is_refused(build):
    shared = build.tensor()
    root = build.dict({f"{index:06}" + "w" * 4000: shared for index in range(13_000)})
    assert "bytes of a header" in refused(build, root)


def test_the_same_checkpoint_gives_the_same_plan(build):
    def make():
        other = GraphBuilder()
        return planned(other, other.dict({name: other.tensor(other.storage(name)) for name in "cab"}))

    assert make() == make()
