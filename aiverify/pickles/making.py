"""What a call really makes: some calls only hand a class on to be created.

Picklers of protocols 0 and 1 create objects through ``copyreg._reconstructor(cls, base, state)``; other libraries use
``copyreg.__newobj__``. Protocols below 4 reach a name inside of a class through ``getattr``. Such a call is judged as
what comes out of it.

Source: CPython Lib/copyreg.py and Lib/pickle.py, save_global.
"""

from __future__ import annotations

from typing import NamedTuple

from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Value
from aiverify.pickles.tables import Use, entry_of

USE_OF_KIND = {
    CallKind.REDUCE: Use.CONSTRUCT,
    CallKind.INST: Use.CONSTRUCT,
    CallKind.OBJ: Use.CONSTRUCT,
    CallKind.NEWOBJ: Use.NEW,
    CallKind.NEWOBJ_EX: Use.NEW,
}


class Making(NamedTuple):
    """Who makes an object (``maker``), by which use, out of which arguments. ``through`` is the call that hands it on.

    ``filled`` tells that the arguments are the content of a container, which the object then begins with.
    """

    maker: Value
    use: Use
    args: Value
    kwargs: Value = None
    through: Global | None = None
    filled: Value = None

    @property
    def called(self) -> tuple[Value, Value, Value]:
        """What is called, with which arguments and keyword arguments."""
        return self.maker, self.args, self.kwargs


def is_direct(call: Call) -> bool:
    """Whether ``call`` makes what it calls: nearly every call does, and needs no further look."""
    maker = call.callable
    return isinstance(maker, Global) and maker.module != "copyreg" and maker.module != "builtins"


def making(call: Call) -> Making:
    """What ``call`` makes, seen through the functions that hand a class on."""
    maker = call.callable
    if isinstance(maker, Global) and maker.module == "copyreg" and call.kind in (CallKind.REDUCE, CallKind.OBJ):
        handed = _handed_on(maker, call.args)
        if handed is not None:
            return handed
    elif isinstance(maker, Call):
        maker = attribute(maker) or maker
    return Making(maker, USE_OF_KIND[call.kind], call.args, call.kwargs)


def attribute(call: Call) -> Global | None:
    """The trusted name inside of a class that ``call`` reaches through ``getattr``; ``None`` for any other call."""
    maker, args = call.callable, call.args
    if not (isinstance(maker, Global) and (maker.module, maker.name) == ("builtins", "getattr")):
        return None
    if not isinstance(args, tuple) or len(args) != 2 or call.kind is not CallKind.REDUCE:
        return None
    outer, name = args
    if not isinstance(outer, Global) or outer.module is None or not isinstance(name, str) or "." in name:
        return None
    inner = Global(outer.module, f"{outer.name}.{name}", call.offset, outer.written)
    return inner if entry_of(inner) is not None else None


def _handed_on(function: Global, args: Value) -> Making | None:
    if not isinstance(args, tuple) or not args or not isinstance(args[0], Global):
        return None
    if function.name == "_reconstructor" and len(args) == 3:
        return _reconstructed(function, args[0], args[1], args[2])
    if function.name == "__newobj__":
        return Making(args[0], Use.NEW, args[1:], through=function)
    if function.name == "__newobj_ex__" and len(args) == 3:
        return Making(args[0], Use.NEW, args[1], args[2], through=function)
    return None


def _reconstructed(function: Global, made: Global, base: Value, state: Value) -> Making | None:
    """``base.__new__(cls, state)``, then ``base.__init__`` for a base that is not ``object``."""
    if not isinstance(base, Global) or base.module != "builtins":
        return None
    if base.name == "object":
        return Making(made, Use.NEW, (), through=function) if state is None else None
    if (base.name == "dict" and isinstance(state, Dictionary)) or (base.name == "list" and isinstance(state, list)):
        return Making(made, Use.NEW, (), through=function, filled=state)
    if base.name in ("int", "float", "str", "bytes", "tuple"):
        return Making(made, Use.NEW, (state,), through=function)
    return None
