"""Locks between processes, which end with the process that holds them, whatever ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from aiverify.store.interface import StoreError


@contextlib.contextmanager
def shared(place: Path) -> Iterator[None]:
    """Hold the lock on the file ``place`` together with others. A store that cannot be written needs none."""
    try:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if not _is_read_only(place.parent):
            raise _unlockable(place, error) from error
        yield
        return
    with _held(handle, place, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold the lock on the file ``place`` and have nobody else hold it. Raises StoreError."""
    try:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unlockable(place, error) from error
    with _held(handle, place, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def alone_if_free(place: Path) -> Iterator[bool]:
    """As ``alone`` if nobody holds the lock now; whether that is so."""
    handle = None
    with contextlib.suppress(OSError):
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        free = handle is not None
        if handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                free = False
        yield free
    finally:
        if handle is not None:
            os.close(handle)


def claim(folder: Path) -> int | None:
    """A descriptor of ``folder`` that locks it; ``None`` if somebody else holds it, or it cannot be had."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def _held(handle: int, place: Path, kind: int) -> Iterator[None]:
    try:
        try:
            fcntl.flock(handle, kind)
        except OSError as error:
            raise _unlockable(place, error) from error
        yield
    finally:
        os.close(handle)


def _is_read_only(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.W_OK)


def _unlockable(place: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{place}: cannot be locked: {error.strerror or error}",
        hint="Name another folder with --store or AIVERIFY_STORE.",
    )
