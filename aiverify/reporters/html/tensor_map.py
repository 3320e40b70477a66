"""A map of the weights: rectangles as large as the layers they stand for, in the colour of their type.

The map is drawn twice, for wide and for narrow screens. It is a picture for eyes; the tables beside it say the same in
numbers. Colours are classes of the style sheet, because the page allows no styles in elements.

Source: M. Bruls, K. Huizing, J. J. van Wijk, Squarified Treemaps, 2000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiverify.layers import Layer
from aiverify.report import Report
from aiverify.reporters.hostile import printable
from aiverify.reporters.html.elements import Markup, Node, Place, Section, code, element, folded, joined, said, table
from aiverify.reporters.quantities import number_of, size

COLOURS = 8  # as many as the style sheet has
MAX_DRAWN = 300
MAX_LISTED = 100
_WIDE, _NARROW = (960.0, 420.0), (360.0, 480.0)
_LETTER, _LINE = 7.4, 16.0
_REST = "all smaller layers"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: the upper left corner, width and height."""

    x: float
    y: float
    width: float
    height: float


def tensor_map(place: Place, report: Report) -> Section | None:
    """The section about the tensors, if the report knows of any."""
    found = [layer for layer in report.layers if layer.size]
    if not found:
        return None
    types = _by_type(found)
    colours = {name: min(index, COLOURS - 1) for index, (name, _, _) in enumerate(types)}
    total = sum(layer.size for layer in found)
    count = number_of(sum(layer.tensors for layer in found), "tensor")
    files = {layer.file for layer in found}
    title = f"{count}, {size(total)}: the area of a rectangle is the size of a layer, its colour the type."
    drawn = _drawn(found)
    return place.section(
        "tensors",
        "Tensors",
        element("p", title),
        _picture(drawn, colours, _WIDE, class_="map wide"),
        _picture(drawn, colours, _NARROW, class_="map narrow"),
        table(
            "Tensors by type",
            ("Type", "Tensors", "Size", "Share"),
            (
                (
                    joined((_swatch(colours[name]), code(name))),
                    str(tensors),
                    size(bytes_),
                    f"{100 * bytes_ / total:.1f} %",
                )
                for name, tensors, bytes_ in types
            ),
            class_="numbers",
        ),
        folded("The largest layers", _largest(found, several=len(files) > 1)),
    )


def _by_type(found: Sequence[Layer]) -> list[tuple[str, int, int]]:
    """Each type with its tensors and its bytes, the largest first."""
    sums: dict[str, tuple[int, int]] = {}
    for layer in found:
        tensors, bytes_ = sums.get(layer.dtype, (0, 0))
        sums[layer.dtype] = tensors + layer.tensors, bytes_ + layer.size
    return sorted(((name, *sum_) for name, sum_ in sums.items()), key=lambda item: (-item[2], item[0]))


def _drawn(found: Sequence[Layer]) -> list[Layer]:
    """The largest layers first, and what there is no room for as one for each type."""
    ordered = sorted(found, key=lambda layer: -layer.size)
    rest = _by_type(ordered[MAX_DRAWN:])
    return ordered[:MAX_DRAWN] + [Layer(None, _REST, dtype, tensors, bytes_) for dtype, tensors, bytes_ in rest]


def _largest(found: Sequence[Layer], *, several: bool) -> Markup:
    ordered = sorted(found, key=lambda layer: -layer.size)
    left = len(ordered) - MAX_LISTED
    rows: Iterator[Sequence[Node]] = (
        (
            joined((said(_name(layer)), element("small", said(layer.file)) if several and layer.file else None)),
            code(layer.dtype),
            str(layer.tensors),
            size(layer.size),
        )
        for layer in ordered[:MAX_LISTED]
    )
    return joined(
        (
            table("The largest layers", ("Layer", "Type", "Tensors", "Size"), rows, class_="numbers"),
            element("p", f"{number_of(left, 'smaller layer')} not listed: the JSON report has them.")
            if left > 0
            else None,
        )
    )


def _name(layer: Layer) -> str:
    return layer.name or "(no layer)"


