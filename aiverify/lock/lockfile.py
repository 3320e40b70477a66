"""``aiverify.lock``: which artifacts were verified, and what every byte of them was.

The rules:

- The file is TOML in a stable order, one line for each file, so that a change can be reviewed in a diff.
- It says which format it is of. An older one is read or refused with the way out, a newer one is refused.
- What is read is valid: every key is known and of its type, paths are plain, digests have their form, nothing stands
  twice. An error names the file and the key.
- A lockfile states what was seen. It weakens nothing: a locked artifact is judged like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiverify.errors import AiverifyError
from aiverify.files import read_at_most, write_whole
from aiverify.toml import parse_toml

NAME = "aiverify.lock"
FORMAT = 1
MAX_BYTES = 32 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HEAD = """\
# Written by `aiverify lock`. Commit it. `aiverify verify --locked` accepts exactly what stands here,
# `aiverify audit` tells whether it still holds, and `aiverify audit --fix` moves it on.
"""


class LockError(AiverifyError):
    """A lockfile cannot be read or written, is not valid, or does not speak of what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """One file: POSIX relative path, size in bytes, SHA-256, format."""

    path: str
    size: int
    sha256: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTwin:
    """The safetensors twin that was made of the checkpoint ``source``: its name and SHA-256."""

    source: str
    output: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedArtifact:
    """One artifact as it was verified.

    ``target`` is what was asked for, without a revision. Of a Hub repository, ``revision`` is the branch or tag that
    was asked for, ``commit`` where it led, and ``created`` when the Hub says the repository was made. ``include`` and
    ``exclude`` are the selection. ``signers`` are those whose signatures were verified, ``policy`` is the digest of the
    policy in force, ``tool`` the version that judged.
    """

    target: str
    files: tuple[LockedFile, ...]
    verdict: str
    policy: str
    tool: str
    revision: str | None = None
    commit: str | None = None
    created: str | None = None
    variant: str | None = None
    signers: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    twins: tuple[LockedTwin, ...] = ()


@dataclass(frozen=True, slots=True)
class Lockfile:
    """The artifacts of a lockfile, by target."""

    artifacts: Mapping[str, LockedArtifact] = field(default_factory=dict)

    def with_artifacts(self, changed: Iterable[LockedArtifact]) -> Lockfile:
        """This lockfile with ``changed`` in the place of what it says of the same targets."""
        return Lockfile({**self.artifacts, **{artifact.target: artifact for artifact in changed}})

    def text(self) -> str:
        """The file, as TOML."""
        parts = [_HEAD, f"version = {FORMAT}\n"]
        parts += [_written(self.artifacts[target]) for target in sorted(self.artifacts)]
        return "\n".join(parts)


def read_lockfile(path: Path) -> Lockfile:
    """The lockfile at ``path``. Raises LockError."""
    try:
        raw = read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise LockError(
            f"{path}: cannot be read: {error.strerror or error}", hint="Write it with `aiverify lock TARGET…`."
        ) from error
    if len(raw) > MAX_BYTES:
        raise LockError(f"{path}: longer than {MAX_BYTES} bytes")
    try:
        content = parse_toml(raw)
    except (ValueError, RecursionError) as error:
        raise LockError(f"{path}: not valid TOML: {error}") from error
    try:
        return parse(content)
    except LockError as error:
        raise LockError(f"{path}: {error}", hint=error.hint) from None


def write_lockfile(path: Path, lockfile: Lockfile) -> None:
    """Write ``lockfile`` to ``path``, whole or not at all. Raises LockError, and WriteError of the files room."""
    try:
        text = lockfile.text()
    except LockError as error:
        raise LockError(f"{path}: {error}", hint=error.hint) from None
    raw = text.encode("utf-8")
    if len(raw) > MAX_BYTES:
        raise LockError(f"{path}: would be longer than {MAX_BYTES} bytes", hint="Lock fewer models in one file.")
    write_whole(path, raw)


def parse(content: Mapping[str, object]) -> Lockfile:
    """The lockfile in parsed TOML. Raises LockError that names the key."""
    version = content.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise LockError("version: must say the format of the file, as in version = 1")
    if version > FORMAT:
        raise LockError(f"version: format {version} is newer than this version of aiverify knows", hint="Update it.")
    top = _Table("", content)
    top.require({"version", "artifact"})
    artifacts: dict[str, LockedArtifact] = {}
    for table in top.tables("artifact"):
        artifact = _artifact(table)
        if artifact.target in artifacts:
            raise table.error("target", f"{artifact.target} stands twice")
        artifacts[artifact.target] = artifact
    return Lockfile(artifacts)


