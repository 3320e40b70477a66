"""What the store remembers: snapshots, verdicts, revisions and digests, in one SQLite file.

The rules:

- A verdict is kept under everything that it depends on (``Question``): a changed policy, rule or version does not find
  it, and asks anew.
- A digest is kept under device, inode, size, mtime *and* ctime, which cannot be set back. Of a file that changed less
  than ``RACY`` seconds before it was hashed, nothing is kept: another change could share its time stamp. That does not
  hold for the store's own sealed files, which nobody honest writes to.
- What was written last may be lost with the power, never the file (``database``): then a verdict is asked for again.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiverify.store.database import PATIENCE, Database, Layout
from aiverify.store.interface import Question, Sealed, StoreError

FORMAT = 1
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
  ctime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL, kept_at TEXT NOT NULL, PRIMARY KEY (device, inode)
) STRICT;
CREATE TABLE revisions (
  repo TEXT NOT NULL, revision TEXT NOT NULL, commit_id TEXT NOT NULL, PRIMARY KEY (repo, revision)
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

    def __init__(self, place: Path, *, patience: float = PATIENCE) -> None:
        self._database = Database(place, Layout(FORMAT, _SCHEMA, _MIGRATIONS), patience)

    def close(self) -> None:
        """Give back what the index holds."""
        self._database.close()

    # snapshots

    def remember(self, row: Row) -> None:
        """Keep a snapshot, or that it was used again."""
        files = json.dumps({path: [file.sha256, file.size] for path, file in sorted(row.files.items())})
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at",
                (row.id, files, row.sealed_at, row.used_at),
            )

    def snapshot(self, identity: str) -> Row | None:
        """What is remembered of a snapshot."""
        rows = self._database.ask("SELECT id, files, sealed_at, used_at FROM snapshots WHERE id = ?", (identity,))
        return _row(rows[0]) if rows else None

    def snapshots(self) -> list[Row]:
        """Every snapshot, the one that was used last first."""
        return [
            _row(row)
            for row in self._database.ask(
                "SELECT id, files, sealed_at, used_at FROM snapshots ORDER BY used_at DESC, id"
            )
        ]

    def forget(self, identity: str) -> None:
        """Forget a snapshot and the verdicts that lead to it."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM snapshots WHERE id = ?", (identity,))
            connection.execute("DELETE FROM verdicts WHERE snapshot = ?", (identity,))

    # verdicts

    def record(self, question: Question, answer: Answer) -> None:
        """Keep a verdict, instead of an earlier one under the same question."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(question.key, question.subject, question.policy, question.rules, question.engines, question.tool),
                    *(answer.outcome, answer.snapshot, answer.report, answer.examined_at),
                ),
            )

    def answer(self, question: Question) -> Answer | None:
        """The verdict that was given under exactly this question."""
        rows = self._database.ask(
            "SELECT outcome, snapshot, report, examined_at FROM verdicts WHERE key = ?", (question.key,)
        )
        if not rows:
            return None
        outcome, snapshot, report, examined_at = rows[0]
        return Answer(outcome=outcome, snapshot=snapshot, report=report, examined_at=examined_at)

    def subjects(self, identity: str) -> list[str]:
        """What a snapshot was sealed for."""
        rows = self._database.ask(
            "SELECT DISTINCT subject FROM verdicts WHERE snapshot = ? ORDER BY subject", (identity,)
        )
        return [subject for (subject,) in rows]

    def passed(self, identity: str, question: Question) -> bool:
        """Whether a snapshot was sealed because it passed under all of ``question`` but its subject."""
        asked = (
            "SELECT 1 FROM verdicts WHERE snapshot = ? AND outcome = 'pass'"
            " AND policy = ? AND rules = ? AND engines = ? AND tool = ? LIMIT 1"
        )
        values = (identity, question.policy, question.rules, question.engines, question.tool)
        return bool(self._database.ask(asked, values))

    def reports(self, identity: str) -> list[str]:
        """The reports with which a snapshot was sealed, as they were recorded."""
        rows = self._database.ask("SELECT report FROM verdicts WHERE snapshot = ? ORDER BY examined_at", (identity,))
        return [report for (report,) in rows]

    # digests

    def digest(self, state: os.stat_result) -> str | None:
        """The SHA-256 of the file with this state, if it was taken in this very state."""
        rows = self._database.ask(
            "SELECT sha256 FROM digests WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?",
            _state(state),
        )
        return str(rows[0][0]) if rows else None

    def keep_digest(self, state: os.stat_result, sha256: str, *, hashed_at: float) -> bool:
        """Keep a digest that was begun to be taken at ``hashed_at`` (seconds of ``time.time``); whether it was kept."""
        if state.st_ctime > hashed_at - RACY:
            return False
        self.keep_sealed([(state, sha256)])
        return True

    def keep_sealed(self, states: Iterable[tuple[os.stat_result, str]]) -> None:
        """Keep digests of files that nobody else writes to, each with the state of the file."""
        rows = [(*_state(state), sha256, today()) for state, sha256 in states]
        if rows:
            with self._database.writing() as connection:
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget_digests(self, before: str) -> None:
        """Forget the digests that were kept before that day (ISO 8601)."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM digests WHERE kept_at < ?", (before,))

    # revisions

    def revision(self, repo: str, revision: str) -> str | None:
        """The commit that a branch or tag led to when it was last asked for."""
        rows = self._database.ask("SELECT commit_id FROM revisions WHERE repo = ? AND revision = ?", (repo, revision))
        return rows[0][0] if rows else None

    def keep_revision(self, repo: str, revision: str, commit: str) -> None:
        """Keep where a branch or tag leads now."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?)", (repo, revision, commit))


def _row(row: tuple[str, ...]) -> Row:
    identity, files, sealed_at, used_at = row
    try:
        sealed = {path: Sealed(sha256=sha256, size=size) for path, (sha256, size) in json.loads(files).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"what is remembered of the snapshot {identity} is broken") from error
    return Row(id=identity, files=sealed, sealed_at=sealed_at, used_at=used_at)


def today() -> str:
    """The day in UTC (ISO 8601)."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _state(state: os.stat_result) -> tuple[int, int, int, int, int]:
    return _signed(state.st_dev), _signed(state.st_ino), state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _signed(number: int) -> int:
    """A number of 64 bits as SQLite keeps it."""
    return number - (1 << 64) if number >> 63 else number
