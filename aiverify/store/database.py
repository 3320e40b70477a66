"""One SQLite file, for many processes at once, any of which may be killed.

The rules:

- The file says which format it is of. An older one is migrated; of a newer one nothing is touched.
- What was written last may be lost with the power, never the file.
- Writers wait for each other up to ``patience`` seconds. After a fork, the child opens its own connection.
- Where nothing can be written, what is there is read, and so is what a writer that was killed left in the journal.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aiverify.store.folders import require_plain
from aiverify.store.interface import StoreError

PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The format of a file, the statements that make it, and how a file of an older format becomes one of the next."""

    format: int
    schema: str
    migrations: Mapping[int, str]


class Database:
    """The file at ``place``, opened when it is first asked."""

    def __init__(self, place: Path, layout: Layout, patience: float = PATIENCE) -> None:
        self._place = place
        self._layout = layout
        self._patience = patience
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        _databases.add(self)

    def ask(self, question: str, values: tuple[object, ...] = ()) -> list[tuple[str, ...]]:
        """The rows of a question. Raises StoreError."""
        with self._lock, self._explained():
            return self._opened().execute(question, values).fetchall()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: what the block does is done as a whole or not at all. Raises StoreError."""
        with self._lock, self._explained():
            connection = self._opened()
            with _transaction(connection):
                yield connection

    def close(self) -> None:
        """Give back the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def forked(self) -> None:
        """In a forked child: leave what belongs to the parent, down to the lock that one of its threads may hold."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._lock = threading.RLock()
        self._connection = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise StoreError(
                f"{self._place}: {error}", hint="Remove the store, or name another one with --store or AIVERIFY_STORE."
            ) from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            require_plain(self._place)
            connection = self._connected()
            try:
                self._migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        there = self._place.exists()
        writable = os.access(self._place.parent, os.W_OK) and (not there or os.access(self._place, os.W_OK))
        # A file that is called immutable is read without its journal, and needs none of the files beside it.
        mode = "" if writable else "?mode=ro" if self._left_in_journal() else "?mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self._place))}{mode}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )
        if writable:
            try:
                self._place.chmod(0o600)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                connection.close()
                raise
        return connection

    def _left_in_journal(self) -> bool:
        journal = self._place.with_name(f"{self._place.name}-wal")
        return journal.is_file() and journal.stat().st_size > 0

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _format(connection) == self._layout.format:
            return
        with _transaction(connection):
            found = _format(connection)  # again: somebody else may have been faster
            if found > self._layout.format:
                raise StoreError(
                    f"{self._place}: format {found} is newer than this version of aiverify knows",
                    hint="Update aiverify, or name another store with --store or AIVERIFY_STORE.",
                )
            if found == 0:
                _run(connection, self._layout.schema)
            for step in range(found or self._layout.format, self._layout.format):
                _run(connection, self._layout.migrations[step])
            connection.execute(f"PRAGMA user_version = {self._layout.format}")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
#: Connections of a parent. SQLite forbids a child to use them, and even to close them.
_inherited: list[sqlite3.Connection] = []


def _forked() -> None:
    for database in list(_databases):
        database.forked()


os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Statement by statement: ``executescript`` would end the transaction."""
    for statement in filter(str.strip, script.split(";")):
        connection.execute(statement)
