"""Joblib's streams: raw arrays between the opcodes of a pickle.

Where the stream gives state to a ``NumpyArrayWrapper``, joblib stops unpickling, reads the array that the wrapper
describes from the file itself, and goes on behind it: one byte that counts padding, the padding, and the elements; for
arrays of objects a pickle of its own instead. Rules:

1. The array is skipped only where the wrapper says without doubt how long it is: made empty, given state once, of an
   element type that is sound. Anything else ends the reading; nobody can tell where joblib goes on.
2. The bytes in the array are no part of the stream to joblib, but they are to every other unpickler. Both readings are
   judged (see ``pickle``).
3. Old wrappers name a file beside this one, which joblib opens with permission to unpickle. A name that leads out of
   the folder is a finding; any other is one to look at.

Source: joblib/numpy_pickle.py and numpy_pickle_compat.py (joblib 1.6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from aiverify.formats.tar import leads_out
from aiverify.pickles.arrays import Arrays
from aiverify.pickles.graph import Call, Dictionary, Global, Graph, Value
from aiverify.pickles.literals import Plain, is_int, is_sizes
from aiverify.pickles.machine import Buffer, interpret
from aiverify.pickles.making import making
from aiverify.pickles.reading import BrokenStreamError
from aiverify.pickles.signatures import group_of

_WRAPPERS = frozenset(("joblib.numpy_pickle.NumpyArrayWrapper",))
_OLD_WRAPPERS = frozenset(
    f"joblib.{module}.{name}"
    for module in ("numpy_pickle", "numpy_pickle_compat")
    for name in ("NDArrayWrapper", "ZNDArrayWrapper")
)
_KEYS = frozenset(("subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"))
_OLD_KEYS = frozenset(("filename", "subclass", "allow_mmap", "init_args", "state"))


@dataclass(slots=True)
class RawArrays:
    """What stands between the opcodes of one stream: raw arrays, and pickles of arrays of objects.

    ``skipped`` are the ranges that are no opcodes of the stream; ``nested`` the graphs of the pickles in them;
    ``files`` the names of the files that old wrappers load, and where that is asked for; ``begin`` where joblib first
    leaves the stream, or would if it could be told how.
    """

    data: Buffer
    skipped: list[tuple[int, int]] = field(default_factory=list)
    nested: list[Graph] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)
    begin: int | None = None

    def after_build(self, target: Call, position: int, frame_end: int) -> int:
        """Where the stream goes on after BUILD on ``target``. Raises BrokenStreamError when nobody can tell."""
        name, ordinary = _wrapper(target)
        if name is None:
            return position
        self.begin = position if self.begin is None else self.begin
        if not ordinary:
            raise BrokenStreamError("an array wrapper that is made in another way than joblib does")
        if frame_end > position:  # joblib reads the file behind the frame, and comes back to the rest of it
            raise BrokenStreamError("a raw array in the middle of a frame")
        if len(target.states) != 1:
            raise BrokenStreamError("an array wrapper that is given state twice")
        if name in _OLD_WRAPPERS:
            self._companion(target)
            return position
        state = _attributes(target.states[0], _KEYS)
        end = self._end(state, position)
        self.skipped.append((position, end))
        return end

    def opcodes(self, start: int, end: int) -> bytes:
        """The stream from ``start`` to ``end`` without what was skipped, as an ordinary pickle."""
        parts = []
        for begin, stop in self.skipped:
            parts.append(bytes(self.data[start:begin]))
            start = stop
        return b"".join((*parts, bytes(self.data[start:end])))

    def _companion(self, target: Call) -> None:
        name = _attributes(target.states[0], _OLD_KEYS).get("filename")
        if not isinstance(name, str):
            raise BrokenStreamError("an array wrapper without the name of its file")
        self.files.append((name, target.offset))

    def _end(self, state: Mapping[str, Value], position: int) -> int:
        shape, dtype = state.get("shape"), Arrays(Plain()).element(state.get("dtype"))
        if not is_sizes(shape) or dtype is None:
            raise BrokenStreamError("an array wrapper of an unknown shape or element type")
        if dtype.objects:
            if state.get("allow_mmap") not in (None, False):
                raise BrokenStreamError("an array of objects that is to be mapped into memory")
            return self._objects(position)
        if dtype.size == 0:
            raise BrokenStreamError("an array of elements without a size")
        alignment = state.get("numpy_array_alignment_bytes")
        if alignment is not None:
            if not is_int(alignment) or position >= len(self.data):
                raise BrokenStreamError("an array wrapper without its padding")
            position += 1 + self.data[position]
        sizes = cast("tuple[int, ...]", shape)
        length = math.prod(sizes) * dtype.size
        if min(sizes, default=0) < 0 or length > len(self.data) - position:
            raise BrokenStreamError(f"a raw array of {length} bytes reaches past the end")
        return position + length

    def _objects(self, position: int) -> int:
        graph = interpret(self.data, position)
        self.nested.append(graph)
        if graph.failure is not None:
            raise BrokenStreamError("the pickle of an array of objects breaks off")
        if group_of(graph.root) != "array":  # joblib takes it for one, and so does whoever judges what holds it
            raise BrokenStreamError("something else than an array in the place of one")
        return graph.end


def companion_complaint(name: str) -> tuple[str, str]:
    """The rule and the sentence about a file that an old wrapper loads."""
    if leads_out(name) or "/" in name:
        return "AIV409", f"joblib loads the file {name[:200]!r}, which lies outside of the folder"
    return "AIV303", f"joblib loads the file {name[:200]!r} beside this one, and unpickles it: look at that, too"


def _wrapper(target: Call) -> tuple[str | None, bool]:
    """The name of the array wrapper that ``target`` makes, if it makes one, and whether it does so as joblib does."""
    made = making(target)
    found, through = made.maker, made.through
    if not isinstance(found, Global) or found.dotted not in _WRAPPERS | _OLD_WRAPPERS:
        return None, False
    ordinary = through is None or through.name == "_reconstructor"
    return found.dotted, ordinary and made.args == () and not target.items and not target.elements


def _attributes(state: Value, keys: frozenset[str]) -> dict[str, Value]:
    """The attributes that ``state`` gives, each once and none but ``keys``."""
    pairs = state.pairs if isinstance(state, Dictionary) else [(None, None)]
    given = {key: value for key, value in pairs if isinstance(key, str)}
    if len(given) != len(pairs) or not given.keys() <= keys:
        raise BrokenStreamError("an array wrapper with a state that joblib does not write")
    return given
