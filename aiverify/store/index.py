"""What the store remembers: snapshots, verdicts and digests, in one SQLite file.

The rules:

- The file says which format it is of. An older one is migrated; of a newer one nothing is touched.
- A verdict is kept under everything that it depends on (``Question``): a changed policy, rule or version does not find
  it, and asks anew.
- A digest is kept under device, inode, size, mtime *and* ctime, which cannot be set back. Of a file that changed less
  than ``RACY`` seconds before it was hashed, nothing is kept: another change could share its time stamp.
- What was written last may be lost with the power, never the file: then a verdict is asked for again.
- Writers wait for each other up to ``PATIENCE`` seconds. After a fork, a process opens its own connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiverify.store.interface import Question, Sealed, StoreError

FORMAT = 1
PATIENCE = 30.0
RACY = 2.0

_SCHEMA = """
CREATE TABLE snapshots (
  id TEXT PRIMARY KEY, files TEXT NOT NULL, sealed_at TEXT NOT NULL, used_at TEXT NOT NULL
) STRICT;
CREATE TABLE verdicts (
  key TEXT PRIMARY KEY, subject TEXT NOT NULL, policy TEXT NOT NULL, rules TEXT NOT NULL, engines TEXT NOT NULL,
  tool TEXT NOT NULL, outcome TEXT NOT NULL, snapshot TEXT, report TEXT NOT NULL, examined_at TEXT NOT NULL
) STRICT;
CREATE INDEX verdicts_of_subject ON verdicts (subject);
CREATE TABLE digests (
  device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (device, inode)
) STRICT;
"""
#: How a file of the format on the left becomes one of the next.
_MIGRATIONS: Mapping[int, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A snapshot as it is remembered."""

    id: str
    files: Mapping[str, Sealed]
    sealed_at: str
    used_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict that was given: its outcome, the snapshot that was sealed with it, and the report as JSON."""

    outcome: str
    snapshot: str | None
    report: str
    examined_at: str


class Index:
    """The memory of the store, in the file ``place``."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    # snapshots

    def remember(self, row: Row) -> None:
        """Keep a snapshot, or that it was used again."""
        files = json.dumps({path: [file.sha256, file.size] for path, file in sorted(row.files.items())})
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at",
                (row.id, files, row.sealed_at, row.used_at),
            )

    def snapshot(self, identity: str) -> Row | None:
        """What is remembered of a snapshot."""
        rows = self._ask("SELECT id, files, sealed_at, used_at FROM snapshots WHERE id = ?", (identity,))
        return _row(rows[0]) if rows else None

    def snapshots(self) -> list[Row]:
        """Every snapshot, the one that was used last first."""
        return [
            _row(row)
            for row in self._ask("SELECT id, files, sealed_at, used_at FROM snapshots ORDER BY used_at DESC, id")
        ]

    def forget(self, identity: str) -> None:
        """Forget a snapshot and the verdicts that lead to it."""
        with self._writing() as connection:
            connection.execute("DELETE FROM snapshots WHERE id = ?", (identity,))
            connection.execute("DELETE FROM verdicts WHERE snapshot = ?", (identity,))

    # verdicts

    def record(self, question: Question, answer: Answer) -> None:
        """Keep a verdict, instead of an earlier one under the same question."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(question.key, question.subject, question.policy, question.rules, question.engines, question.tool),
                    *(answer.outcome, answer.snapshot, answer.report, answer.examined_at),
                ),
            )

    def answer(self, question: Question) -> Answer | None:
        """The verdict that was given under exactly this question."""
        rows = self._ask("SELECT outcome, snapshot, report, examined_at FROM verdicts WHERE key = ?", (question.key,))
        if not rows:
            return None
        outcome, snapshot, report, examined_at = rows[0]
        return Answer(outcome=outcome, snapshot=snapshot, report=report, examined_at=examined_at)

    def subjects(self, identity: str) -> list[str]:
        """What a snapshot was sealed for."""
        rows = self._ask("SELECT DISTINCT subject FROM verdicts WHERE snapshot = ? ORDER BY subject", (identity,))
        return [subject for (subject,) in rows]

    # digests

    def digest(self, state: os.stat_result) -> str | None:
        """The SHA-256 of the file with this state, if it was taken in this very state."""
        rows = self._ask(
            "SELECT sha256 FROM digests WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?",
            _state(state),
        )
        return str(rows[0][0]) if rows else None

    def keep_digest(self, state: os.stat_result, sha256: str, *, hashed_at: float) -> bool:
        """Keep a digest that was begun to be taken at ``hashed_at`` (seconds of ``time.time``); whether it was kept."""
        if state.st_ctime > hashed_at - RACY:
            return False
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", (*_state(state), sha256))
        return True

    # the connection

    def close(self) -> None:
        """Give back what the index holds."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _ask(self, question: str, values: tuple[object, ...] = ()) -> list[tuple[str, ...]]:
        with self._lock, self._explained():
            return self._open().execute(question, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self._place}: {error}", hint="Remove the store, or name another one with --store or AIVERIFY_STORE."
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        connection = sqlite3.connect(
            self._place, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            self._place.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _format(connection) == FORMAT:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = _format(connection)  # again: somebody else may have been faster
            if found > FORMAT:
                raise StoreError(
                    f"{self._place}: format {found} is newer than this version of aiverify knows",
                    hint="Update aiverify, or name another store with --store or AIVERIFY_STORE.",
                )
            if found == 0:
                _run(connection, _SCHEMA)
            for step in range(found or FORMAT, FORMAT):
                _run(connection, _MIGRATIONS[step])
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Statement by statement: ``executescript`` would end the transaction."""
    for statement in filter(str.strip, script.split(";")):
        connection.execute(statement)


def _row(row: tuple[str, ...]) -> Row:
    identity, files, sealed_at, used_at = row
    sealed = {path: Sealed(sha256=sha256, size=size) for path, (sha256, size) in json.loads(files).items()}
    return Row(id=identity, files=sealed, sealed_at=sealed_at, used_at=used_at)


def _state(state: os.stat_result) -> tuple[int, int, int, int, int]:
    return _signed(state.st_dev), _signed(state.st_ino), state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _signed(number: int) -> int:
    """A number of 64 bits as SQLite keeps it."""
    return number - (1 << 64) if number >> 63 else number
