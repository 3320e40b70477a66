"""Digests of earlier runs, for whoever can do without.

Nothing here fails: where the store cannot be read or written (no home, a read-only one, a broken index), digests are
taken again, and that is said once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aiverify.store.folders import default_root, make_private
from aiverify.store.index import Index
from aiverify.store.interface import StoreError

_PATIENCE = 2.0

Kept = TypeVar("Kept")


class DigestCache:
    """The digests that a store remembers. ``root`` is its folder, ``index`` its index if that is open already.

    ``said`` is told why there are none. The store is made when there is something to remember.
    """

    def __init__(
        self, root: Path | None = None, *, index: Index | None = None, said: Callable[[str], None] = lambda _: None
    ) -> None:
        self._root = root
        self._index = index
        self._said = said
        self._given_up = False

    def digest(self, state: os.stat_result) -> str | None:
        """The SHA-256 of the file with this state, if it was taken in this very state."""
        return self._tried(lambda index: index.digest(state), make=False)

    def keep_digest(self, state: os.stat_result, sha256: str, *, hashed_at: float) -> bool:
        """Keep a digest that was begun to be taken at ``hashed_at`` (seconds of ``time.time``); whether it was kept."""
        return bool(self._tried(lambda index: index.keep_digest(state, sha256, hashed_at=hashed_at), make=True))

    def _tried(self, ask: Callable[[Index], Kept], *, make: bool) -> Kept | None:
        if self._given_up:
            return None
        try:
            index = self._opened(make=make)
            return None if index is None else ask(index)
        except StoreError as error:
            self._given_up = True
            self._said(f"digests are not remembered: {error}")
            return None

    def _opened(self, *, make: bool) -> Index | None:
        if self._index is None:
            root = self._root or default_root()
            place = root / "index.sqlite"
            if not make and not place.exists():
                return None
            make_private(root, above=True)
            self._index = Index(place, patience=_PATIENCE)
        return self._index
