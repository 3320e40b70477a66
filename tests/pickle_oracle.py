"""CPython's witnesses (``pickle_witness``) in a child process with limits.

A stream can exhaust memory or time, or crash the C unpickler. The child has limits for memory and time, starts no
process and opens no connection. It may be another Python than ours: ``PYTHONS=python3.12:python3.13``.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import struct
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from pickle_witness import VARIANTS, WITNESSES, differences

_LENGTH = struct.Struct("<Q")
_MEMORY = 768 << 20
_SECONDS = 60.0
_REFUSED = (
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    *("ctypes.", "open"),
)


class Oracle:
    """A warm child. ``ask`` gives what it found, or ``None`` when it crashed, hung or ran out of memory."""

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python
        self.child: subprocess.Popen[bytes] | None = None

    def ask(self, stream: bytes) -> dict | None:
        """``differences``, a list of sentences; ``finished``, how many witnesses reached STOP; ``aside``."""
        if self.child is None:
            command = [self.python, "-B", __file__]
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.child.stdin.write(_LENGTH.pack(len(stream)) + stream)
            self.child.stdin.flush()
            (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
            return json.loads(self._receive(length))
        except (OSError, EOFError):
            self.close()
            return None

    def close(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.stdin.close()
            child.stdout.close()
            child.wait()

    def _receive(self, length: int) -> bytes:
        pipe, data = self.child.stdout.fileno(), b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < length:
                if not selector.select(_SECONDS):
                    raise TimeoutError
                part = os.read(pipe, length - len(data))
                if not part:
                    raise EOFError
                data += part
        return data


def _refuse(event: str, _: tuple) -> None:
    if event.startswith(_REFUSED):
        raise PermissionError(event)


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    readers = WITNESSES + VARIANTS
    differences(b"S'\xe9'\nV\\u006f\nF1\nI08\n.", readers)  # what is imported late is imported now
    sys.addaudithook(_refuse)
    while len(head := sys.stdin.buffer.read(_LENGTH.size)) == _LENGTH.size:
        stream = sys.stdin.buffer.read(_LENGTH.unpack(head)[0])
        result = differences(stream, readers)
        answer = json.dumps(
            {"differences": result.differences, "finished": result.finished, "aside": result.aside}
        ).encode()
        sys.stdout.buffer.write(_LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
