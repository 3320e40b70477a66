"""The corpus of attacks: every mechanism in bare pickles, and every container with a few of them.

``write_corpus`` puts one folder per sample on disk. No two samples share mechanism, container and opcode path.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from attacks import mechanisms_code, mechanisms_excess, mechanisms_files, mechanisms_objects, mechanisms_paths
from attacks.containers import CONTAINERS, Container
from attacks.expressions import STYLES, ImpossibleError, opcode_path, write
from attacks.mechanism import BLOCK, REVIEW, Mechanism, Target

MECHANISMS: tuple[Mechanism, ...] = (
    *mechanisms_code.MECHANISMS,
    *mechanisms_paths.MECHANISMS,
    *mechanisms_files.MECHANISMS,
    *mechanisms_objects.MECHANISMS,
    *mechanisms_excess.MECHANISMS,
)
BARE = "bare pickle"
_TRAVELLERS = ("exec", "a process that is waited for", "getattr", "open", "a nested pickle", "a shell")
_STYLES_OF_ONE = 2
_ORDER = tuple(STYLES)


@dataclass(frozen=True, slots=True)
class Plan:
    """A sample before it has a place on disk."""

    mechanism: Mechanism
    container: Container
    style: str

    @property
    def name(self) -> str:
        return f"{self.mechanism.title} | {self.container.title} | {self.style}"

    @property
    def bare(self) -> bool:
        """Whether nothing but Python's own library is needed to load it."""
        return not self.mechanism.needs and self.container.loader.startswith(("pickle", "gzip", "zip", "tar"))

    @property
    def at_least(self) -> str:
        """The mildest verdict that is right."""
        return BLOCK if (self.mechanism.at_least, self.container.at_least) == (BLOCK, BLOCK) else REVIEW


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample on disk: its folder, the file in it that is loaded, the marker that it makes, the payload's stream."""

    plan: Plan
    folder: Path
    file: Path
    marker: Path
    stream: bytes


@functools.cache
def plans() -> tuple[Plan, ...]:
    """Every sample that this interpreter can write."""
    made: list[Plan] = []
    for number, mechanism in enumerate(MECHANISMS):
        container = Container(
            title=BARE,
            family="bare or surrounded pickle",
            file=mechanism.file,
            loader=mechanism.loader,
            pack=mechanism.pack,
        )
        made += (Plan(mechanism, container, style) for style in _styles(mechanism, number))
    by_title = {mechanism.title: mechanism for mechanism in MECHANISMS}
    for number, container in enumerate(CONTAINERS):
        for turn, style in enumerate(container.styles or ("0", "2", "4")):
            mechanism = by_title[_TRAVELLERS[(number + turn) % len(_TRAVELLERS)]]
            made.append(Plan(mechanism, container, style))
    return tuple(made)


def _styles(mechanism: Mechanism, number: int) -> list[str]:
    """Two styles for a mechanism, another two for the next one."""
    if not mechanism.works_here():
        return []
    order = mechanism.styles or _ORDER
    chosen: list[str] = []
    paths = set()
    for turn in range(len(order)):
        style = order[(number + turn) % len(order)]
        try:
            path = opcode_path(stream_of(mechanism, style, _NOWHERE))
        except ImpossibleError:
            continue
        if path not in paths and len(chosen) < _STYLES_OF_ONE:
            chosen.append(style)
            paths.add(path)
    return chosen


_NOWHERE = Target("/nowhere/1000", "1000", "/nowhere")


def stream_of(mechanism: Mechanism, style: str, target: Target) -> bytes:
    """The payload's stream. Raises ImpossibleError if the style has no opcodes for it."""
    expression = mechanism.build(target)
    return expression if isinstance(expression, bytes) else write(expression, STYLES[style])


def write_sample(plan: Plan, folder: Path, number: int) -> Sample:
    """Put one sample below ``folder``: its files in ``samples/NUMBER``, its marker in ``markers``."""
    place, markers = folder / "samples" / str(number), folder / "markers"
    markers.mkdir(parents=True, exist_ok=True)
    target = Target(str(markers / str(number)), str(number), str(place))
    stream = stream_of(plan.mechanism, plan.style, target)
    file = place / plan.container.file
    file.parent.mkdir(parents=True)
    for name, content in plan.mechanism.beside.items():
        (place / name).write_bytes(content(target))
    file.write_bytes(plan.container.pack(stream))
    return Sample(plan, place, file, Path(target.marker), stream)


def write_corpus(folder: Path) -> list[Sample]:
    """The whole corpus on disk."""
    return [write_sample(plan, folder, 1000 + number) for number, plan in enumerate(plans())]
