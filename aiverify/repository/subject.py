"""The files of an artifact, for whoever has to look at several of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aiverify.formats.interface import Format, FormatError, State, state_of

MAX_TEXT = 1 << 20
MAX_PROSE, MAX_NOTEBOOK = 4 << 20, 16 << 20
_TEXTS = frozenset((Format.TEXT, Format.JSON, Format.YAML, Format.PYTHON, Format.SCRIPT, Format.TEMPLATE))
_DATA = re.compile(r"(?:tokenizer|vocab|merges|.*\.index|added_tokens|.*\bvocab.*)\.(?:json|txt)", re.IGNORECASE)
_PROSE = re.compile(r"readme.*|.*\.(?:md|rst|html?)", re.IGNORECASE)
_HEART = frozenset(("config.json", "model_index.json", "tokenizer_config.json", "adapter_config.json", "modules.json"))
_PIPELINE = frozenset(("model_index.json", "modular_model_index.json"))


def read_bounded(location: Path, limit: int = MAX_TEXT, state: State | None = None) -> bytes | None:
    """The content of a file, or ``None`` if it is longer than ``limit`` or cannot be read.

    Raises FormatError if it is not the file in the ``state`` that was meant.
    """
    try:
        with location.open("rb") as file:
            if state is not None and state_of(os.fstat(file.fileno())) != state:
                raise FormatError(f"{location}: changed on disk during the run", hint="Find out what writes to it.")
            content = file.read(limit + 1)
    except OSError:
        return None
    return content if len(content) <= limit else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file: its path in the artifact, where it lies, its size in bytes, and what it was found to be.

    ``tensors`` are the names of the tensors of a file of safetensors, ``state`` is that of the file which is meant.
    """

    path: str
    location: Path
    size: int
    format: Format
    tensors: tuple[str, ...] | None = None
    state: State | None = None

    @property
    def is_notebook(self) -> bool:
        """Whether it is a notebook, which the pictures in it make large."""
        return self.path.lower().endswith(".ipynb")

    @property
    def is_read(self) -> bool:
        """Whether people read it, and may do what it says."""
        return self.is_notebook or _PROSE.fullmatch(PurePosixPath(self.path).name) is not None

    @property
    def text_limit(self) -> int:
        """How many bytes of text are looked at."""
        return MAX_NOTEBOOK if self.is_notebook else MAX_PROSE if self.is_read else MAX_TEXT

    def read(self, limit: int = MAX_TEXT) -> bytes | None:
        """The content, or ``None`` if it is longer than ``limit`` or cannot be read: then somebody else has said so.

        Raises FormatError if another file lies there.
        """
        return read_bounded(self.location, limit, self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The parts by path. ``name`` is that of a Hub repository; ``left_out`` are paths that were not selected."""

    parts: Mapping[str, Part] = field(default_factory=dict)
    name: str | None = None
    left_out: Sequence[str] = ()

    def of(self, *kinds: Format) -> Iterator[Part]:
        """The parts of some formats, in the order of the artifact."""
        return (part for part in self.parts.values() if part.format in kinds)

    @property
    def has_texts(self) -> bool:
        """Whether a part is a text of any kind, configuration and code included."""
        return any(part.format in _TEXTS for part in self.parts.values())

    @property
    def texts(self) -> Iterator[tuple[Part, str]]:
        """What people and loaders read, with its text: no vocabularies, nothing above its limit."""
        for part in self.of(*_TEXTS):
            limit = part.text_limit
            if part.size > limit or _DATA.fullmatch(PurePosixPath(part.path).name):
                continue
            content = part.read(limit)
            if content is not None:
                yield part, content.decode("utf-8", "replace")

    @property
    def roots(self) -> frozenset[str]:
        """The folders that somebody would work in: the artifact's own, and each with a model's configuration.

        Those of the parts of a diffusion pipeline are among them: a file there comes before the library of its name.
        """
        places = [PurePosixPath(path) for path in self.parts]
        pipelines = {place.parent for place in places if place.name in _PIPELINE}
        folders = {place.parent for place in places if place.name in _HEART or place.parent.parent in pipelines}
        return frozenset({".", *map(str, folders)})
