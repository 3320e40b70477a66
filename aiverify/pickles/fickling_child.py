"""The child process that runs fickling: reads streams from stdin, writes one JSON answer for each to stdout.

fickling does not unpickle; for the day on which it has a bug, the process gives up what it does not need before the
first stream (``confinement``), and has so much processor time for each.
"""

from __future__ import annotations

import ast
import gc
import io
import json
import os
import struct
import sys
from typing import BinaryIO

from aiverify.pickles.confinement import allow, close_doors

_QUESTION, _LENGTH = struct.Struct("<Q?"), struct.Struct("<Q")
_MEMORY = 4 << 30
_LONGEST_SOURCE = 20_000
_LONGEST_CONSTANT = 1_000

# Opcodes that fickling 0.1.12 reads and then cannot run. The others that it lacks it does not read at all.
_NOT_RUN = frozenset(("PERSID", "EXT1", "EXT2", "EXT4"))


def main(seconds: int) -> None:
    """Answer until stdin ends. A stream may take ``seconds`` of processor time."""
    from fickling.analysis import check_safety
    from fickling.fickle import Pickled

    check_safety(Pickled.load(b"\x80\x04N."))  # whatever is imported late is imported before the doors close
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    sys.stdout = sys.stderr = io.StringIO()  # fickling prints; nothing of it may reach the pipe
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    close_doors(_MEMORY)
    while len(head := questions.read(_QUESTION.size)) == _QUESTION.size:
        length, shown = _QUESTION.unpack(head)
        stream = questions.read(length)
        allow(seconds)
        _answer(answers, _examine(stream, shown=shown))
        sys.stdout.seek(0)
        sys.stdout.truncate()


def _answer(pipe: BinaryIO, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _examine(stream: bytes, *, shown: bool) -> dict[str, object]:
    """What the stream imports. What is for a reader takes longer than all the rest, and is there if it is ``shown``."""
    from fickling.analysis import check_safety
    from fickling.fickle import Pickled

    try:
        pickled = Pickled.load(stream, fail_on_decode_error=False)
        missing = _NOT_RUN.intersection(opcode.info.name for opcode in pickled)
        if pickled.has_invalid_opcode or missing:
            return {"incomplete": f"an opcode that it does not know: {', '.join(sorted(missing))}".rstrip(": ")}
        tree = pickled.ast
        if pickled.has_resource_exhaustion:
            return {"incomplete": "a limit of its own: memo, stack, or GETs for each PUT"}
        if pickled.has_interpretation_error:
            return {"incomplete": "it could not follow the stream"}
        if not shown:
            return {"names": sorted(_imports(pickled.properties.imports))}
        _shorten(tree)
        names = sorted(_imports(pickled.properties.imports))
        severity = check_safety(pickled).severity.name
        source = _source(tree)
    except MemoryError:
        return {"incomplete": "more memory than it may use"}
    except Exception as error:  # noqa: BLE001 - whatever fickling raises on hostile bytes, the second opinion is missing
        return {"incomplete": f"{type(error).__name__}: {error}"[:200]}
    return {"names": names, "severity": severity, "source": source}


def _shorten(tree: ast.Module) -> None:
    """Cut long constants: every analysis would write them out again. No name of an import is one.

    fickling shares nodes, may tie them into circles, and keeps some in tuples, which ``ast.walk`` does not enter.
    """
    pending: list[object] = [tree]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, list | tuple):
            pending += [item for item in node if isinstance(item, ast.AST | list | tuple)]
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str | bytes):
                node.value = node.value[:_LONGEST_CONSTANT]
        elif isinstance(node, ast.AST) and id(node) not in seen:
            seen.add(id(node))
            pending += [getattr(node, name, None) for name in node._fields]


def _source(tree: ast.Module) -> str:
    """The beginning of the stream as Python."""
    lines: list[str] = []
    length = 0
    for statement in tree.body:
        lines.append(ast.unparse(statement))
        length += len(lines[-1]) + 1
        if length > _LONGEST_SOURCE:
            break
    return "\n".join(lines)[:_LONGEST_SOURCE]


def _imports(nodes: list[ast.Import | ast.ImportFrom]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found.update((node.module or "", alias.name) for alias in node.names)
        else:
            found.update((alias.name, "") for alias in node.names)
    return found
