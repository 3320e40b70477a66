"""Running a program under the guard: starting it, passing signals on, and what its end means.

Rules it keeps:

1. The program has our standard streams, our working directory and our environment; the variables added to it are those
   of ``entering``, and PYTHONPATH begins with the folder ``boot``.
2. A signal that was sent to us is sent on. One that a terminal sent, it sent to the program as well.
3. A program of which no process ever said that it is guarded has failed, whatever it says itself. Of a program that is
   Python, this very process must have said so.
4. A program that ends well although a load was refused has failed.
5. Below another run, the stricter counts. Two policies cannot be in force at once.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.activation.entering import ACTIVE, PYTHON, REFUSALS, STORE, running, within, written
from aiverify.activation.interpreters import ActivationError, Command, examined
from aiverify.guard.deciding import Settings

#: The guard is not active, or nothing was started.
NOT_GUARDED = 125
#: A load was refused, and the program ended with 0.
REFUSED = 126

BOOT = Path(__file__).parent / "boot"
_SIGNALLED = 128
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_KERNEL = 0x80  # SI_KERNEL: a terminal, which tells the whole group
_MOST_SAID = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The status to end with, and what there is to say about it."""

    status: int
    said: tuple[str, ...] = ()


def launch(words: Sequence[str], settings: Settings) -> Ended:
    """Run the command ``words`` under the guard to its end. Raises ActivationError if nothing was started."""
    outer = running(os.environ)
    if outer is not None and outer.policy and settings.policy not in (None, outer.policy):
        raise ActivationError(f"this is run under the guard already, with another policy: {outer.policy}")
    command = examined(words)
    try:
        with tempfile.TemporaryDirectory(prefix="aiverify-run-", ignore_cleanup_errors=True) as folder:
            active, refusals = Path(folder) / "active", Path(folder) / "refusals"
            added = {**written(within(outer, settings)), ACTIVE: str(active), REFUSALS: str(refusals)}
            process, status = _ran(command, _environment(os.environ, added))
            refused = _lines(refusals)
            _pass_on(refused)
            return _meaning(command, process, status, _lines(active), refused)
    except OSError as error:
        raise ActivationError(f"{words[0]}: cannot be run: {error.strerror or error}") from error


def _environment(ours: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The environment of the program. What is relative in ours is so to our working directory."""
    paths = [path for path in ours.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(BOOT)]
    environment = {**ours, "PYTHONPATH": os.pathsep.join([str(BOOT), *paths]), PYTHON: _cache_tag()}
    for name in (STORE, "AIVERIFY_POLICY"):
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    return {**environment, **added}


def _cache_tag() -> str:
    return sys.implementation.cache_tag or ""


def _ran(command: Command, environment: Mapping[str, str]) -> tuple[int, int]:
    """Start it, pass signals on to it, wait for it. Its process id and exit status, that of a signal negative."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, nobody would learn of its end
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    try:
        process = os.posix_spawn(
            command.program,
            command.words,
            environment,
            setsigmask=before,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores for itself
        )
        return process, _waited(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _waited(process: int) -> int:
    while True:
        number, forward = _next_signal()
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif forward:
            os.kill(process, number)


def _next_signal() -> tuple[int, bool]:
    """The next signal, and whether it was meant for us alone."""
    if hasattr(signal, "sigwaitinfo"):
        came = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        return came.si_signo, came.si_code != _FROM_KERNEL
    number = signal.sigwait({*_FORWARDED, signal.SIGCHLD})
    return number, number not in (signal.SIGINT, signal.SIGQUIT)  # nearly always a terminal's


def _lines(file: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return file.read_text("utf-8", errors="replace").splitlines()
    return []


def _pass_on(refused: Sequence[str]) -> None:
    """Somebody above us wants to know of refusals, too."""
    place = os.environ.get(REFUSALS)
    if place and refused:
        with contextlib.suppress(OSError), Path(place).open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in refused))


def _meaning(command: Command, process: int, status: int, active: Collection[str], refused: Sequence[str]) -> Ended:
    guarded = str(process) in active if command.python else bool(active)
    own = status if status >= 0 else _SIGNALLED - status
    if not guarded:
        said = () if own == NOT_GUARDED else (_unguarded(command, own),)
        return Ended(status=NOT_GUARDED, said=said)
    if refused and own == 0:
        loads = "a load was" if len(refused) == 1 else f"{len(refused)} loads were"
        named = [f"  {_text(line)}" for line in refused[:_MOST_SAID]]
        return Ended(status=REFUSED, said=(f"{loads} refused, and the program ended with 0", *named))
    return Ended(status=own)


def _unguarded(command: Command, status: int) -> str:
    who = "this interpreter" if command.python else "any Python process that it may have started"
    return f"{command.words[0]} ended with {status}, and the guard was never active in {who}"


def _text(line: str) -> str:
    """A line of the list of refusals, without the process and the quotes."""
    with contextlib.suppress(ValueError, SyntaxError):
        return str(ast.literal_eval(line.partition(" ")[2]))
    return line
