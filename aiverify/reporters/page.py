"""A page of plain or coloured text, laid out by rich.

The one rule: text of an artifact enters a page through ``Page.say`` or ``Page.quote``, which neutralise it. Nothing is
parsed as markup, and lines that wrap keep their indentation, so hostile text never begins a line of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.cells import chop_cells
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from aiverify.reporters.hostile import can_show, printable, printable_lines

NARROW = 60
TIGHT = 40


class Page:
    """Collects lines of at most ``width`` cells, in characters that ``encoding`` can show."""

    def __init__(self, *, width: int, colour: bool, encoding: str) -> None:
        self.width = width
        self._encoding = encoding
        self._fancy = can_show("✓✗→│─", encoding)
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer,
            width=width,
            force_terminal=colour,
            color_system="standard" if colour else None,
            no_color=not colour,
            force_jupyter=False,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def narrow(self) -> bool:
        """Whether columns side by side would leave no room for text."""
        return self.width < NARROW

    def glyph(self, fancy: str, plain: str) -> str:
        """``fancy`` where the encoding can show it."""
        return fancy if self._fancy else plain

    def say(self, text: str, style: str = "", *, limit: int = 1000) -> Text:
        """Text from anywhere, made harmless, as one unbroken line."""
        return Text(printable(text, encoding=self._encoding, limit=limit), style)

    def write(self, content: RenderableType, *, indent: int = 0) -> None:
        """``content``, wrapped to the width that the indentation leaves."""
        options = self._console.options.update(width=max(self.width - indent, 1))
        for line in self._console.render_lines(content, options, pad=False):
            self.write_whole(Text.assemble(*((part.text, part.style or "") for part in line)), indent=indent)

    def rows(self, rows: Iterable[Sequence[Text]], *, flexible: int, indent: int) -> None:
        """Rows of aligned cells, of which the ``flexible`` one wraps. In a tight page each row wraps as a whole."""
        if self.width >= TIGHT:
            self.write(columns(rows, flexible=flexible), indent=indent)
            return
        for row in rows:
            self.write(Text("  ").join(cell for cell in row if cell), indent=indent)

    def write_whole(self, text: Text, *, indent: int = 0) -> None:
        """``text`` on one line, however long: it is meant to be copied."""
        line = Text.assemble(" " * indent, text)
        # Columns are padded with spaces up to the edge; nobody needs them in a log.
        line.rstrip()
        self._console.print(line, soft_wrap=True)

    def heading(self, title: str) -> None:
        """An empty line and the name of a section."""
        self.blank()
        self.write(Text(title, "bold"))

    def blank(self) -> None:
        """An empty line."""
        self._buffer.write("\n")

    def rule(self) -> None:
        """A line across the page, between empty lines."""
        self.blank()
        self.write(Text(self.glyph("─", "-") * self.width, "dim"))
        self.blank()

    def quote(self, text: str, *, indent: int, max_lines: int, limit: int) -> int:
        """Lines of hostile text behind a bar, folded to the width. Returns how many lines were left out."""
        bar = Text(self.glyph("│ ", "| "), "red")
        room = max(self.width - indent - len(bar), 8)
        lines, left_out = printable_lines(text, encoding=self._encoding, max_lines=max_lines, limit=limit)
        for line in lines:
            for piece in chop_cells(line, room) or [""]:
                self.write_whole(Text.assemble(bar, piece), indent=indent)
        return left_out

    def text(self) -> str:
        """Everything that was written."""
        return self._buffer.getvalue()


def columns(rows: Iterable[Sequence[Text]], *, flexible: int) -> Table:
    """Rows of aligned cells. The column ``flexible`` wraps, the others keep their width."""
    rows = list(rows)
    table = Table.grid(padding=(0, 2, 0, 0))
    for index in range(max(map(len, rows), default=0)):
        table.add_column(no_wrap=index != flexible, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
