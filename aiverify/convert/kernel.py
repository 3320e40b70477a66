"""Ranges of one file copied into another by the system itself, without the bytes passing through this program."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from aiverify.convert.plan import SourceChangedError
from aiverify.convert.reading import read_exactly, write_exactly

_STEP = 64 << 20
_BUFFER = 1 << 20
_UNABLE = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF, errno.ENOTSUP}
)


class Copier:
    """Copies ranges of the descriptor ``source`` into ``target``, by the fastest way that the system has."""

    def __init__(self, source: int, target: int) -> None:
        """Both must be open, the target for writing."""
        self._source = source
        self._target = target
        self._ways: list[Callable[[int, int, int], int]] = [self._by_range, self._by_sendfile, self._by_hand]

    def copy(self, offset: int, length: int, place: int) -> Iterator[int]:
        """Copy ``length`` bytes from ``offset`` to ``place``; yields how many at a time.

        Raises SourceChangedError if the source ends early.
        """
        while length:
            done = self._some(offset, min(length, _STEP), place)
            if not done:
                raise SourceChangedError(f"the file ends at byte {offset}")
            yield done
            offset, length, place = offset + done, length - done, place + done

    def _some(self, offset: int, length: int, place: int) -> int:
        while True:
            try:
                return self._ways[0](offset, length, place)
            except OSError as error:
                if error.errno not in _UNABLE or len(self._ways) == 1:
                    raise
                self._ways.pop(0)

    def _by_range(self, offset: int, length: int, place: int) -> int:
        copy = getattr(os, "copy_file_range", None)
        if copy is None:
            raise OSError(errno.ENOSYS, "no copy_file_range")
        return int(copy(self._source, self._target, length, offset, place))

    def _by_sendfile(self, offset: int, length: int, place: int) -> int:
        os.lseek(self._target, place, os.SEEK_SET)
        return os.sendfile(self._target, self._source, offset, length)

    def _by_hand(self, offset: int, length: int, place: int) -> int:
        data = read_exactly(self._source, offset, min(length, _BUFFER))
        write_exactly(self._target, memoryview(data), place)
        return len(data)
