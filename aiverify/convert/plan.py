"""What a conversion is made of: the values that the stages of it hand to each other, and how it fails.

A ``ConversionPlan`` exists only if it is valid: every tensor of the checkpoint has a legal name, a type that
safetensors knows and bytes that lie inside the source file; every name is stored, or an alias of one that is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiverify.errors import AiverifyError
from aiverify.formats.checkpoint import Inflated, StorageRange
from aiverify.formats.safetensors import shown
from aiverify.report import Dropped


class ConversionError(AiverifyError):
    """A twin could not be planned or written. No file was left behind."""


class NotConvertibleError(ConversionError):
    """The checkpoint holds something that has no place in a safetensors file, and that must not be lost in silence.

    ``path`` names the tensor or the place inside the checkpoint (empty: the whole of it), ``reason`` says why.
    """

    def __init__(self, path: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{shown(path) if path else 'the checkpoint'}: {reason}", hint=hint)
        self.path = path
        self.reason = reason


class SourceChangedError(ConversionError):
    """The source file is not, or is no longer, the one that the plan was made for."""


class StorageChecksumError(ConversionError):
    """The CRC-32 of an archive entry differs from its bytes. ``storage`` is the key that the checkpoint gives it.

    ``source`` is the path of the checkpoint, where several are converted.
    """

    source: str | None = None

    def __init__(self, storage: str, stated: int, found: int) -> None:
        super().__init__(f"storage {shown(storage)}: its CRC-32 is {found:08x}, the archive states {stated:08x}")
        self.storage = storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedStorage:
    """A storage that tensors of the twin are taken from."""

    key: str
    range: StorageRange


@dataclass(frozen=True, slots=True)
class Lowered:
    """A tensor that safetensors cannot hold and that was taken apart: ``form`` says how, ``facts`` what else it needs.

    ``facts`` are JSON values by name; ``parts`` among them are the names of the tensors that are stored of it.
    """

    name: str
    form: str
    facts: Mapping[str, object]


class Transform(enum.StrEnum):
    """What happens to the bytes of a tensor on their way into the twin.

    ``copy`` promises that the bytes in the twin are the source range, byte for byte. ``inflate`` stands for everything
    that is done with a compressed source range, gathering and swapping included; ``flip`` for everything that is done
    with a tensor some of whose bits are flipped.
    """

    COPY = "copy"
    GATHER = "gather"
    BYTESWAP = "byteswap"
    GATHER_BYTESWAP = "gather+byteswap"
    INFLATE = "inflate"
    FLIP = "flip"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """One tensor that the twin stores.

    ``dtype`` and ``shape`` are what its header says. ``source_offset`` and ``source_length`` are the bytes of the
    source file from its first to its last element, ``offset`` and ``length`` its bytes in the data part of the twin.
    ``size`` and ``stride`` count elements of ``itemsize`` bytes, as torch does; ``swap`` is the width in bytes that is
    reversed; ``flip`` is, after that, a pattern of bits to flip, over and over (empty: none). With ``inflated`` the
    source range is a whole deflated entry, and the first element stands ``skip`` bytes into what comes out of it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    transform: Transform
    storage: str
    source_offset: int
    source_length: int
    offset: int
    length: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    itemsize: int
    swap: int = 1
    flip: bytes = b""
    inflated: Inflated | None = None
    skip: int = 0

    @property
    def span(self) -> int:
        """Bytes from the first to the last element, as they lie in the storage."""
        steps = sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        return (steps + 1) * self.itemsize if self.length else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """How to write one twin.

    ``tensors`` are in the order of their bytes in the twin. ``aliases`` are pairs of a removed name and the stored name
    that stands for it. ``lowered`` are tensors of the checkpoint that are stored in another form. ``metadata`` is what
    the header says besides, ``header`` everything before the data: the length and the padded JSON. Sizes are in bytes.
    """

    tensors: tuple[PlannedTensor, ...]
    aliases: tuple[tuple[str, str], ...]
    dropped: tuple[Dropped, ...]
    storages: tuple[ConsumedStorage, ...]
    header: bytes
    source_size: int
    output_size: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    lowered: tuple[Lowered, ...] = ()

    @property
    def names(self) -> int:
        """How many tensors the checkpoint has, aliases included."""
        return len(self.tensors) + len(self.aliases)
