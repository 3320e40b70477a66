"""What the inert machine leaves behind: the objects a pickle *describes*, as nodes that can do nothing.

Literals stand for themselves: ``None``, ``bool``, ``int``, ``float``, ``str``, ``tuple`` and ``list`` are the Python
objects. Everything that could carry behaviour, or whose equality or hash could be expensive, is a node of this module.
No node is ever hashed or compared by value: identity is the only identity.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, Union

_LONGEST_NAME = 1000  # characters; comparing and joining names must not cost more than reading them


@dataclass(slots=True, eq=False)
class Global:
    """A name the stream asks for, by GLOBAL, STACK_GLOBAL or INST.

    ``module`` and ``name`` are what CPython would import, after the renaming of Python 2 names that protocols below 3
    undergo. ``written`` is the name as it stands in the stream. ``module`` is ``None`` when the name was computed.
    """

    module: str | None
    name: str
    offset: int
    written: tuple[str, str]

    @property
    def dotted(self) -> str:
        """``module.name``, cut when it is longer than any real name, or a placeholder for a computed name."""
        if self.module is None:
            return "<computed name>"
        if len(self.module) + len(self.name) > _LONGEST_NAME:
            return f"{self.module[:_LONGEST_NAME]}.{self.name[:_LONGEST_NAME]}…"
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Extension:
    """A code of the ``copyreg`` extension registry: what it names is known only to the loading process."""

    code: int
    offset: int


class CallKind(enum.StrEnum):
    """How a call comes about."""

    REDUCE = "REDUCE"
    INST = "INST"
    OBJ = "OBJ"
    NEWOBJ = "NEWOBJ"
    NEWOBJ_EX = "NEWOBJ_EX"


@dataclass(slots=True, eq=False)
class Call:
    """A call that the stream asks for, and so the object that it would create.

    ``args`` is the argument value as it stood on the stack (usually a tuple), ``kwargs`` only for NEWOBJ_EX. What the
    stream later does *to* the object is kept in order: ``states`` (BUILD), ``items`` (SETITEM, key and value pairs) and
    ``elements`` (APPEND, ADDITEMS).
    """

    kind: CallKind
    callable: Value
    args: Value
    offset: int
    kwargs: Value = None
    states: Sequence[Value] = ()
    items: Sequence[tuple[Value, Value]] = ()
    elements: Sequence[Value] = ()


@dataclass(slots=True, eq=False)
class Dictionary:
    """A dict, as its pairs in the order in which they are set. Later pairs with an equal key win, as in CPython."""

    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class SetNode:
    """A set or frozenset, as its members in order; equal members are not merged."""

    members: list[Value] = field(default_factory=list)
    frozen: bool = False


@dataclass(slots=True, eq=False)
class Blob:
    """A byte string: ``length`` bytes at ``start`` of the machine's input. ``mutable`` tells bytearray from bytes.

    ``text`` tells a Python 2 string (STRING, BINSTRING), which a loader decodes or not, as it was told to.
    """

    start: int
    length: int
    mutable: bool = False
    text: bool = False
    value: bytes | None = None


@dataclass(slots=True, eq=False)
class Persistent:
    """An object that the loader itself supplies for a persistent id."""

    pid: Value
    offset: int


@dataclass(slots=True, eq=False)
class OutOfBand:
    """A buffer that travels beside the stream (protocol 5)."""

    offset: int
    readonly: bool = False


@dataclass(slots=True, eq=False)
class Opaque:
    """A literal whose value depends on the loader's settings, or that is too long to be worth computing."""

    reason: str
    offset: int


Value: TypeAlias = Union[
    bool,
    int,
    float,
    str,
    "tuple[Value, ...]",
    "list[Value]",
    Global,
    Extension,
    Call,
    Dictionary,
    SetNode,
    Blob,
    Persistent,
    OutOfBand,
    Opaque,
    None,
]


@dataclass(slots=True, eq=False)
class Mutation:
    """A change that the stream makes to ``target``, which is not something that the same stream created."""

    opcode: str
    target: Value
    value: Value
    offset: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that no ordinary pickler writes: ``kind`` is a word for rules, ``text`` a sentence for people."""

    kind: str
    text: str
    offset: int


@dataclass(slots=True, eq=False)
class Graph:
    """One interpreted stream, from ``start`` to ``end`` (offsets into the machine's input, end exclusive).

    ``failure`` is ``None`` when STOP was reached; otherwise it says why no reader, or a budget of ours, would go on,
    and ``failure_offset`` where. What happened before stands in ``globals`` and ``calls`` all the same. ``root`` is
    the value that STOP returned, ``None`` after a failure.
    """

    start: int
    end: int = 0
    root: Value = None
    protocol: int = 0
    opcodes: int = 0
    globals: list[Global] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    persistents: list[Persistent] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    failure: str | None = None
    failure_offset: int = 0
    budget_hit: bool = False
