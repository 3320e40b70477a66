"""What Python's own pickler writes: values of the standard library, in every protocol."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import functools
import ipaddress
import pathlib
import pickle
import random
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benign.corpus import Writer, Written

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def _metadata() -> object:
    made = collections.OrderedDict(a=1)
    made._metadata = collections.OrderedDict(version=1)  # type: ignore[attr-defined]
    return made


def _moment() -> datetime.datetime:
    return datetime.datetime(2024, 2, 29, 12, 30, 15, 250, tzinfo=datetime.UTC)


VALUES: Mapping[str, Callable[[], object]] = {
    "literals": lambda: {"n": [1, 1 << 200, 0.5, True, None], "t": ("é", "", "x" * 70_000), "l": [[], {}, ()]},
    "bytes": lambda: [b"", b"\xff\x00", bytearray(b"\xe9abc"), bytearray()],
    "complex": lambda: [complex(1, -2)],
    "sets": lambda: [{1, "x"}, frozenset({("a", 1)}), set()],
    "types": lambda: [int, str, list, dict, float, bool, tuple, set],
    "ordered dict": _metadata,
    "counter": lambda: collections.Counter("abracadabra"),
    "deque": lambda: collections.deque([1, (2,)], 5),
    "defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "defaultdict of defaultdict values": lambda: collections.defaultdict(int, {"a": 1}),
    "chain map": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "user dict": lambda: collections.UserDict(a=1),
    "date": lambda: [datetime.date(2024, 2, 29), datetime.time(1, 2, 3), datetime.timedelta(1, 2, 3)],
    "moment": _moment,
    "moment elsewhere": lambda: _moment().astimezone(datetime.timezone(datetime.timedelta(hours=2), "EET")),
    "moment in a zone": lambda: _moment().astimezone(zoneinfo.ZoneInfo("UTC")),
    "dates as keys": lambda: {datetime.date(2024, 1, day): day for day in (1, 2)},
    "decimal": lambda: decimal.Decimal("1.50"),
    "fraction": lambda: fractions.Fraction(3, 7),
    "path": lambda: [pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("c:/x")],
    "local path": lambda: Path("weights") / "model.pt",
    "uuid": lambda: uuid.UUID(int=5),
    "pattern": lambda: re.compile(r"\w+\s?", re.IGNORECASE),
    "namespace": lambda: argparse.Namespace(lr=0.1, layers=[1, 2], inner=argparse.Namespace(seed=None)),
    "simple namespace": lambda: types.SimpleNamespace(a=1, b="x"),
    "range and slice": lambda: [range(1, 9, 2), slice(None, 3)],
    "random state": lambda: random.Random(3).getstate(),
    "random": lambda: random.Random(3),
    "address": lambda: ipaddress.ip_address("10.0.0.1"),
    "flag": lambda: [re.IGNORECASE, re.ASCII],
    "partial": lambda: functools.partial(int, base=2),
    "vocabulary": lambda: {f"word{number}": number for number in range(3000)},
    "exception": lambda: ValueError("not a number"),
}


def _write(folder: Path) -> Iterator[Written]:
    for name, make in VALUES.items():
        for protocol in PROTOCOLS:
            path = f"{name.replace(' ', '_')}.{protocol}.pkl"
            (folder / path).write_bytes(pickle.dumps(make(), protocol))
            yield Written(path, name)


WRITERS: Mapping[str, Writer] = {"python": _write}
