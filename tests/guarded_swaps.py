"""Ways to exchange a file that was verified."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: What is exchanged, by its kind, and how.
SWAPPED = {"pt": "good.pt", "joblib": "good.joblib", "npy": "objects.npy"}
SWAPS = ("by rename", "in place", "of a link", "of a linked folder")


def put(folder: Path, kind: str, how: str, place: Path, which: str) -> None:
    """Make ``place`` lead to a file of the kind that is ``good`` or ``evil``."""
    content = folder / SWAPPED[kind] if which == "good" else folder / "copies" / f"evil.{kind}.bytes"
    if how == "in place" and place.exists():
        state = place.stat()
        place.write_bytes(content.read_bytes())
        os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif how == "of a link":
        place.unlink(missing_ok=True)
        place.symlink_to(content)
    elif how == "of a linked folder":
        (folder / f"{kind} {which}").mkdir()
        shutil.copyfile(content, folder / f"{kind} {which}" / place.name)
        place.parent.unlink(missing_ok=True)
        place.parent.symlink_to(folder / f"{kind} {which}")
    else:
        shutil.copyfile(content, folder / "other")
        (folder / "other").replace(place)
