"""Progress for people, on stderr: a bar on a terminal, plain lines with ``-v`` elsewhere, otherwise nothing.

The rules: names of files are hostile text and are shown as harmless text; the bar vanishes when the work ends, however
it ends; the cursor is never hidden, so no way to die can leave it hidden. Only a bar that is shown imports rich.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from aiverify.progress import Progress, Silent
from aiverify.reporters.hostile import printable
from aiverify.reporters.quantities import duration, size

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Task

REFRESH_PER_SECOND = 10
# Below this many columns only the amount stands beside the bar.
NARROW = 60


@contextlib.contextmanager
def progress_on(stream: TextIO, *, verbosity: int = 0, environ: Mapping[str, str] = os.environ) -> Iterator[Progress]:
    """What suits ``stream``, for as long as the block runs."""
    if verbosity < 0:
        yield Silent()
    elif stream.isatty() and environ.get("TERM") != "dumb":
        with TerminalProgress(stream) as bar:
            yield bar
    elif verbosity > 0:
        yield PlainProgress(stream)
    else:
        yield Silent()


class PlainProgress:
    """A line for each stage and each detail, without a bar: for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def stage(self, name: str, total: int | None = None) -> None:
        """A line with the name, and the size where it is known."""
        self._line(name if total is None else f"{name} ({size(total)})")

    def advance(self, count: int) -> None:
        """Ignored: a log has no use for it."""

    def detail(self, text: str) -> None:
        """An indented line."""
        self._line(text, "  ")

    def _line(self, text: str, indent: str = "") -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._lock:
            self._stream.write(f"{indent}{printable(text, encoding=encoding)}\n")
            self._stream.flush()


class TerminalProgress:
    """One bar for the current stage, and below it what is being worked on. Use it as a context manager."""

    def __init__(self, stream: TextIO) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._lock = threading.Lock()
        self._detail = ""
        self._console = _steady_console(stream)
        # The bars keep the numbers; drawing them, together with the detail, is the business of the live display.
        self._bars = Bars(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None, style="dim", complete_style="cyan", finished_style="cyan", pulse_style="cyan"),
            TextColumn("{task.fields[amount]}", markup=False),
            console=self._console,
            auto_refresh=False,
            expand=True,
        )
        # What others write to stderr goes above the bar. stdout is left alone: it may lead to a file.
        self._live = Live(
            get_renderable=self._picture,
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_PER_SECOND,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        try:
            self._live.start(refresh=True)
        except BaseException:
            self._live.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """A new bar takes the place of the last one. Without ``total`` it only shows that something goes on."""
        with self._lock:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._bars.add_task(printable(name, encoding=self._encoding, limit=20), total=total, amount="")
            self._detail = ""

    def advance(self, count: int) -> None:
        """Moves the bar by ``count`` bytes. Before the first stage there is none to move."""
        with self._lock:
            for task in self._bars.task_ids:
                self._bars.advance(task, count)

    def detail(self, text: str) -> None:
        """Shows ``text`` under the bar, cut to the width."""
        with self._lock:
            self._detail = printable(text, encoding=self._encoding, limit=200)

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            for task in self._bars.tasks:
                self._bars.update(task.id, amount=_amount(task, narrow=self._console.width < NARROW))
            detail = Text(f"  {self._detail}", "dim", no_wrap=True, overflow="crop")
            return Group(self._bars.get_renderable(), detail) if self._bars.tasks else Text("")


def _amount(task: Task, *, narrow: bool) -> str:
    """How much is done, how fast it goes and how long it will take, as far as that is known."""
    done = int(task.completed)
    if not done and not task.total:
        return ""
    parts = [f"{size(done):>9}" + (f" of {size(int(task.total))}" if task.total else "")]
    if task.speed and not narrow:
        parts.append(f"{size(int(task.speed)):>9}/s")
        if task.time_remaining is not None:
            left = task.time_remaining
            parts.append(f"{duration(left) if left >= 10 else f'{left:.0f} s'} left")
    return "  ".join(parts)


def _steady_console(stream: TextIO) -> Console:
    """A console for ``stream`` that leaves the cursor as it is."""
    from rich.console import Console

    class SteadyConsole(Console):
        def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - the signature is rich's
            return False

    return SteadyConsole(file=stream, markup=False, emoji=False, highlight=False, legacy_windows=False)
