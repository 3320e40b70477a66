"""What the guard says about one file, and how a load that may not be is refused."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.errors import AiverifyError

_BYTES = "Write the bytes to a file: aiverify verify FILE shows more"


class LoadRefused(AiverifyError):  # noqa: N818 - a refusal is what happened, not an error of the program
    """What was to be loaded did not pass. The message names file, finding and policy, the hint says what shows more.

    ``target`` is what was to be loaded, ``outcome`` its verdict, ``file`` the file that decided (``None``: the artifact
    as a whole), ``rules`` the ids of the findings that decided, ``policy`` what refused it, and ``command`` shows more.
    """

    #: whether the refusal was counted already
    recorded = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        target: str = "",
        outcome: str = "",
        file: str | None = None,
        rules: Sequence[str] = (),
        policy: str = "",
        command: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.target = target
        self.outcome = outcome
        self.file = file
        self.rules = tuple(rules)
        self.policy = policy
        self.command = command
        if hint:
            self.add_note(hint)  # an uncaught one shows the way out, too

    def __reduce__(self) -> tuple[object, ...]:
        """A refusal travels from the processes of a pool to the one that asked."""
        return _again, (
            str(self),
            self.hint,
            self.target,
            self.outcome,
            self.file,
            self.rules,
            self.policy,
            self.command,
        )


def _again(
    message: str,
    hint: str,
    target: str,
    outcome: str,
    file: str | None,
    rules: Sequence[str],
    policy: str,
    command: str,
) -> LoadRefused:
    return LoadRefused(
        message, hint=hint, target=target, outcome=outcome, file=file, rules=rules, policy=policy, command=command
    )


def refusal(
    file: Path | str,
    outcome: str,
    reasons: Sequence[str],
    *,
    rules: Sequence[str] = (),
    policy: str = "",
    convertible: bool = False,
) -> LoadRefused:
    """The refusal to load ``file``, in words; it is not recorded yet. ``convertible``: its twin would be loaded.

    What is no file, such as bytes in memory, has no command that shows more of it.
    """
    command = f"aiverify verify {shlex.quote(str(file))}" if os.path.lexists(file) else ""
    why = "; ".join(reasons) or "no reason was given"
    shown = f"See more with: {command}" if command else _BYTES
    return LoadRefused(
        f"{file}: not loaded, {outcome}{f' by {policy}' if policy else ''}: {why}",
        hint=f"{shown}{_way_out(file) if convertible and command else ''}",
        target=str(file),
        outcome=outcome,
        file=str(file) if command else None,
        rules=rules,
        policy=policy,
        command=command,
    )


def of_copy(no: LoadRefused, source: str) -> LoadRefused:
    """The refusal to load a copy, in words about its ``source``: a file, or what no command shows more of."""
    there = os.path.lexists(source)
    command = f"aiverify verify {shlex.quote(source)}" if there else ""
    return LoadRefused(
        str(no).replace(no.target, source),
        hint=no.hint.replace(shlex.quote(no.target), shlex.quote(source)) if there else _BYTES,
        target=source,
        outcome=no.outcome,
        file=source if there else None,
        rules=no.rules,
        policy=no.policy,
        command=command,
    )


def _way_out(file: Path | str) -> str:
    return f"; its tensors can be had with: aiverify convert {shlex.quote(str(file))} -o converted"


Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What a checkpoint is rebuilt from, beside the sealed safetensors file: the recipe, sealed with it.

    ``zipped`` tells of the checkpoint that it is of torch's zip format, ``hollow`` that some storage has no bytes.
    ``end`` is how far torch reads in it, in bytes, ``None`` where that is not known.
    """

    recipe: Path
    zipped: bool
    hollow: bool
    end: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Leave to load one file. ``sealed`` is what a loader opens: the store's copy, or ``file`` where none was made.

    ``globals`` are the names (module, name) that the machine recorded in the pickles of just these bytes, as they stand
    in the stream and as CPython renames them; ``None``: they are not known, and the load was let through with a
    warning. ``inert``: no unpickler could be made to run anything by these bytes. With a ``twin``, what is sealed is a
    safetensors file, and the checkpoint is rebuilt from it.
    """

    file: str
    sealed: Path
    sha256: str
    format: str
    outcome: str
    globals: frozenset[Name] | None = frozenset()
    inert: bool = False
    twin: Twin | None = None
