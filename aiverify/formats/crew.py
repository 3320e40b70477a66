"""Processes that examine files, and what they say.

Rules it keeps:

1. A file whose examination ends a process, or that takes longer than ``SECONDS``, is unexamined, which is no pass. The
   others are examined all the same; after ``_MAX_DEATHS`` such files the rest is unexamined, too.
2. Whatever ends the run, an interrupt included, ends the processes at once, and their children with them.
3. The same bytes are given to a second engine once, whichever process meets them.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiverify.finding import Unexamined
from aiverify.formats.interface import Examination, Format, FormatError
from aiverify.formats.worker import LENGTH, framed, unpacked

if TYPE_CHECKING:
    from aiverify.formats.many import Subject

SECONDS = 900.0  # for one file: far more than its budgets allow
_MAX_DEATHS = 100
_AHEAD = 2  # tasks that a process has at once, so that it need not wait for the next one
_LONGEST_ANSWER = 1 << 30
_KEPT_OPINIONS = 2_000


class WorkerError(FormatError):
    """The processes that examine files cannot be started."""


@dataclass(slots=True)
class _Worker:
    """One process, the tasks that it has, and when it began the first of them."""

    process: subprocess.Popen[bytes]
    tasks: deque[int] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)
    received: bytearray = field(default_factory=bytearray)
    ready: bool = False

    def send(self, message: Mapping[str, object]) -> None:
        """Hand over a small message. A process that has died is noticed where its answers end."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(framed(message))
                self.process.stdin.flush()

    def messages(self) -> Iterator[Any]:
        """The whole messages that have arrived."""
        while len(self.received) >= LENGTH.size:
            length = LENGTH.unpack_from(self.received)[0]
            if length > _LONGEST_ANSWER:
                raise ValueError("an answer that is too long")
            if len(self.received) < LENGTH.size + length:
                return
            message = json.loads(self.received[LENGTH.size : LENGTH.size + length])
            del self.received[: LENGTH.size + length]
            yield message

    def end(self) -> None:
        """End the process and what it has started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


class Crew:
    """So many processes, each of which is told the settings first. Use it as a context manager."""

    def __init__(self, count: int, settings: Mapping[str, object]) -> None:
        self._count = count
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._deaths = 0
        self._known: OrderedDict[tuple[str, str], object] = OrderedDict()
        self._waiting: dict[tuple[str, str], tuple[_Worker, list[_Worker]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def examine(self, subjects: Sequence[Subject]) -> Iterator[tuple[int, Examination]]:
        """The examination of each file with its number, as they come."""
        # The large ones first: one that comes last would keep one process busy and the others idle.
        todo = deque(sorted(range(len(subjects)), key=lambda index: -subjects[index].size))
        for _ in range(min(self._count, len(subjects))):
            self._start()
        finished = 0
        while finished < len(subjects):
            for worker in self._workers:
                self._feed(worker, todo, subjects)
            if not self._workers:
                self._start()
                continue
            for index, examination in self._heard(subjects, todo):
                finished += 1
                yield index, examination

    def _start(self) -> None:
        # -I: neither the environment nor the working directory may add modules to the process.
        process = subprocess.Popen(  # noqa: S603 - a fixed command with our own module path
            [sys.executable, "-I", "-c", _BOOT, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        worker = _Worker(process)
        self._workers.append(worker)
        assert process.stdout is not None  # noqa: S101 - Popen was given PIPE
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        worker.send(self._settings)

    def _feed(self, worker: _Worker, todo: deque[int], subjects: Sequence[Subject]) -> None:
        while todo and len(worker.tasks) < _AHEAD:
            index = todo.popleft()
            if not worker.tasks:
                worker.since = time.monotonic()
            worker.tasks.append(index)
            subject = subjects[index]
            file = {"location": str(subject.location), "path": subject.path, "state": subject.state}
            worker.send({"index": index, **file})

    def _heard(self, subjects: Sequence[Subject], todo: deque[int]) -> Iterator[tuple[int, Examination]]:
        """What the next answers say. A process that has died or fallen silent is replaced."""
        now = time.monotonic()
        patience = min((worker.since for worker in self._workers if worker.tasks), default=now) + SECONDS - now
        for key, _ in self._selector.select(max(patience, 0.0)):
            worker: _Worker = key.data
            part = os.read(key.fd, 1 << 20)
            worker.received += part
            try:
                for message in worker.messages():
                    yield from self._answer(worker, message, subjects)
            except (ValueError, KeyError, TypeError) as error:
                yield from self._lost(worker, f"ended in a broken answer ({type(error).__name__})", subjects, todo)
                continue
            if not part:
                yield from self._lost(worker, _death(worker.process), subjects, todo)
        for worker in [worker for worker in self._workers if worker.tasks]:
            if time.monotonic() - worker.since > SECONDS:
                yield from self._lost(worker, f"took more than {SECONDS:g} s", subjects, todo)

    def _answer(
        self, worker: _Worker, message: dict[str, Any], subjects: Sequence[Subject]
    ) -> Iterator[tuple[int, Examination]]:
        if "ready" in message:
            worker.ready = True
        elif "known" in message:
            self._asked(worker, _key(message["known"]))
        elif "said" in message:
            self._said(_key(message["said"]), message["opinion"])
        else:
            index = message["index"]
            if not worker.tasks or index != worker.tasks[0]:
                raise ValueError("an answer to another question")
            examination = _examination(message, subjects[index])
            worker.tasks.popleft()
            worker.since = time.monotonic()
            yield index, examination

    def _lost(
        self, worker: _Worker, reason: str, subjects: Sequence[Subject], todo: deque[int]
    ) -> Iterator[tuple[int, Examination]]:
        """End ``worker``; the file that it was looking at stays unexamined, its other tasks go to others."""
        if worker.process.stdout is not None:
            self._selector.unregister(worker.process.stdout)
        worker.end()
        self._workers.remove(worker)
        if not worker.ready:
            raise WorkerError("a process that examines files could not be started", hint="Is the installation whole?")
        self._forget(worker)
        self._deaths += 1
        culprits = [worker.tasks.popleft()] if worker.tasks else []
        todo.extendleft(reversed(worker.tasks))
        if self._deaths >= _MAX_DEATHS:
            culprits += todo
            todo.clear()
        elif len(self._workers) < self._count and todo:
            self._start()
        for index in culprits:
            yield index, _unexamined(subjects[index], f"its examination {reason}")

    # Opinions that the processes share

    def _asked(self, worker: _Worker, key: tuple[str, str]) -> None:
        if key in self._known:
            worker.send({"opinion": self._known[key]})
        elif key in self._waiting:
            self._waiting[key][1].append(worker)
        else:
            self._waiting[key] = (worker, [])
            worker.send({"opinion": None})

    def _said(self, key: tuple[str, str], opinion: object) -> None:
        self._known[key] = opinion
        if len(self._known) > _KEPT_OPINIONS:
            self._known.popitem(last=False)
        _, others = self._waiting.pop(key, (None, []))
        for worker in others:
            worker.send({"opinion": opinion})
            worker.since = time.monotonic()

    def _forget(self, lost: _Worker) -> None:
        """Whoever waited for ``lost`` has to ask for itself."""
        for key, (asking, others) in list(self._waiting.items()):
            if lost in others:
                others.remove(lost)
            if asking is lost:
                del self._waiting[key]
                for worker in others:
                    self._asked(worker, key)


def _key(value: Any) -> tuple[str, str]:
    engine, digest = value
    return str(engine), str(digest)


def _examination(message: dict[str, Any], subject: Subject) -> Examination:
    if "unreadable" in message:
        raise FormatError(message["unreadable"], hint=message["hint"])
    if "failed" in message:
        text = f"its examination failed, which is a bug of aiverify: {message['failed']}"
        return _unexamined(subject, text)
    return unpacked(message["examination"])


def _unexamined(subject: Subject, reason: str) -> Examination:
    return Examination(format=Format.UNKNOWN, unexamined=[Unexamined(file=subject.path, reason=reason)])


def _death(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code >= 0:
        return f"ended the process with code {code}"
    return f"ended the process by {signal.Signals(-code).name}"


_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from aiverify.formats.worker import main; main()"
