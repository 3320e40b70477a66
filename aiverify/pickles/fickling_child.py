"""The child process that runs fickling: reads streams from stdin, writes one JSON answer for each to stdout.

fickling does not unpickle; what follows is for the day on which it has a bug. Before the first stream the process gives
up what it does not need:

1. The kernel holds it to its limits: memory, processor time for each stream, no file can grow, no core is dumped, few
   files can be open, and no process can be started unless it runs as root.
2. An audit hook, which cannot be taken out again, ends the process when Python code is about to open a connection, to
   start or signal a process, to load a native library, or to write, remove or rename a file.

The first is a guarantee. The second holds for whatever goes through Python; machine code that runs inside of the
process does not ask.
"""

from __future__ import annotations

import ast
import gc
import io
import json
import os
import resource
import struct
import sys
from typing import BinaryIO

_LENGTH = struct.Struct("<Q")
_MEMORY = 4 << 30
_FILES = 32
_LONGEST_SOURCE = 20_000
_LONGEST_CONSTANT = 1_000
_ENDED = 70
_FORBIDDEN = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "socket.",
    "ctypes.",
    "pty.",
    "shutil.",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.kill",
)
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

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
    _close_doors()
    while len(head := questions.read(_LENGTH.size)) == _LENGTH.size:
        stream = questions.read(_LENGTH.unpack(head)[0])
        _allow(seconds)
        _answer(answers, _examine(stream))
        sys.stdout.seek(0)
        sys.stdout.truncate()


def _answer(pipe: BinaryIO, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _allow(seconds: int) -> None:
    """So much more processor time; the kernel ends the process that takes more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = spent + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard < 0 else min(wanted, hard), hard))


def _close_doors() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(limit, (value, value))

    def refuse(event: str, args: tuple[object, ...]) -> None:
        # The flags tell what the mode of open() does not: os.open() has no mode.
        if event.startswith(_FORBIDDEN) or (event == "open" and isinstance(args[2], int) and args[2] & _CHANGING):
            os._exit(_ENDED)

    sys.addaudithook(refuse)


def _examine(stream: bytes) -> dict[str, object]:
    from fickling.analysis import check_safety
    from fickling.fickle import Pickled

    try:
        pickled = Pickled.load(stream, fail_on_decode_error=False)
        missing = _NOT_RUN.intersection(opcode.info.name for opcode in pickled)
        if pickled.has_invalid_opcode or missing:
            return {"incomplete": f"an opcode that it does not know: {', '.join(sorted(missing))}".rstrip(": ")}
        _shorten(pickled.ast)
        if pickled.has_resource_exhaustion:
            return {"incomplete": "a limit of its own: memo, stack, or GETs for each PUT"}
        if pickled.has_interpretation_error:
            return {"incomplete": "it could not follow the stream"}
        names = sorted(_imports(pickled.properties.imports))
        severity = check_safety(pickled).severity.name
        source = _source(pickled.ast)
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
