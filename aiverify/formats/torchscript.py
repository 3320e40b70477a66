"""TorchScript: the source text of a scripted model, searched for what reaches outside of it.

TorchScript is a language of its own that only looks like Python: it cannot import, and calls nothing but operators and
its own functions. What is looked for are the operators that touch files, processes or the network, and operators and
classes of libraries that whoever loads the model would have to load first. The search is lexical, on the text without
its comments and strings: to call an operator, TorchScript has to write its name, or to take what holds operators as a
value (``t = torch``, ``getattr(ops, "aten")``), which no program that torch writes does.

Source: torch 2.13, ``torch/csrc/jit/serialization/python_print.cpp`` and its table of operators;
``torch/csrc/jit/frontend/lexer.h``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiverify.finding import Finding, Unexamined
from aiverify.formats.safetensors import shown
from aiverify.rules import finding

MAX_SOURCE = 64 << 20
MAX_REPORTED = 50

# What is no program text. A string that never ends runs to the end of its line, or of the file, so that the search
# stays linear; torch reads no such file.
_ASIDE = re.compile(
    rb"#[^\n]*+|\\\r?\n"
    rb'|"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*+(?:"""|\\?\Z)'
    rb"|'''[^'\\]*+(?:(?:\\.|'(?!''))[^'\\]*+)*+(?:'''|\\?\Z)"
    rb'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+(?:"|(?=\n)|\\?\Z)'
    rb"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+(?:'|(?=\n)|\\?\Z)",
    re.DOTALL,
)
# An attribute may have these names, and is declared under them.
_OPERATOR = re.compile(rb"(?<![\w.])ops\b(?!\s*:)(?:\s*\.\s*(\w+)\s*\.\s*(\w+))?")
_TORCH = re.compile(rb"(?<![\w.])torch\b(?!\s*:)(?:\s*\.\s*(\w+))?")
_CLASS = re.compile(rb"\b__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*(\w+)\s*\.\s*(\w+)")
_CLASSES_AS_VALUE = re.compile(rb"\b__torch__(?:\s*\.\s*torch(?:\s*\.\s*classes(?:\s*\.\s*\w++)?)?)?+(?!\s*\.|\w)")
#: Libraries of operators that come with torch, and torchvision's, which compute.
_NAMESPACES = frozenset(
    (
        *(b"aten", b"prim", b"prims", b"quantized", b"_quantized", b"static_runtime", b"onednn", b"mkldnn", b"sparse"),
        *(b"mkldnn_prepacked", b"mkl", b"quantization", b"inductor", b"_test", b"profiler", b"onnx", b"export"),
        *(b"torchvision", b"prepacked", b"xnnpack", b"vulkan_prepack", b"metal_prepack", b"cuda", b"cudnn"),
    )
)
_CLASSES = frozenset((b"quantized", b"sparse", b"rnn", b"profiler", b"xnnpack", b"mkldnn", b"cuda", b"vulkan"))
_FILES = {b"save": "writes files", b"from_file": "maps files, and may change them"}
_REACHING = {
    b"image": {b"read_file": "reads files", b"write_file": "writes files"},
    b"prim": dict.fromkeys((b"rpc_async", b"rpc_remote", b"rpc_sync"), "runs functions on other machines"),
    b"aten": _FILES,
}
_DEFINED = re.compile(rb"(?m)^class ([A-Za-z_]\w{0,500})\b")
#: What TorchScript's own unpickler calls: it makes lists and dicts of the types that the code declares.
#: Source: torch/csrc/jit/serialization/unpickler.cpp and torch/jit/_pickle.py
LOADER = frozenset(
    f"torch.jit._pickle.{name}"
    for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id")
) | {"torch.jit._pickle.restore_type_tag"}
_TALKING = frozenset((b"c10d", b"_c10d_functional", b"_c10d_functional_autograd", b"symm_mem", b"rpc", b"dist_rpc"))


def judge_source(source: bytes, path: str, member: str) -> list[Finding | Unexamined]:
    """What the TorchScript in ``source``, the entry ``member`` of an archive, reaches for."""
    if len(source) > MAX_SOURCE:
        return [Unexamined(file=path, member=member, reason=f"TorchScript of {len(source)} bytes")]
    text = _ASIDE.sub(b" ", source)
    said = dict.fromkeys(_said(text))  # each once, in the order of the text
    return [finding(rule, message, file=path, member=member) for rule, message in list(said)[:MAX_REPORTED]]


def defined(source: bytes, name: str) -> set[str]:
    """The classes that ``source``, the file ``name`` below ``code/``, defines, as a pickle names them."""
    module = name.removesuffix(".py").replace("/", ".")
    if not module.startswith("__torch__"):
        return set()
    return {f"{module}.{found[1].decode()}" for found in _DEFINED.finditer(source)}


def _said(text: bytes) -> Iterator[tuple[str, str]]:
    if _CLASSES_AS_VALUE.search(text):
        yield "AIV412", "it takes classes of libraries as a value, so that their names are not seen"
    for found in _OPERATOR.finditer(text):
        if found[1] is None:
            yield "AIV412", "it takes operators of libraries as a value, so that their names are not seen"
        else:
            yield from _operator(found[1], found[2])
    for found in _TORCH.finditer(text):
        if found[1] is None:
            yield "AIV412", "it takes the operators of torch as a value, so that their names are not seen"
        elif found[1] in _FILES:
            yield "AIV412", f"the operator torch.{_text(found[1])} {_FILES[found[1]]}"
    for found in _CLASS.finditer(text):
        if found[1] not in _CLASSES:
            yield "AIV413", f"the class {shown(f'{_text(found[1])}.{_text(found[2])}')} needs a library of its own"


def _operator(namespace: bytes, name: bytes) -> Iterator[tuple[str, str]]:
    named = shown(f"{_text(namespace)}.{_text(name)}")
    effect = _REACHING.get(namespace, {}).get(name)
    if effect is not None:
        yield "AIV412", f"the operator {named} {effect}"
    elif namespace in _TALKING:
        yield "AIV412", f"the operator {named} talks to other processes"
    elif namespace not in _NAMESPACES and namespace not in _REACHING:
        yield "AIV413", f"the operator {named} needs a library of its own"


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "replace")
