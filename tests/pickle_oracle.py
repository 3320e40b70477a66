"""CPython's two unpicklers as witnesses: what does each of them ask for when it reads a stream?

Names are recorded and answered with an inert class, so nothing is imported and nothing of the stream is called. They
run in a child process with limits all the same, because a stream can exhaust memory or time, or crash the C unpickler.
"""

from __future__ import annotations

import _compat_pickle
import io
import json
import os
import pickle
import resource
import selectors
import struct
import subprocess
import sys
from dataclasses import dataclass

_LENGTH = struct.Struct("<Q")
_MEMORY = 768 << 20
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One unpickler's way through one stream.

    ``asked`` are the names as written, ``mapped`` the names after CPython's renaming (only the Python unpickler can
    tell). ``finished`` means that STOP was reached.
    """

    reader: str
    asked: tuple[tuple[str, str], ...]
    mapped: tuple[tuple[str, str], ...] | None
    calls: int
    ids: int
    finished: bool
    error: str


class Oracle:
    """A warm child. ``ask`` gives no runs when the child crashed, hung or ran out of memory."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.lost = 0

    def ask(self, stream: bytes) -> list[Run]:
        if self.child is None:
            self.child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.child.stdin.write(_LENGTH.pack(len(stream)) + stream)
            self.child.stdin.flush()
            (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
            answer = json.loads(self._receive(length))
        except (OSError, EOFError):
            self.close()
            self.lost += 1
            return []
        return [
            Run(
                reader,
                tuple(map(tuple, asked)),
                None if mapped is None else tuple(map(tuple, mapped)),
                calls,
                ids,
                finished,
                error,
            )
            for reader, asked, mapped, calls, ids, finished, error in answer
        ]

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


class _Kind(type):
    """Classes that can be used for everything that a stream may do to a class, and do nothing."""

    count = 0

    def __call__(cls, *args, **kwargs):
        if args and args[0] == "text":
            _Kind.count += 1
            return "computed"
        return super().__call__(*args, **kwargs)

    def append(cls, item):
        pass

    def extend(cls, items):
        pass

    def add(cls, item):
        pass

    def __setitem__(cls, key, value):
        pass


class _Inert(metaclass=_Kind):
    def __new__(cls, *args, **kwargs):
        _Kind.count += 1
        return object.__new__(_Inert)

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        _Kind.count += 1
        return object.__new__(_Inert)

    def __setstate__(*args):
        pass

    def append(self, item=None):
        pass

    def extend(self, items=None):
        pass

    def add(self, item=None):
        pass

    def __setitem__(self, key, value):
        pass


class _Recording:
    def begin(self):
        self.asked, self.mapped, self.ids, _Kind.count = [], [], 0, 0

    def find_class(self, module, name):
        self.asked.append((module, name))
        proto = getattr(self, "proto", None)
        if proto is not None and proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get(
                (module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
            )
        self.mapped.append((module, name))
        return "computed" if name.startswith("text") else _Inert

    def persistent_load(self, pid):
        self.ids += 1
        return "computed" if pid == "text" else object.__new__(_Inert)


class _InC(_Recording, pickle.Unpickler):
    pass


class _InPython(_Recording, pickle._Unpickler):
    pass


def _watch(reader: str, kind: type, source: type, stream: bytes, encoding: str) -> list:
    file = io.BytesIO(stream)
    unpickler = kind(io.BufferedReader(file) if source is io.BufferedReader else file, encoding=encoding)
    unpickler.begin()
    finished, error = False, ""
    try:
        unpickler.load()
        finished = True
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the witness's answer
        error = f"{type(caught).__name__}: {caught}"[:200]
    mapped = unpickler.mapped if kind is _InPython else None
    return [f"{reader} ({encoding})", unpickler.asked, mapped, _Kind.count, unpickler.ids, finished, error]


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := sys.stdin.buffer.read(_LENGTH.size)) == _LENGTH.size:
        stream = sys.stdin.buffer.read(_LENGTH.unpack(head)[0])
        runs = [
            _watch("C", _InC, io.BytesIO, stream, "ASCII"),
            _watch("C that looks ahead", _InC, io.BufferedReader, stream, "latin1"),
            _watch("Python", _InPython, io.BytesIO, stream, "ASCII"),
            _watch("Python", _InPython, io.BytesIO, stream, "latin1"),
        ]
        answer = json.dumps(runs).encode()
        sys.stdout.buffer.write(_LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
