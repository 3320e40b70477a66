"""The child process that runs fickling: reads streams from stdin, writes one JSON answer for each to stdout.

Before the first stream it gives up what it does not need: memory beyond a limit, writing files, starting processes,
opening connections. fickling does not unpickle; this is for the day on which it has a bug.
"""

from __future__ import annotations

import ast
import io
import json
import os
import resource
import struct
import sys
from typing import BinaryIO

_LENGTH = struct.Struct("<Q")
_MEMORY = 4 << 30
_LONGEST_SOURCE = 20_000
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


def main() -> None:
    """Answer until stdin ends."""
    from fickling.analysis import check_safety  # noqa: F401 - everything is imported before the doors close
    from fickling.fickle import Pickled  # noqa: F401

    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    sys.stdout = sys.stderr = io.StringIO()  # fickling prints; nothing of it may reach the pipe
    _close_doors()
    while len(head := questions.read(_LENGTH.size)) == _LENGTH.size:
        stream = questions.read(_LENGTH.unpack(head)[0])
        _answer(answers, _examine(stream))
        sys.stdout.seek(0)
        sys.stdout.truncate()


def _answer(pipe: BinaryIO, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _close_doors() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def refuse(event: str, args: tuple[object, ...]) -> None:
        # The flags tell what the mode of open() does not: os.open() has no mode.
        if event.startswith(_FORBIDDEN) or (event == "open" and isinstance(args[2], int) and args[2] & _CHANGING):
            raise PermissionError(event)

    sys.addaudithook(refuse)


def _examine(stream: bytes) -> dict[str, object]:
    from fickling.analysis import check_safety
    from fickling.fickle import Pickled

    try:
        pickled = Pickled.load(stream, fail_on_decode_error=False)
        names = sorted(_imports(pickled.properties.imports))
        if pickled.has_invalid_opcode:
            return {"incomplete": "an opcode that it does not know"}
        severity = check_safety(pickled).severity.name
        source = ast.unparse(pickled.ast)[:_LONGEST_SOURCE]
    except Exception as error:  # noqa: BLE001 - whatever fickling raises on hostile bytes, the second opinion is missing
        return {"incomplete": f"{type(error).__name__}: {error}"[:200]}
    return {"names": names, "severity": severity, "source": source}


def _imports(nodes: list[ast.Import | ast.ImportFrom]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found.update((node.module or "", alias.name) for alias in node.names)
        else:
            found.update((alias.name, "") for alias in node.names)
    return found
