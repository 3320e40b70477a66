"""What the guard stops and what it does not, tried out: one JSON object, ``stopped`` or ``ran`` for each way.

Usage: guarded_limits.py FOLDER STORE
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import torch
from guarded_files import attacks
from pickle_builder import named, stream, text, tup

import aiverify

folder, store = Path(sys.argv[1]), sys.argv[2]
attacks(folder)
held = {"joblib": joblib.load, "torch": torch.load}
results: dict[str, str] = {}


def way(name: str, load: Callable[[], object], *, reads: bool = False) -> None:
    """Try it. It ran if a marker is there; what only reads, if it could."""
    for marker in folder.glob("marker*"):
        marker.unlink()
    done = False
    try:
        load()
        done = reads
    except aiverify.LoadRefused:
        pass
    results[name] = "ran" if done or list(folder.glob("marker*")) else "stopped"


class Own(pickle.Unpickler):
    """Finds its classes itself, and so tells nobody."""

    def find_class(self, module: str, name: str) -> object:
        return getattr(sys.modules[module], name)


def in_a_subinterpreter() -> None:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        import _interpreters as interpreters  # type: ignore[import-not-found,no-redef]
    other = interpreters.create()
    interpreters.run_string(other, f"import pickle; pickle.load(open({str(folder / 'evil-pkl.dat')!r}, 'rb'))")
    interpreters.destroy(other)


def in_a_fork() -> None:
    child = os.fork()
    if not child:
        try:
            held["joblib"](folder / "evil.joblib")
        finally:
            os._exit(0)
    os.waitpid(child, 0)


class Rewriting:
    """Stands for another process of the same user: it writes to a sealed copy just before joblib opens that."""

    content: bytes | None = None

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or self.content is None or not str(arguments[0]).startswith(f"{store}/snapshots/"):
            return
        if str(sys._getframe(1).f_globals.get("__name__")).startswith("joblib"):
            content, self.content = self.content, None
            sealed = Path(str(arguments[0]))
            sealed.chmod(0o644)
            sealed.write_bytes(content)
            sealed.chmod(0o444)


def rewritten(content: Path) -> list[float]:
    rewriting.content = content.read_bytes()
    found: list[float] = joblib.load(folder / "zeros.joblib").tolist()
    assert rewriting.content is None
    return found


def other_weights() -> None:
    assert rewritten(folder / "ones") == [1, 1, 1]


def with_the_hook_disarmed() -> None:
    from aiverify.guard import audit

    code, audit._hook.__code__ = audit._hook.__code__, (lambda event, arguments: None).__code__
    try:
        pickle.loads((folder / "evil-pkl.dat").read_bytes())
    finally:
        audit._hook.__code__ = code


def from_a_folder() -> None:
    (folder / "hubconf.py").write_text(f"def net():\n    open({str(folder / 'marker of a folder')!r}, 'w').close()\n")
    torch.hub.load(str(folder), "net", source="local")


joblib.dump(np.zeros(3), folder / "zeros.joblib")
joblib.dump(np.ones(3), folder / "ones")
rewriting = Rewriting()
sys.addaudithook(rewriting)
aiverify.protect(store=store)
marker = folder / "marker by a detour"
path = named("pathlib.PosixPath") + tup(text(str(marker))) + b"R"
touch = stream(named("builtins.getattr") + tup(path, text("touch")) + b"R)R")
(folder / "touch.pkl").write_bytes(touch)
opened = os.open(folder, os.O_RDONLY)
unpickle = f"import pickle; pickle.load(open({str(folder / 'evil-pkl.dat')!r}, 'rb'))"

way("wrapped", lambda: joblib.load(folder / "evil-joblib.dat"))
way("held-model-name", lambda: held["joblib"](folder / "evil.joblib"))
way("held-other-name", lambda: held["joblib"](folder / "evil-joblib.dat"))
way("pickle-model-name", lambda: pickle.load((folder / "evil.pkl").open("rb")))
way("pickle-dangerous", lambda: pickle.loads((folder / "evil-pkl.dat").read_bytes()))
way("pickle-detour", lambda: pickle.loads(touch))
way("descriptor", lambda: pickle.load(os.fdopen(os.open("touch.pkl", os.O_RDONLY, dir_fd=opened), "rb")))
way("own-find-class", lambda: Own((folder / "evil-pkl.dat").open("rb")).load())
way("native", lambda: torch._C.PyTorchFileReader(str(folder / "evil.pt")).get_record("data.pkl"), reads=True)
way("folder-code", from_a_folder)
way("subinterpreter", in_a_subinterpreter)
way("other-process", lambda: subprocess.run([sys.executable, "-c", unpickle], check=False))
way("forked-process", in_a_fork)
way("sealed-code", lambda: rewritten(folder / "copies" / "evil.joblib.bytes"))
way("sealed-weights", other_weights, reads=True)
way("running-code", with_the_hook_disarmed)
print(json.dumps(results))
sys.stdout.flush()
