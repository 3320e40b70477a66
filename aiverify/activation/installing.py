"""A hook: one file in the site-packages of an interpreter, because of which it always starts guarded.

Rules it keeps:

1. The file is written as a whole or not at all, and stays only if an interpreter that is started proves that it works.
2. Only a file that we wrote is replaced or removed.
3. Whether a hook works is never read from the file: the interpreter is started and asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.activation.interpreters import ActivationError
from aiverify.errors import AiverifyError, in_words
from aiverify.files import WriteError, write_whole
from aiverify.guard.deciding import Settings
from aiverify.guard.session import chosen

NAME = "aiverify-hook.pth"
_MARK = "# Written by `aiverify hook install`; `aiverify hook remove` takes it away."
_PATIENCE = 60.0  # seconds for an interpreter to start
_WHERE = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
_THERE = "import json, aiverify.activation.entering as there; print(json.dumps(there.__file__))"
_ACTIVE = """
import json, sys
session = sys.modules.get("aiverify.guard.session")
settings = session.settings() if session else None
print(json.dumps(settings and {"policy": str(settings.policy or ""), "mode": settings.mode}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What was found out about one interpreter.

    ``file`` is where its hook lies or would lie, ``installed`` whether it does. ``active``: the interpreter starts
    guarded, with this ``policy`` (a path, or empty) and ``mode``. ``trouble`` is what it says when it starts.
    """

    python: Path
    file: Path
    installed: bool
    active: bool
    policy: str = ""
    mode: str = ""
    trouble: str = ""


def status(python: Path) -> Hook:
    """Whether ``python`` has a hook, and whether that works. Raises ActivationError if it cannot be asked."""
    file = _place(python)
    found, said = _asked(python, _ACTIVE)
    active = isinstance(found, dict)
    policy = str(found["policy"]) if active else ""
    if policy:
        try:
            chosen(policy, None, None, "changed")
        except AiverifyError as error:
            active, said = False, f"it loads nothing: {error}"
    return Hook(
        python=python,
        file=file,
        installed=_is_ours(file),
        active=active,
        policy=policy,
        mode=str(found["mode"]) if active else "",
        trouble=said,
    )


def install(python: Path, settings: Settings) -> Hook:
    """Give ``python`` a hook with ``settings``, in the place of an older one. Raises ActivationError."""
    file = _place(python)
    if os.path.lexists(file) and not _is_ours(file):
        raise ActivationError(f"{file}: is there, and not ours", hint="Look at it, and move it out of the way.")
    if _asked(python, _THERE)[0] is None:
        raise ActivationError(
            f"aiverify is not installed for {python}", hint=f"{python} -m pip install aiverify-weights installs it."
        )
    before = file.read_bytes() if file.exists() else None
    _write(file, _content(settings).encode("utf-8"))
    now = status(python)
    if not (now.active and (now.policy, now.mode) == (settings.policy or "", settings.mode)):
        if before is None:
            file.unlink()
        else:
            _write(file, before)
        raise ActivationError(f"{python}: does not start guarded with the hook, which was taken back: {now.trouble}")
    return now


def remove(python: Path) -> Path | None:
    """Take our hook away from ``python``: where it was, ``None`` if there was none. Raises ActivationError."""
    file = _place(python)
    if not os.path.lexists(file):
        return None
    if not _is_ours(file):
        raise ActivationError(f"{file}: is not ours", hint="Look at it, and remove it yourself.")
    try:
        file.unlink()
    except OSError as error:
        raise ActivationError(f"{file}: cannot be removed: {error.strerror or error}", hint=_owner(file)) from error
    return file


def _content(settings: Settings) -> str:
    """The mark, and the one line that every start of the interpreter runs."""
    arguments = {"policy": settings.policy, "mode": settings.mode, "rehash_always": settings.rehash_always}
    called = ", ".join(f"{name}={value!a}" for name, value in arguments.items())
    return f"{_MARK}\nimport aiverify.activation.entering as _aiverify; _aiverify.enter_hooked({called})\n"


def _is_ours(file: Path) -> bool:
    try:
        return file.is_file() and not file.is_symlink() and file.read_text("utf-8").startswith(_MARK)
    except (OSError, ValueError):
        return False


def _write(file: Path, content: bytes) -> None:
    try:
        write_whole(file, content)
    except WriteError as error:
        raise ActivationError(str(error), hint=_owner(file)) from error


def _owner(file: Path) -> str:
    return f"Run it as the owner of {file.parent}, or in a virtual environment, or name another one with --python."


def _place(python: Path) -> Path:
    found, said = _asked(python, _WHERE)
    if not isinstance(found, str):
        raise ActivationError(f"{python}: is no Python that can be asked for its site-packages{said and ': '}{said}")
    return Path(found) / NAME


def _asked(python: Path, program: str) -> tuple[Any, str]:
    """What ``program`` prints as JSON, ``None`` if it does not, and the last line that it says beside it.

    The interpreter is isolated (``-I``): what counts is its site-packages, not our environment.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AIVERIFY_", "PYTHON"))}
    try:
        ran = subprocess.run(  # noqa: S603 - the interpreter that the user names
            [python, "-I", "-c", program],
            env=others,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ActivationError(f"{python}: cannot be started: {in_words(error)}") from error
    answer = None
    with contextlib.suppress(ValueError):
        answer = json.loads(ran.stdout)
    said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
    return answer, said[-1] if said else ""


__all__ = ["Hook", "install", "remove", "status"]
