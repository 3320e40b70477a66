"""fickling as the second engine: one warm child process with limits on time, memory and what it may touch.

fickling is run on the very bytes that the machine read. Everything that goes wrong in the child (an exception, a limit,
a crash, silence) makes the opinion incomplete; a child that stopped or fell silent is replaced for the next stream.

Each process that examines files has one child of its own, so that there are as many as cores at work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import selectors
import struct
import subprocess
import sys
import threading
import time

from aiverify.pickles.engine import Opinion

_QUESTION, _LENGTH = struct.Struct("<Q?"), struct.Struct("<Q")
_LONGEST_ANSWER = 1 << 20
_ENGINE = "fickling"
_PIPE = 1 << 20  # bytes that lie in a pipe at once, where the system lets us ask


class FicklingEngine:
    """Examines streams with fickling. Limits: ``opcodes`` and ``size`` (bytes) of a stream, ``seconds`` for each.

    A stream beyond the first two is not given to fickling at all: it would take seconds per hundred thousand opcodes.
    """

    def __init__(
        self, *, opcodes: int = 100_000, size: int = 64 << 20, seconds: float = 20.0, session: bool = True
    ) -> None:
        """``session``: the child gets a session of its own, so that a Ctrl-C in the terminal is ours alone to hear."""
        self._opcodes = opcodes
        self._size = size
        self._seconds = seconds
        self._session = session
        self._child: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()

    def declines(self, *, size: int, opcodes: int) -> str | None:
        """Why a stream is beyond the budget, if it is."""
        if opcodes > self._opcodes:
            return f"{opcodes} opcodes are beyond its budget of {self._opcodes}"
        if size > self._size:
            return f"{size} bytes are beyond its budget of {self._size}"
        return None

    def prepare(self) -> None:
        """Start the child: it imports fickling while the machine reads the first stream."""
        if self._asking.acquire(blocking=False):  # whoever asks already starts it
            try:
                self._started()
            finally:
                self._asking.release()

    def examine(self, stream: bytes, *, opcodes: int, shown: bool = True) -> Opinion:
        """What fickling says about ``stream``. See ``Engine``."""
        reason = self.declines(size=len(stream), opcodes=opcodes)
        if reason is not None:
            return _incomplete(reason)
        try:
            with self._asking:
                answer = self._ask(stream, shown)
            return _opinion(answer, shown)
        except TimeoutError:
            self.close()
            return _incomplete(f"no answer within {self._seconds:g} s")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self.close()
            return _incomplete(f"the engine stopped ({type(error).__name__})")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child, if there is one. Another thread that waits for its answer is told so first."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with self._asking, contextlib.suppress(BrokenPipeError):
                child.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        child = self._child = self._child or self._start()
        return child

    def _start(self) -> subprocess.Popen[bytes]:
        # -I: neither the environment nor the working directory may add modules to the child.
        command = [sys.executable, "-I", "-c", _BOOT, str(math.ceil(self._seconds)), *sys.path]
        child = subprocess.Popen(  # noqa: S603 - a fixed command with our own module path
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=self._session,
        )
        if child.stdin is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):
                fcntl.fcntl(child.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
        return child

    def _ask(self, stream: bytes, shown: bool) -> dict[str, object]:
        child = self._started()
        question, answer = child.stdin, child.stdout
        assert question is not None  # noqa: S101 - Popen was given PIPE for both
        assert answer is not None  # noqa: S101
        deadline = time.monotonic() + self._seconds
        self._send(question.fileno(), _QUESTION.pack(len(stream), shown), deadline)
        self._send(question.fileno(), stream, deadline)
        (length,) = _LENGTH.unpack(self._receive(answer.fileno(), _LENGTH.size, deadline))
        if length > _LONGEST_ANSWER:
            raise ValueError("an answer that is too long")
        value = json.loads(self._receive(answer.fileno(), length, deadline))
        if not isinstance(value, dict):
            raise TypeError("an answer that is not an object")
        return value

    @staticmethod
    def _send(pipe: int, data: bytes, deadline: float) -> None:
        os.set_blocking(pipe, False)
        view = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_WRITE)
            while view:
                _wait(selector, deadline)
                view = view[os.write(pipe, view[:_PIPE]) :]

    @staticmethod
    def _receive(pipe: int, length: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while length:
                _wait(selector, deadline)
                part = os.read(pipe, min(length, 1 << 16))
                if not part:
                    raise EOFError
                parts.append(part)
                length -= len(part)
        return b"".join(parts)


_BOOT = """
import sys
seconds, sys.path[:] = int(sys.argv[1]), sys.argv[2:]
from aiverify.pickles.fickling_child import main
main(seconds)
"""


def _wait(selector: selectors.BaseSelector, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not selector.select(remaining):
        raise TimeoutError


def _opinion(answer: dict[str, object], shown: bool) -> Opinion:
    if "incomplete" in answer:
        return _incomplete(str(answer["incomplete"])[:200])
    names = answer["names"]
    if not isinstance(names, list):
        raise TypeError("names")
    return Opinion(
        engine=_ENGINE,
        names=frozenset((str(module), str(name)) for module, name in names),
        severity=str(answer["severity"]) if shown else None,
        source=str(answer["source"]) if shown else None,
    )


def _incomplete(reason: str) -> Opinion:
    return Opinion(engine=_ENGINE, incomplete=reason)
