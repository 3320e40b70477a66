"""Progress on stderr."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from aiverify.cli.progress import PlainProgress, TerminalProgress, progress_on
from aiverify.progress import Progress, Silent

HIDE_CURSOR = b"\x1b[?25l"
ERASE_LINE = b"\x1b[2K"


class Terminal:
    """A pseudo terminal: ``stream`` to write to, ``seen()`` for all that was written once nobody writes."""

    def __init__(self) -> None:
        self._leader, self.follower = pty.openpty()
        termios.tcsetwinsize(self.follower, (24, 100))
        self.stream = os.fdopen(self.follower, "w", encoding="utf-8")
        self._seen = b""
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # Linux ends a pseudo terminal that nobody writes to any more with EIO.
        try:
            while chunk := os.read(self._leader, 65536):
                with self._grown:
                    self._seen += chunk
                    self._grown.notify_all()
        except OSError:
            pass

    def wait_for(self, text: bytes) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: text in self._seen, timeout=20)

    def seen(self) -> bytes:
        self.stream.close()
        self._reader.join(timeout=20)
        return self._seen

    def close(self) -> None:
        self.seen()
        os.close(self._leader)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    yield terminal
    terminal.close()


def bare(seen: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_the_bar_shows_stage_amount_and_file(terminal: Terminal) -> None:
    with TerminalProgress(terminal.stream) as progress:
        progress.stage("fetch", 438_000_000)
        progress.advance(120_000_000)
        progress.detail("model.safetensors")
    text = bare(terminal.seen())
    assert re.search(r"fetch .*120\.0 MB of 438\.0 MB", text)
    assert "  model.safetensors" in text


def test_a_stage_without_a_size_shows_no_amount(terminal: Terminal) -> None:
    with TerminalProgress(terminal.stream) as progress:
        progress.stage("judge")
    last = bare(terminal.seen()).splitlines()
    assert any("judge" in line for line in last)
    assert not any("byte" in line for line in last)


def test_the_next_stage_takes_the_place_of_the_last(terminal: Terminal) -> None:
    with TerminalProgress(terminal.stream) as progress:
        progress.advance(5)
        progress.stage("fetch", 100)
        progress.advance(100)
        progress.stage("scan", 50)
    frame = bare(terminal.seen()).rpartition("scan")[2]
    assert "0 bytes of 50 bytes" in frame


def test_a_file_name_cannot_act_on_the_terminal(terminal: Terminal) -> None:
    with TerminalProgress(terminal.stream) as progress:
        progress.stage("\x1b]0;title\x07[red]", 10)
        progress.detail("a\x1b[2J\x9b\u202e[blink]b\n")
    seen = terminal.seen()
    assert rb"a\x1b[2J\x9b\u202e[blink]b\n" in seen
    assert b"\x1b[2J" not in seen
    assert b"\x1b]" not in seen
    assert "\u202e".encode() not in seen


def interrupt(progress: Progress) -> None:
    progress.stage("fetch", 100)
    raise KeyboardInterrupt


def fail(progress: Progress) -> None:
    progress.stage("fetch", 100)
    raise RuntimeError


@pytest.mark.parametrize("work", [interrupt, fail])
def test_an_exception_takes_the_bar_away(terminal: Terminal, work: Callable[[Progress], None]) -> None:
    with pytest.raises((KeyboardInterrupt, RuntimeError)), TerminalProgress(terminal.stream) as progress:
        work(progress)
    seen = terminal.seen()
    assert HIDE_CURSOR not in seen
    assert seen.endswith(ERASE_LINE)


CHILD = """
import signal, sys, time
from aiverify.cli.progress import progress_on
with progress_on(sys.stderr) as progress:
    progress.stage("fetch", 100)
    progress.detail("model.bin")
    while True:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_killed_process_leaves_the_cursor_visible(terminal: Terminal, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stderr=terminal.follower) as child:
        terminal.wait_for(b"model.bin")
        child.send_signal(number)
        assert child.wait(timeout=20) == -number
    seen = terminal.seen()
    assert HIDE_CURSOR not in seen
    if number is signal.SIGINT:
        before, _, after = seen.rpartition(ERASE_LINE)
        assert b"model.bin" in before
        assert b"KeyboardInterrupt" in after


def test_many_threads_may_report_at_once(terminal: Terminal) -> None:
    def work(progress: Progress) -> None:
        for index in range(200):
            progress.advance(5)
            progress.detail(f"file {index}")

    with TerminalProgress(terminal.stream) as progress:
        progress.stage("digest", 8000)
        threads = [threading.Thread(target=work, args=(progress,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "8.0 kB of 8.0 kB" in bare(terminal.seen())


# --- what suits a stream


def test_a_terminal_gets_a_bar(terminal: Terminal) -> None:
    with progress_on(terminal.stream, environ={}) as progress:
        assert isinstance(progress, TerminalProgress)


def test_quiet_is_silent_even_on_a_terminal(terminal: Terminal) -> None:
    with progress_on(terminal.stream, verbosity=-1, environ={}) as progress:
        assert isinstance(progress, Silent)


def test_a_dumb_terminal_gets_no_bar(terminal: Terminal) -> None:
    with progress_on(terminal.stream, environ={"TERM": "dumb"}) as progress:
        assert isinstance(progress, Silent)


def test_a_log_is_silent_unless_asked() -> None:
    stream = io.StringIO()
    with progress_on(stream, environ={}) as progress:
        progress.stage("fetch", 100)
    assert stream.getvalue() == ""


def test_a_log_gets_plain_lines_on_request() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with progress_on(stream, verbosity=1, environ={}) as progress:
        assert isinstance(progress, PlainProgress)
        progress.stage("fetch", 438_000_000)
        progress.advance(5)
        progress.detail("caf\u00e9\x1b[2J\n.bin")
        progress.stage("judge")
    stream.seek(0)
    assert stream.read() == "fetch (438.0 MB)\n  caf\\xe9\\x1b[2J\\n.bin\njudge\n"


def test_only_a_bar_imports_rich() -> None:
    code = """
import io, sys
from aiverify.cli.progress import progress_on
with progress_on(io.StringIO(), verbosity=1) as progress:
    progress.stage("fetch")
print("rich" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
