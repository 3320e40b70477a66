"""What an attack is, before it is packed into a file: a way to make something happen while a file is loaded."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

BLOCK, REVIEW = "block", "review"


@dataclass(frozen=True, slots=True)
class Target:
    """What a payload may refer to: the ``marker`` that it makes, which does not exist yet, and the sample's folder.

    The marker's name is ``digits``, and the loader's working directory is the folder that the marker goes to, so that
    payloads that can only pass on a number or a short word can make it, too.
    """

    marker: str
    digits: str
    folder: str

    def beside(self, name: str) -> str:
        """The path of a second file of the sample."""
        return f"{self.folder}/{name}"

    @property
    def source(self) -> str:
        """Python source, an expression, that makes the marker."""
        return f"__import__('os').mkdir({self.marker!r})"

    @property
    def command(self) -> str:
        return f"mkdir {self.marker}"


def _itself(stream: bytes) -> bytes:
    return stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One mechanism. ``build`` gives an expression (see ``expressions``), or a whole stream as bytes.

    ``at_least`` is the mildest verdict that is right: ``block`` for what is known to be dangerous, ``review`` for what
    no table knows. ``proof`` says how one sees that it ran: a ``marker`` on disk, or the loading process ``dies``
    (killed, out of memory, or out of time). ``beside`` are further files of the sample. ``needs`` are packages,
    ``before`` the first version of Python in which it does not work any more. ``loader`` is one that it needs.
    ``styles`` are tried in turn; the ones that cannot express it are left out. ``pack`` makes the ``file`` of a stream,
    where a bare pickle would not do.
    """

    title: str
    family: str
    build: Callable[[Target], object]
    at_least: str = BLOCK
    proof: str = "marker"
    beside: Mapping[str, Callable[[Target], bytes]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    before: tuple[int, int] | None = None
    loader: str = "pickle"
    styles: tuple[str, ...] = ()
    file: str = "a.pkl"
    pack: Callable[[bytes], bytes] = _itself

    def works_here(self) -> bool:
        return (self.before is None or sys.version_info < self.before) and all(
            map(importlib.util.find_spec, self.needs)
        )
