"""Programs under ``aiverify run``, with files whose payload leaves a marker."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from end_to_end import PACKAGE_HOME, Machine, Ran
from pickle_builder import named, stream, text, tup

PYTHON = sys.executable
#: Loads the files that are its arguments, and says what became of each, the reason on stderr.
LOAD = """
import pickle, sys
def load(path):
    try:
        with open(path, "rb") as file: return repr(pickle.loads(file.read()))
    except Exception as error:
        print(error, file=sys.stderr)
        return type(error).__name__
if __name__ == "__main__":
    for path in sys.argv[1:]: print(load(path))
"""
#: A harmless class that no table of trusted names knows.
OWN = "class Thing:\n    def __repr__(self): return 'a thing'\n"


class Programs(Machine):
    """A machine with programs, and with files for them: ``evil.pkl``, ``thing.pkl`` (to be reviewed), ``good.pkl``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, AIVERIFY_STORE=str(folder / "home" / "store"))
        self.marker = self.here / "marker"
        files = self.here / "files"
        files.mkdir()
        (files / "evil.pkl").write_bytes(stream(named("os.system") + tup(text(f"touch '{self.marker}'")) + b"R"))
        (files / "thing.pkl").write_bytes(stream(named("own.Thing") + b")\x81"))
        (files / "good.pkl").write_bytes(pickle.dumps([1, 2]))
        (self.here / "load.py").write_text(LOAD)
        (self.here / "own.py").write_text(OWN)

    def guarded(self, *words: str | Path, options: tuple[str, ...] = (), **environment: str) -> Ran:
        """``aiverify run`` to its end."""
        return self.run("run", *options, "--", *words, **environment)

    def plain(self, *words: str | Path, stdin: str = "", **environment: str) -> Ran:
        """The same program by itself, with nothing of ours on its path."""
        environ = {**self.environ(measured=False), **environment}
        environ.pop("PYTHONPATH")
        done = subprocess.run(
            [*map(str, words)], cwd=self.here, env=environ, input=stdin, capture_output=True, text=True, timeout=60
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def script(self, name: str, content: str) -> Path:
        """An executable file in the working directory."""
        path = self.here / name
        path.write_text(content)
        path.chmod(0o755)
        return path


def environment_without_us(folder: Path, *, paths: tuple[Path, ...] = ()) -> Path:
    """The interpreter of a new virtual environment, which finds packages in ``paths`` only."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "_paths.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"


__all__ = ["LOAD", "PACKAGE_HOME", "PYTHON", "Programs", "environment_without_us"]
