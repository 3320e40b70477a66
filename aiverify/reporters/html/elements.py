"""Elements of a page, built so that no text can become markup.

The one rule: text becomes part of a page in ``element`` and ``quoted``, and nowhere else. Both make what cannot be seen
visible (``hostile.py``) and escape what HTML gives a meaning to. Only ``Markup`` is taken as it is, and only this
module makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from aiverify.reporters.hostile import printable, printable_lines

LONGEST = 4000
MAX_LINES = 400
MAX_LISTED = 2000


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is finished."""

    html: str


#: What an element may hold. Text is escaped; ``None`` is nothing.
Node: TypeAlias = Markup | str | None
Attribute: TypeAlias = str | int | float | bool | None


def element(tag: str, *children: Node, **attributes: Attribute) -> Markup:
    """The element ``tag``.

    Attributes are written as Python lets one write them: ``class_``, ``aria_label``. True is an attribute without a
    value; False and ``None`` are none.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    return Markup(f"<{tag}{written}>{joined(children).html}</{tag}>")


def joined(nodes: Iterable[Node]) -> Markup:
    """The nodes, one behind the other."""
    return Markup("".join(_html(node) for node in nodes))


def said(text: str) -> Markup:
    """Text by an unknown author, apart from the direction in which the text around it runs."""
    return element("bdi", text)


def prose(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    return element("bdi", *(code(part) if index % 2 else part for index, part in enumerate(text.split("`"))))


def code(text: str) -> Markup:
    """A name, a path, a command or a digest."""
    return element("code", text)


def quoted(text: str) -> Markup:
    """Text of several lines as it stands, and how many lines of it were left out."""
    lines, left = printable_lines(text, max_lines=MAX_LINES, limit=LONGEST)
    note = f"\n… and {left} more lines" if left else ""
    return Markup(f"<pre><code>{escape(chr(10).join(lines) + note)}</code></pre>")


def listed(items: Iterable[Node], *, tag: str = "ul", **attributes: Attribute) -> Markup:
    """A list with one entry for each of ``items``."""
    return element(tag, *(element("li", item) for item in items), **attributes)


def left_out(count: int) -> Markup | None:
    """What stands under the first ``MAX_LISTED`` of ``count`` entries, if there are more."""
    left = count - MAX_LISTED
    return element("p", f"and {left} more in the JSON report") if left > 0 else None


def facts(pairs: Iterable[tuple[str, Node]], **attributes: Attribute) -> Markup | None:
    """A list of names and what belongs to each. A pair without a value is left out; nothing, when all are."""
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in pairs if value is not None]
    return element("dl", *rows, **attributes) if rows else None


def folded(summary: Node, *content: Node, unfolded: bool = False) -> Markup:
    """Content behind its summary."""
    return element("details", element("summary", summary), *content, open=unfolded)


def table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[Node]], **attributes: Attribute) -> Markup:
    """A table. The first cell of each row names the row."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = (
        element(
            "tr",
            *(element("td", cell) if index else element("th", cell, scope="row") for index, cell in enumerate(row)),
        )
        for row in rows
    )
    return element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", head),
        element("tbody", *body),
        **attributes,
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page; the table of contents leads to its ``id``."""

    id: str
    title: str
    content: Markup


@dataclass(frozen=True, slots=True)
class Place:
    """Where a report stands in the page: the level of its own heading, and its number, if it is one of several."""

    level: int
    number: int | None = None

    def heading(self, text: Node, *, below: int = 0, **attributes: Attribute) -> Markup:
        """A heading, ``below`` levels under that of the report."""
        return element(f"h{self.level + below}", text, **attributes)

    def section(self, name: str, title: str, *content: Node) -> Section:
        """A section of the report under a heading."""
        heading = self.id(f"{name}-title")
        shown = element(
            "section",
            self.heading(title, below=1, id=heading),
            *content,
            id=self.id(name),
            aria_labelledby=self.labelled(heading),
        )
        return Section(self.id(name), title, shown)

    def id(self, name: str) -> str:
        """The id of a part of this report."""
        return name if self.number is None else f"report-{self.number}-{name}"

    def labelled(self, heading: str) -> str:
        """What names a part of this report: its heading, and where there are several reports, whose part it is."""
        return heading if self.number is None else f"{heading} {self.id('title')}"


def _html(node: Node) -> str:
    match node:
        case None:
            return ""
        case Markup():
            return node.html
        case _:
            return escape(printable(node, limit=LONGEST))


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value), limit=LONGEST))}"'
