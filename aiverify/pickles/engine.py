"""Second opinions: what another engine says about a stream that the machine has judged.

An engine's severity is evidence for the reader, never a verdict. Only one thing counts: a name that it found and the
machine did not.

Rules it keeps:

1. The machine always judges; engines only add to it. They are asked by name, never because they are installed.
2. An engine of somebody else's is an entry point of the group ``aiverify.engines`` whose value gives an ``Engine`` when
   it is called without arguments. It runs with the user's rights, as any code does that the user has installed.
3. Whatever an engine raises or returns, the examination goes on: the opinion is incomplete then.
4. A stream is asked about once: who sees the same bytes again gets the opinion of the first time. Only one that came
   without what a reader would see is asked for once more when it is to be shown.
5. One file cannot take more than ``SECONDS_PER_FILE`` of an engine's time.
6. Engines are asked one question at a time, also by who does not wait for the answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from aiverify.errors import AiverifyError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

GROUP = "aiverify.engines"
SECONDS_PER_FILE = 120.0
BUILT_IN = ("fickling",)
_KEPT = 8 << 20  # characters of opinions that are remembered


class EngineError(AiverifyError):
    """An engine could not be started at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What an engine said about one stream.

    ``names`` are the imports it saw, as (module, name). ``severity`` is its own word. ``source`` is the stream as it
    decompiles it, cut to a readable length. ``incomplete`` says why it did not finish, ``None`` when it did.
    """

    engine: str
    names: frozenset[tuple[str, str]] = frozenset()
    severity: str | None = None
    source: str | None = None
    incomplete: str | None = None


class Engine(Protocol):
    """Something that reads pickle streams without running them.

    An engine may also have a method ``prepare()``, which is called before the machine reads a stream about which the
    engine may be asked: what takes long to start can begin meanwhile.
    """

    def declines(self, *, size: int, opcodes: int) -> str | None:
        """Why it will not look at a stream of ``size`` bytes and ``opcodes`` opcodes; ``None`` if it will."""

    def examine(self, stream: bytes, *, opcodes: int, shown: bool) -> Opinion:
        """An opinion about one stream of ``opcodes`` opcodes. Never raises for what the bytes hold.

        Severity and source are for the reader: unless they are going to be ``shown``, they need not be worked out.
        """

    def close(self) -> None:
        """Give back what the engine holds."""


class Engines:
    """The engines that a run asks, in their order, each under its name. Use it as a context manager."""

    def __init__(self, engines: Iterable[tuple[str, Engine]] = ()) -> None:
        self._asked = [_Asked(name, engine) for name, engine in engines]
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file(self) -> None:
        """The next file begins."""
        for asked in self._asked:
            asked.spent = 0.0

    def prepare(self) -> None:
        """A stream is going to be read. Never raises."""
        for asked in self._asked:
            asked.prepare()

    def opinions(self, data: Sliceable, start: int, end: int, opcodes: int, *, shown: bool = True) -> list[Opinion]:
        """What each engine says about the stream between ``start`` and ``end`` of ``data``. Never raises.

        Unless it is to be ``shown``, an opinion may be no more than names.
        """
        return self._question(data, start, end, opcodes, shown)()

    def ask(self, data: Sliceable, start: int, end: int, opcodes: int) -> Callable[[], list[Opinion]]:
        """Have ``opinions`` worked out in a thread; what is returned waits for them. They are no more than names."""
        question = self._question(data, start, end, opcodes, shown=False)
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, thread_name_prefix="engines")
        return self._thread.submit(question).result

    def _question(
        self, data: Sliceable, start: int, end: int, opcodes: int, shown: bool
    ) -> Callable[[], list[Opinion]]:
        wanted = [(asked, asked.declines(end - start, opcodes)) for asked in self._asked]
        stream = bytes(data[start:end]) if any(reason is None for _, reason in wanted) else b""
        key = hashlib.sha256(stream).digest() if stream else b""
        return lambda: [
            asked.opinion(stream, key, opcodes, shown) if reason is None else asked.incomplete(reason)
            for asked, reason in wanted
        ]

    def close(self) -> None:
        """End every engine, and what it is still asked."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        for asked in self._asked:
            asked.close()


class Sliceable(Protocol):
    """Bytes, or what gives bytes when a part of it is taken."""

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


class _Asked:
    """One engine, with what it has said already and the time that the present file took of it."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.spent = 0.0
        self._name = name
        self._engine = engine
        self._known: OrderedDict[tuple[bytes, bool], Opinion] = OrderedDict()
        self._kept = 0

    def incomplete(self, reason: str) -> Opinion:
        return Opinion(engine=self._name, incomplete=reason)

    def declines(self, size: int, opcodes: int) -> str | None:
        try:
            return self._engine.declines(size=size, opcodes=opcodes)
        except Exception as error:  # noqa: BLE001 - rule 3
            return f"it failed ({type(error).__name__})"

    def prepare(self) -> None:
        prepare = getattr(self._engine, "prepare", None)
        if prepare is not None:
            with contextlib.suppress(Exception):  # rule 3: it will fail again when it is asked
                prepare()

    def opinion(self, stream: bytes, key: bytes, opcodes: int, shown: bool) -> Opinion:
        known = self._known.get((key, shown))
        if known is not None:
            return known
        if self.spent > SECONDS_PER_FILE:
            return self.incomplete(f"this file took {SECONDS_PER_FILE:g} s of its time")
        begin = time.monotonic()
        try:
            opinion = replace(self._engine.examine(stream, opcodes=opcodes, shown=shown), engine=self._name)
        except Exception as error:  # noqa: BLE001 - rule 3
            opinion = self.incomplete(f"it failed ({type(error).__name__})")
        self.spent += time.monotonic() - begin
        self._remember((key, shown), opinion)
        return opinion

    def _remember(self, key: tuple[bytes, bool], opinion: Opinion) -> None:
        self._known[key] = opinion
        self._kept += _size(opinion)
        while self._kept > _KEPT and len(self._known) > 1:
            self._kept -= _size(self._known.popitem(last=False)[1])

    def close(self) -> None:
        with contextlib.suppress(Exception):  # rule 3: what it said has been taken
            self._engine.close()


def _size(opinion: Opinion) -> int:
    return 500 + len(opinion.source or "") + sum(len(module) + len(name) for module, name in opinion.names)


def open_engines(names: Iterable[str]) -> Engines:
    """The engines of these names, in this order. Raises EngineError for one that is not there or cannot be made."""
    return Engines((name, opened(name)) for name in dict.fromkeys(names))


def opened(name: str) -> Engine:
    """One engine, by its name. Raises EngineError."""
    if name == "fickling":
        from aiverify.pickles.fickling_engine import FicklingEngine

        return FicklingEngine()
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join([*BUILT_IN, *sorted(found)])
        raise EngineError(f"there is no engine {name!r}", hint=f"Known are {known}.")
    try:
        engine: Engine = found[name].load()()
    except Exception as error:
        raise EngineError(f"the engine {name!r} cannot be made: {type(error).__name__}: {error}") from error
    if not all(callable(getattr(engine, method, None)) for method in ("declines", "examine", "close")):
        raise EngineError(f"the engine {name!r} has not the methods of an engine")
    return engine
