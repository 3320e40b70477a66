"""TorchScript: the source text of a scripted model, searched for what reaches outside of it.

TorchScript is a language of its own that only looks like Python: it cannot import, and calls nothing but operators and
its own functions. What is looked for are the operators that touch files, processes or the network, and operators and
classes of libraries that whoever loads the model would have to load first. Rules:

1. The search is lexical, on words as TorchScript's own lexer takes the text apart: to call an operator, TorchScript has
   to write its name, behind a dot or as the text that ``getattr`` is given.
2. What a name is looked up on does not matter: ``torch`` may have been given another name before.
3. What hides a name (``ops`` or ``getattr`` under another name, a selector that is not plain text) is a finding.

Source: torch 2.13, ``torch/csrc/jit/frontend/lexer.h``, ``torch/csrc/jit/serialization/python_print.cpp`` and its table
of operators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiverify.finding import Finding, Unexamined
from aiverify.formats.safetensors import shown
from aiverify.rules import finding

MAX_SOURCE = 64 << 20
MAX_REPORTED = 50

_WORD = re.compile(
    rb'''(?P<text>"""(?:[^\\]|\\.)*?"""|\'{3}(?:[^\\]|\\.)*?\'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')'''
    rb"|(?:\#[^\n]*|\\\n|\s)+|(?P<name>[A-Za-z_]\w*)|(?P<other>.)",
    re.DOTALL,
)
_SELECTOR = re.compile(rb"""(["'])(\w*)\1""")
_OPERATOR = re.compile(rb"\bops \. (\w+) \. (\w+)")
_CLASS = re.compile(rb"\b__torch__ \. torch \. classes \. (\w+) \. (\w+)")
_HIDING = {
    b"the table of operators": re.compile(rb"(?<!\. )\bops\b(?! \. \w+ \. \w| :)"),  # an attribute may be declared so
    b"a table of classes": re.compile(rb"\b__torch__\b(?: \. torch\b(?: \. classes\b(?: \. \w+\b)?)?)?(?! \. \w)"),
    b"getattr": re.compile(rb"(?<!\. )\bgetattr\b(?! \()"),
}
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
_REACHED = {name: effect for names in _REACHING.values() for name, effect in names.items()}
_ATTRIBUTE = re.compile(rb"\. (%s)\b" % b"|".join(_REACHED))
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
    said = dict.fromkeys(_said(source))  # each once
    return [finding(rule, message, file=path, member=member) for rule, message in list(said)[:MAX_REPORTED]]


def defined(source: bytes, name: str) -> set[str]:
    """The classes that ``source``, the file ``name`` below ``code/``, defines, as a pickle names them."""
    module = name.removesuffix(".py").replace("/", ".")
    if not module.startswith("__torch__"):
        return set()
    return {f"{module}.{found[1].decode()}" for found in _DEFINED.finditer(source)}


def _said(source: bytes) -> Iterator[tuple[str, str]]:
    words, selectors = _words(source)
    text = b" ".join(words)
    for found in _OPERATOR.finditer(text):
        yield from _operator(found[1], found[2])
    for found in _CLASS.finditer(text):
        if found[1] not in _CLASSES:
            yield "AIV413", f"the class {shown(f'{_text(found[1])}.{_text(found[2])}')} needs a library of its own"
    for found in _ATTRIBUTE.finditer(_OPERATOR.sub(b"", text)):
        yield "AIV412", f"the operator {_text(found[1])} {_REACHED[found[1]]}"
    for selector in selectors:
        plain = _SELECTOR.fullmatch(selector)
        if plain is None:
            yield "AIV413", "getattr with a name that is not written plainly"
        elif plain[2] in _REACHED:
            yield "AIV412", f"the operator {_text(plain[2])} {_REACHED[plain[2]]}"
    for what, hidden in _HIDING.items():
        if hidden.search(text):
            yield "AIV413", f"{_text(what)} under another name"


def _words(source: bytes) -> tuple[list[bytes], list[bytes]]:
    """The names and signs of ``source``, every text as an empty one; and what each ``getattr`` is asked for.

    That is all the text between the first comma of its arguments and the next one, or their end.
    """
    words: list[bytes] = []
    selectors: list[bytes] = []
    calls: list[bool] = []  # of each open bracket, whether it is that of a getattr that has not told its name
    for found in _WORD.finditer(source):
        word = found[found.lastgroup] if found.lastgroup else b""
        if not word:
            continue
        if calls and calls[-1] and words and words[-1] == b",":
            calls[-1] = False
            selectors.append(word)
        elif found.lastgroup == "text" and words and words[-1] == b'""' and selectors:
            selectors.append(word + word)  # two texts in a row are one: not plain
        if word in (b"(", b"[", b"{"):
            calls.append(word == b"(" and bool(words) and words[-1] == b"getattr")
        elif word in (b")", b"]", b"}") and calls:
            calls.pop()
        words.append(b'""' if found.lastgroup == "text" else word)
    return words, selectors


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
