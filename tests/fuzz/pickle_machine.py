"""The inert machine against CPython's own unpicklers (``tests/pickle_witness.py``)."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.pickle_grammar import Grammar, mutate
from tests.fuzz.target import Target
from tests.pickle_witness import VARIANTS, WITNESSES, differences

_READERS = (*WITNESSES, *WITNESSES, *VARIANTS)
_counted = {"finished by CPython": 0, "set aside as harmful": 0}


def check(stream: bytes) -> str | None:
    """Compare the machine with one of CPython's readers, which the bytes themselves choose."""
    reader = _READERS[zlib.crc32(stream) % len(_READERS)]
    result = differences(stream, (reader,))
    _counted["finished by CPython"] += result.finished
    _counted["set aside as harmful"] += bool(result.aside)
    return "; ".join(result.differences) or None


def seeds() -> Iterator[bytes]:
    """Streams that real libraries write, as far as they are installed, and a thousand of the grammar."""
    yield from (pickle.dumps(sample, protocol) for sample in _samples() for protocol in range(6))
    folder = Path(__file__).parent
    written = subprocess.run([sys.executable, folder / "library_streams.py"], stdout=subprocess.PIPE, check=False)
    parts = written.stdout
    while len(parts) >= 4:
        length = int.from_bytes(parts[:4], "little")
        yield parts[4 : 4 + length]
        parts = parts[4 + length :]
    grammar = Grammar(random.Random(20))
    yield from (grammar.stream() for _ in range(1000))


def _samples() -> Iterator[object]:
    yield {"a": [1, 2.5, None, True, "é", b"bytes", 1 << 70], "b": {1, 2}, ("t",): frozenset([3])}
    yield [bytearray(b"x"), complex(1, 2), "x" * 300, -5, 70000, (), {}, set()]
    shared = ["shared"]
    yield [shared, shared, (shared,), {"k": shared}]


TARGET = Target(
    check=check,
    seeds=seeds,
    mutate=mutate,
    sources=("aiverify.pickles.machine", "aiverify.pickles.values", "aiverify.pickles.reading", "tests.pickle_witness"),
    counters=lambda: _counted,
)
