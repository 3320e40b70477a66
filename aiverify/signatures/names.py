"""Which names a signed manifest may use for files.

A name is relative, ``/``-separated, canonical and printable in UTF-8, so that it stands for one file below the folder
that was signed, and for the same file on every system.
"""

from __future__ import annotations

MAX_NAME = 4096


def fault(name: str) -> str:
    """What is wrong with a resource name; empty when nothing is."""
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if name.startswith("/"):
        return "is absolute"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has an empty, '.' or '..' component"
    if "\\" in name:
        return "has a backslash, which separates folders on some systems only"
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in name):
        return "has a control character or is not UTF-8"
    return ""


def with_folders(path: str) -> set[str]:
    """The path and every folder above it."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
