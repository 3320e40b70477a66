"""A process that examines files for another: reads tasks from stdin, writes answers to stdout.

Everything travels as JSON with its length in front; nothing is ever unpickled between the processes either. A process
that dies takes nothing along but the file that it was looking at.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from aiverify.finding import Finding, Location, Severity, Unexamined
from aiverify.formats.examine import examine
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.layers import Layer
from aiverify.pickles.engine import Engine, Engines, Opinion, opened
from aiverify.pickles.fickling_engine import FicklingEngine

LENGTH = struct.Struct("<Q")


def main() -> None:
    """Work until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever prints must not reach the pipe
    serve(os.fdopen(os.dup(0), "rb"), answers)


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """Answer each task of ``tasks``. The first message says how to examine."""
    line = Line(tasks, answers)
    settings = line.receive()
    if settings is None:
        return
    engines = Engines((name, _Shared(name, line)) for name in settings["engines"])
    options = ScanOptions(trust=frozenset(settings["trust"]), engines=engines)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    line.send({"ready": True})
    with engines:
        while (task := line.receive()) is not None:
            line.send({"index": task["index"], **_answer(task, options)})


def _answer(task: Mapping[str, Any], options: ScanOptions) -> dict[str, object]:
    options.engines.file()
    state = tuple(task["state"]) if task["state"] is not None else None
    try:
        return {"examination": packed(examine(Path(task["location"]), task["path"], options, state))}
    except FormatError as error:
        return {"unreadable": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - one file must not cost the others
        return {"failed": f"{type(error).__name__}: {error}"[:500]}


class Line:
    """Messages in both directions."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._early: deque[Any] = deque()

    def receive(self) -> Any:
        """The next message, ``None`` when the other side has ended."""
        return self._early.popleft() if self._early else self._read()

    def ask(self, question: Mapping[str, object], reply: str) -> Any:
        """What the other side replies to ``question``. Tasks that were sent ahead are kept. Raises EOFError."""
        self.send(question)
        while (message := self._read()) is not None:
            if reply in message:
                return message[reply]
            self._early.append(message)
        raise EOFError

    def _read(self) -> Any:
        head = self._incoming.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        length = LENGTH.unpack(head)[0]
        data = self._incoming.read(length)
        return json.loads(data) if len(data) == length else None

    def send(self, message: Mapping[str, object]) -> None:
        """Hand over ``message``."""
        self._outgoing.write(framed(message))
        self._outgoing.flush()


def framed(message: Mapping[str, object]) -> bytes:
    """``message`` as it travels."""
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    return LENGTH.pack(len(data)) + data


class _Shared:
    """An engine that first asks whether another process has had an opinion about the same bytes. See ``Engine``."""

    def __init__(self, name: str, line: Line) -> None:
        self._name = name
        self._line = line
        self._engine: Engine = FicklingEngine(session=False) if name == "fickling" else opened(name)

    def declines(self, *, size: int, opcodes: int) -> str | None:
        return self._engine.declines(size=size, opcodes=opcodes)

    def examine(self, stream: bytes, *, opcodes: int, shown: bool) -> Opinion:
        key = [self._name, hashlib.sha256(stream).hexdigest() + (" shown" if shown else "")]
        known = self._line.ask({"known": key}, "opinion")
        if known is not None:
            return opinion(known)
        said = Opinion(engine=self._name, incomplete="it failed")
        try:
            said = self._engine.examine(stream, opcodes=opcodes, shown=shown)
        finally:
            self._line.send({"said": key, "opinion": _packed_opinion(said)})
        return said

    def close(self) -> None:
        self._engine.close()


def _packed_opinion(said: Opinion) -> dict[str, object]:
    return {
        "engine": str(said.engine),
        "names": sorted([str(module), str(name)] for module, name in said.names),
        "severity": said.severity,
        "source": said.source,
        "incomplete": said.incomplete,
    }


def opinion(value: Mapping[str, Any]) -> Opinion:
    """The opinion that was sent as ``value``."""
    names = frozenset((module, name) for module, name in value["names"])
    return Opinion(
        engine=value["engine"],
        names=names,
        severity=value["severity"],
        source=value["source"],
        incomplete=value["incomplete"],
    )


def packed(examination: Examination) -> dict[str, object]:
    """What travels of an examination: all but the objects that a conversion needs."""
    return {
        "format": examination.format.value,
        "findings": [
            [item.rule, item.severity.value, item.message, item.file, *_place(item.location), dict(item.evidence)]
            for item in examination.findings
        ],
        "unexamined": [[item.file, item.reason, item.member] for item in examination.unexamined],
        "layers": [[part.file, part.name, part.dtype, part.tensors, part.size] for part in examination.layers],
    }


def _place(location: Location) -> tuple[str | None, int | None]:
    return location.member, location.offset


def unpacked(value: Mapping[str, Any]) -> Examination:
    """The examination that was sent as ``value``."""
    return Examination(
        format=Format(value["format"]),
        findings=[
            Finding(
                rule=rule,
                severity=Severity(severity),
                message=message,
                file=file,
                location=Location(member, offset),
                evidence=evidence,
            )
            for rule, severity, message, file, member, offset, evidence in value["findings"]
        ],
        unexamined=[
            Unexamined(file=file, reason=reason, member=member) for file, reason, member in value["unexamined"]
        ],
        layers=tuple(Layer(*part) for part in value["layers"]),
    )
