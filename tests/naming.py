"""The child of ``naming_child``, kept warm: which names a real loader looks up in a file."""

import json
import selectors
import subprocess
import sys
from pathlib import Path

import naming_child

_SECONDS = 60


class Naming:
    """Asks the child about files. A file that ends it has no answer, and the next one gets a new child."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None

    def names(self, loader: str, path: Path) -> tuple[set[tuple[str, str]], str]:
        """The names that ``loader`` looked up in the file at ``path``, and how it ended."""
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, naming_child.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps([loader, str(path)]) + "\n")
        self.child.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.child.stdout, selectors.EVENT_READ)
            line = self.child.stdout.readline() if waiting.select(_SECONDS) else ""
        if not line:
            self.close()
            return set(), "the child ended"
        asked, outcome = json.loads(line)
        return {(module, name) for module, name in asked}, outcome

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None
