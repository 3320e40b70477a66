"""The digests that a manifest needs beside the SHA-256 of whole files: of shards, and of the BLAKE family.

Files are streamed, in parallel by parts; memory does not grow with them. The digest stage has hashed the same files
before, and notices at the end of the run if one changed in between.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from aiverify.errors import in_words
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.resources import Part, Resource

_CHUNK = 1 << 20


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def measure(
    root: Path, resources: Mapping[str, Resource], advance: Callable[[int], None] = lambda _: None
) -> dict[str, tuple[str, ...]]:
    """The digests (lower-case hex) of the parts of each file below ``root``. ``advance`` hears of each piece read.

    Raises SignatureError when a file cannot be read, or an algorithm is not installed.
    """
    algorithms = {resource.algorithm: _algorithm(resource.algorithm) for resource in resources.values()}
    tasks = [(root / path, resource.algorithm, part) for path, resource in resources.items() for part in resource.parts]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            digests = iter(list(pool.map(lambda task: _digest(task[0], algorithms[task[1]], task[2], advance), tasks)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {path: tuple(next(digests) for _ in resource.parts) for path, resource in resources.items()}


def _algorithm(name: str) -> Callable[[], _Hash]:
    if name != "blake3":
        known: Mapping[str, Callable[[], _Hash]] = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b}
        return known[name]
    try:
        from blake3 import blake3
    except ImportError as error:
        raise SignatureError(
            "the signature has BLAKE3 digests, and the package blake3 is not installed",
            hint="Install it: pip install 'aiverify-weights[blake3]'.",
        ) from error
    algorithm: Callable[[], _Hash] = blake3
    return algorithm


def _digest(path: Path, algorithm: Callable[[], _Hash], part: Part, advance: Callable[[int], None]) -> str:
    digest = algorithm()
    left = part.end - part.start if part.end is not None else None
    buffer = memoryview(bytearray(_CHUNK if left is None else min(left, _CHUNK)))
    try:
        with path.open("rb", buffering=0) as opened:
            opened.seek(part.start)
            while count := opened.readinto(buffer if left is None else buffer[:left]):
                digest.update(buffer[:count])
                left = None if left is None else left - count
                advance(count)
    except (OSError, ValueError) as error:
        raise SignatureError(
            f"{path}: cannot be read: {in_words(error)}", hint="Check its permissions and the disk."
        ) from error
    return digest.hexdigest()
