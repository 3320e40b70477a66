"""The state of numpy's random generators.

NumPy believes the positions that a state gives: one outside of its buffer makes the generator read foreign memory.

Source: numpy/random/_mt19937.pyx, _pcg64.pyx, _philox.pyx, _sfc64.pyx and mtrand.pyx (the ``state`` setters).
"""

from __future__ import annotations

from collections.abc import Mapping

from aiverify.pickles.arrays import Arrays
from aiverify.pickles.graph import Dictionary, Value
from aiverify.pickles.literals import is_int
from aiverify.pickles.signatures import Kinds, group_of

_COMPLAINT = "a state that numpy does not write"
_KEYS = frozenset(
    ("bit_generator", "state", "has_gauss", "gauss", "has_uint32", "uinteger", "buffer", "buffer_pos", "inc", "key")
) | {"pos", "counter"}
# The positions in buffers, and the highest that each generator writes.
_POSITIONS = {"pos": 624, "buffer_pos": 4}


class Randomness:
    """Checks the states of the random generators of one graph."""

    def __init__(self, arrays: Arrays, kinds: Kinds) -> None:
        self._arrays = arrays
        self._kinds = kinds

    def state(self, state: Value) -> str | None:
        """What is wrong with the BUILD state of a generator or bit generator."""
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], Dictionary):
            seeded = state[1] is None or group_of(state[1]) == "seed-sequence"
            return self._settings(state[0]) if seeded else _COMPLAINT
        return self._settings(state)

    def _settings(self, state: Value, *, inner: bool = False) -> str | None:
        if not isinstance(state, Dictionary) or len(state.pairs) > len(_KEYS):
            return _COMPLAINT
        settings: Mapping[str, Value] = {key: value for key, value in state.pairs if isinstance(key, str)}
        if len(settings) != len(state.pairs) or not settings.keys() <= _KEYS:
            return _COMPLAINT
        for key, value in settings.items():
            if key == "state" and isinstance(value, Dictionary):
                sound = not inner and self._settings(value, inner=True) is None
            elif key in _POSITIONS:
                position = _integer(value)
                sound = position is not None and 0 <= position <= _POSITIONS[key]
            else:
                sound = self._kinds.fits(value, "int|float|text|array|scalar")
            if not sound:
                return _COMPLAINT
        return None


def _integer(value: Value) -> int | None:
    """The integer, where numpy writes one as such. A scalar of numpy is not read: its bytes are not looked at."""
    if isinstance(value, int) and is_int(value):
        return value
    return None