_OPTIONAL = ("revision", "commit", "created", "variant")
_LISTS = ("signers", "include", "exclude")
_TEXTS = ("target", "verdict", "policy", "tool")


def _artifact(table: _Table) -> LockedArtifact:
    table.require({*_TEXTS, *_OPTIONAL, *_LISTS, "files", "twins"})
    files = tuple(_file(inner) for inner in table.tables("files"))
    repeated = [path for path, count in Counter(file.path for file in files).items() if count > 1]
    if repeated:
        raise table.error("files", f"{min(repeated)} stands twice")
    if not files:
        raise table.error("files", "has nothing to lock")
    commit = table.optional("commit")
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise table.error("commit", "must be 40 lower-case hex digits")
    return LockedArtifact(
        target=table.text("target"),
        verdict=table.text("verdict"),
        policy=table.digest("policy"),
        tool=table.text("tool"),
        revision=table.optional("revision"),
        commit=commit,
        created=table.optional("created"),
        variant=table.optional("variant"),
        signers=table.texts("signers"),
        include=table.texts("include"),
        exclude=table.texts("exclude"),
        files=files,
        twins=tuple(_twin(inner) for inner in table.tables("twins")),
    )


def _file(table: _Table) -> LockedFile:
    table.require({"path", "size", "sha256", "format"})
    return LockedFile(
        path=table.path("path"), size=table.size("size"), sha256=table.digest("sha256"), format=table.text("format")
    )


def _twin(table: _Table) -> LockedTwin:
    table.require({"source", "output", "sha256"})
    return LockedTwin(source=table.path("source"), output=table.path("output"), sha256=table.digest("sha256"))


class _Table:
    """One parsed TOML table, and where it stands."""

    def __init__(self, place: str, content: Mapping[str, object]) -> None:
        self._place = place
        self._content = content

    def error(self, key: str, problem: str) -> LockError:
        return LockError(f"{self._name(key)}: {problem}")

    def _name(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def require(self, known: set[str]) -> None:
        for key in sorted(self._content.keys() - known):
            raise self.error(key, f"is not a known key; known are {', '.join(sorted(known))}")

    def text(self, key: str) -> str:
        value = self._content.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "must be text")
        return value

    def optional(self, key: str) -> str | None:
        return self.text(key) if key in self._content else None

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(key, "must be a list of text")
        return tuple(value)

    def digest(self, key: str) -> str:
        value = self.text(key)
        if not _SHA256.fullmatch(value):
            raise self.error(key, "must be 64 lower-case hex digits")
        return value

    def path(self, key: str) -> str:
        value = self.text(key)
        if {"", ".", ".."} & set(value.split("/")) or "\\" in value or "\0" in value:
            raise self.error(key, f"{value!a} is no path inside of an artifact")
        return value

    def size(self, key: str) -> int:
        value = self._content.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(key, "must be a number of bytes")
        return value

    def tables(self, key: str) -> list[_Table]:
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(key, "must be a list of tables")
        return [_Table(f"{self._name(key)}[{index}]", item) for index, item in enumerate(value)]


def _written(artifact: LockedArtifact) -> str:
    lines = ["[[artifact]]", f"target = {_quoted(artifact.target)}"]
    for key in ("revision", "commit", "created", "verdict", "variant", "policy", "tool"):
        value = getattr(artifact, key)
        if value is not None:
            lines.append(f"{key} = {_quoted(value)}")
    for key in _LISTS:
        values = getattr(artifact, key)
        if values:
            lines.append(f"{key} = [{', '.join(map(_quoted, values))}]")
    lines += _rows("files", artifact.files, ("path", "size", "sha256", "format"))
    if artifact.twins:
        lines += _rows("twins", artifact.twins, ("source", "output", "sha256"))
    return "\n".join(lines) + "\n"


def _rows(key: str, rows: Sequence[object], fields: Sequence[str]) -> list[str]:
    """A list of tables, one line each, in the order of their first field."""
    lines = []
    for values in sorted(tuple(getattr(row, name) for name in fields) for row in rows):
        shown = [value if isinstance(value, int) else _quoted(value) for value in values]
        lines.append(f"  {{ {', '.join(f'{name} = {value}' for name, value in zip(fields, shown, strict=True))} }},")
    return [f"{key} = [", *lines, "]"]


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _quoted(text: str) -> str:
    """A basic string. What cannot be seen, and what turns the direction of writing, is escaped: a diff shows it."""
    return '"' + "".join(_ESCAPES.get(char) or _plain(char) for char in text) + '"'


def _plain(char: str) -> str:
    if char.isprintable():
        return char
    if "\ud800" <= char <= "\udfff":
        raise LockError("a file name that is not Unicode cannot be locked", hint="Rename the file.")
    return f"\\u{ord(char):04X}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08X}"