def _swatch(colour: int) -> Markup:
    square = element("rect", width=12, height=12, class_=f"type{colour}")
    return element("svg", square, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")


def _picture(drawn: Sequence[Layer], colours: dict[str, int], room: tuple[float, float], *, class_: str) -> Markup:
    # What is smaller than a thousandth of the picture would be a line without an inside.
    total = sum(layer.size for layer in drawn)
    seen = [layer for layer in drawn if layer.size * 4000 >= total]
    boxes = squarified([layer.size for layer in seen], Box(0, 0, *room))
    parts = [_part(layer, box, colours[layer.dtype]) for layer, box in zip(seen, boxes, strict=True)]
    label = "Map of the tensors by size and type; the tables say the same."
    return element("svg", *parts, class_=class_, viewBox=f"0 0 {room[0]:g} {room[1]:g}", role="img", aria_label=label)


def _part(layer: Layer, box: Box, colour: int) -> Markup:
    x, y, width, height = (round(value, 1) for value in (box.x, box.y, box.width, box.height))
    words = f"{_name(layer)}: {layer.dtype}, {number_of(layer.tensors, 'tensor')}, {size(layer.size)}"
    return element(
        "g",
        element("title", words),
        element("rect", x=x, y=y, width=width, height=height, class_=f"type{colour}"),
        *_label(layer, box),
    )


def _label(layer: Layer, box: Box) -> Iterator[Markup]:
    """The name and the size, as far as there is room."""
    letters = int((box.width - 10) / _LETTER)
    if letters < 4 or box.height < _LINE + 4:
        return
    yield element(
        "text", _shortened(printable(_name(layer)), letters), x=round(box.x + 5, 1), y=round(box.y + _LINE, 1)
    )
    bytes_ = size(layer.size)
    if len(bytes_) <= letters and box.height >= 2 * _LINE + 6:
        yield element("text", bytes_, x=round(box.x + 5, 1), y=round(box.y + 2 * _LINE, 1), class_="less")


def _shortened(name: str, letters: int) -> str:
    """As much of ``name`` as has room: the last parts tell layers apart, from their number on."""
    parts = name.split(".")
    shown = name
    while len(shown) > letters and len(parts) > 2 and not parts[0].isdigit():
        parts = parts[1:]
        shown = ".".join(parts)
    return shown if len(shown) <= letters else f"{shown[: letters - 1]}…"


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """A box inside ``box`` for each of ``sizes``, which are positive and descend; areas are in proportion.

    Rows are laid along the shorter side, and each takes sizes as long as its boxes become more like squares.
    """
    boxes: list[Box] = []
    left = float(sum(sizes))
    start = 0
    while start < len(sizes):
        scale = box.width * box.height / left if left > 0 else 0.0
        end = _row(sizes, start, scale, min(box.width, box.height))
        # The last row takes what is left of the box, whatever rounding made of it.
        share = sum(sizes[start:end]) / left if end < len(sizes) else 1.0
        if box.width >= box.height:
            depth = box.width * share
            boxes += _laid(sizes[start:end], Box(box.x, box.y, depth, box.height), upright=True)
            box = Box(box.x + depth, box.y, box.width - depth, box.height)
        else:
            depth = box.height * share
            boxes += _laid(sizes[start:end], Box(box.x, box.y, box.width, depth), upright=False)
            box = Box(box.x, box.y + depth, box.width, box.height - depth)
        left = float(sum(sizes[end:]))
        start = end
    return boxes


def _row(sizes: Sequence[float], start: int, scale: float, side: float) -> int:
    """Where the row that begins at ``start`` ends."""
    total, worst = 0.0, float("inf")
    for end in range(start, len(sizes)):
        total += sizes[end] * scale
        if not side or not total or not sizes[end] * scale:
            return max(end, start + 1)
        # Of the largest and of the smallest box in the row: how far its sides are from being equal.
        square = (total / side) ** 2
        ratio = max(sizes[start] * scale / square, square / (sizes[end] * scale))
        if ratio > worst:
            return end
        worst = ratio
    return len(sizes)


def _laid(sizes: Sequence[float], row: Box, *, upright: bool) -> Iterator[Box]:
    total, done = sum(sizes), 0.0
    for part in sizes:
        share = part / total
        if upright:
            yield Box(row.x, row.y + done * row.height, row.width, share * row.height)
        else:
            yield Box(row.x + done * row.width, row.y, share * row.width, row.height)
        done += share
