"""Which tensors of a checkpoint go into its twin, under which names, and what stays behind.

Rules it keeps:

1. The checkpoint is a dict. If exactly one of ``WRAPPERS`` in it is a dict that holds tensors, that dict is the model,
   and what stands beside it is left behind. Otherwise the whole checkpoint is the model.
2. The name of a tensor is its path through the dicts and lists of the model, joined by dots.
3. What holds no tensors is left behind, and listed. What holds tensors and is no plain tensor, dict, list or tuple is
   refused. Only at the top may something that holds tensors be left behind, and listed: what has the shape of an
   optimiser's state, and ``TRAINING_STATE`` beside a wrapper.
4. Two names for one dict or list, names given twice, keys that are not text, and names that cannot be shown are
   refused.

Source of the names: torch's examples for saving checkpoints, Lightning's ``dump_checkpoint``, and the training scripts
of timm, fairseq and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiverify.convert.containers import is_mapping, read_mapping
from aiverify.convert.holdings import holders
from aiverify.convert.plan import NotConvertibleError
from aiverify.convert.tensors import View, is_tensor, read_tensor
from aiverify.formats.safetensors import MAX_TENSORS, is_plain, shown
from aiverify.pickles.graph import Blob, Call, Dictionary, Extension, Global, Opaque, SetNode, Value
from aiverify.report import Dropped

WRAPPERS = ("state_dict", "model_state_dict", "model")

TRAINING_STATE = frozenset(
    {
        "amp",
        "callbacks",
        "cuda_rng_state",
        "grad_scaler",
        "loops",
        "lr_scheduler",
        "lr_scheduler_state_dict",
        "lr_schedulers",
        "optim",
        "optimizer",
        "optimizer_state",
        "optimizer_state_dict",
        "optimizer_states",
        "optimizers",
        "rng_state",
        "rng_states",
        "scaler",
        "scheduler",
        "scheduler_state_dict",
        "torch_rng_state",
    }
)

MAX_ENTRIES = MAX_TENSORS
MAX_NAME = 4096
RESERVED = "__metadata__"

_OPTIMIZER = frozenset({"state", "param_groups"})
_NOT_A_DICT = "Only a dict of tensors can become a safetensors file. Save model.state_dict() instead of the model."


@dataclass(slots=True)
class Selection:
    """Named views in the order of the pickle, and what is left behind."""

    views: dict[str, View] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)


def select(root: Value) -> Selection:
    """Sort the values of a checkpoint into tensors and what is left behind. Raises NotConvertibleError."""
    return _Walk(root).run()


class _Walk:
    """One walk over one checkpoint, without recursion. Each container is entered once."""

    def __init__(self, root: Value) -> None:
        self.root = root
        self.holders = holders(root)
        self.selection = Selection()
        self.attributes: list[tuple[str, Value]] = []
        self.entered: set[int] = set()
        self.count = 0
        self.prefix = ""

    def run(self) -> Selection:
        if not is_mapping(self.root):
            raise NotConvertibleError("", f"it is {_article(type_of(self.root))}, not a dict", hint=_NOT_A_DICT)
        pending = [self._model()]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
            elif id(entry[1]) not in self.holders:
                self._drop(*entry)
            elif is_tensor(entry[1]):
                self._add(*entry)
            else:
                pending.append(self._entries(*entry))
        self._drop_attributes()
        if not self.selection.views:
            raise NotConvertibleError("", "it holds no tensors")
        return self.selection

    def _model(self) -> Iterator[tuple[str, Value]]:
        """The entries of the model, by rules 1 and 3; what else stands at the top is left behind."""
        top = list(self._entries("", self.root))
        wrapped = [entry for entry in top if self._is_wrapper(*entry)]
        if len(wrapped) != 1:
            for entry in top:
                if id(entry[1]) in self.holders and _is_optimizer(entry[1]):
                    self._drop(*entry, what=" with tensors")
                else:
                    yield entry
            return
        wrapper, model = wrapped[0]
        for path, value in top:
            if value is not model:
                self._leave_behind(path, value, wrapper)
        self.prefix = f"{wrapper}."
        yield from self._entries(wrapper, model)

    def _is_wrapper(self, path: str, value: Value) -> bool:
        return path in WRAPPERS and is_mapping(value) and id(value) in self.holders

    def _leave_behind(self, path: str, value: Value, wrapper: str) -> None:
        """Leave what stands beside the model, unless it could be a part of it."""
        if id(value) not in self.holders:
            self._drop(path, value)
        elif _is_optimizer(value) or (path in TRAINING_STATE and not is_tensor(value)):
            self._drop(path, value, what=" with tensors")
        else:
            raise NotConvertibleError(path, f"tensors beside the model in {wrapper!r} would be lost")

    def _entries(self, path: str, value: Value) -> Iterator[tuple[str, Value]]:
        """The entries of a container that holds tensors, each with its path."""
        if id(value) in self.entered:
            raise NotConvertibleError(path, "the same dict or list stands in two places, or inside itself")
        self.entered.add(id(value))
        if len(path) > MAX_NAME:
            raise NotConvertibleError(path, f"a path of more than {MAX_NAME} characters")
        if isinstance(value, list | tuple):
            entries: Iterator[tuple[str, Value]] = ((_join(path, str(index)), item) for index, item in enumerate(value))
        else:
            mapping = read_mapping(value, path)
            if mapping is None:
                raise NotConvertibleError(path, f"{_article(type_of(value))} that holds tensors", hint=_NOT_A_DICT)
            self.attributes += [(_join(path, name), attribute) for name, attribute in mapping.attributes]
            entries = self._keyed(path, mapping.pairs)
        for entry in entries:
            self.count += 1
            if self.count > MAX_ENTRIES:
                raise NotConvertibleError("", f"it has more than {MAX_ENTRIES} entries")
            yield entry

    def _keyed(self, path: str, pairs: Sequence[tuple[Value, Value]]) -> Iterator[tuple[str, Value]]:
        names: set[str] = set()
        for key, value in pairs:
            if isinstance(key, str):
                if key in names:
                    raise NotConvertibleError(_join(path, key), "the key stands twice in one dict")
                names.add(key)
                yield _join(path, key), value
            elif id(value) in self.holders:
                raise NotConvertibleError(path, f"a key that is {_article(type_of(key))}, not text")
            elif key is None or isinstance(key, bool | int | float):
                yield _join(path, f"[{key}]"), value
            else:
                raise NotConvertibleError(path, f"a key that is {_article(type_of(key))}: what it equals is not known")

    def _add(self, path: str, value: Value) -> None:
        name = path.removeprefix(self.prefix)
        if name == RESERVED or not name or len(name) > MAX_NAME or not is_plain(name):
            raise NotConvertibleError(path, "not a name that a tensor may have")
        if name in self.selection.views:
            raise NotConvertibleError(path, "two tensors have this name")
        node = read_tensor(value, path)
        self.attributes += [(_join(path, attribute), held) for attribute, held in node.attributes]
        self.selection.views[name] = node.view

    def _drop(self, path: str, value: Value, what: str = "") -> None:
        self.selection.dropped.append(Dropped(path=shown_path(path), type=type_of(value) + what))

    def _drop_attributes(self) -> None:
        holding = holders([value for _, value in self.attributes])
        for path, value in self.attributes:
            if id(value) in holding:
                raise NotConvertibleError(path, "an attribute that holds tensors")
            self._drop(path, value)


def type_of(value: Value) -> str:
    """The type of a value, as a word for people; classes and functions by the name that the pickle gives them."""
    if isinstance(value, Call):
        return _shown_name(value.callable.dotted) if isinstance(value.callable, Global) else "object"
    if isinstance(value, Global):
        return f"reference to {_shown_name(value.dotted)}"
    if isinstance(value, SetNode):
        return "frozenset" if value.frozen else "set"
    if isinstance(value, Blob):
        return "str" if value.text else "bytearray" if value.mutable else "bytes"
    named = {Dictionary: "dict", Extension: "extension", Opaque: "literal"}
    return named.get(type(value)) or type(value).__name__


def shown_path(path: str) -> str:
    """A path as a report may print it: unchanged if it is plain, escaped and cut if it is not."""
    return path if len(path) <= MAX_NAME and is_plain(path) else shown(path)


def _shown_name(name: str) -> str:
    return name if len(name) <= 200 and name.isascii() and name.isprintable() else shown(name)


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiouAEIOU' else 'a'} {kind}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_optimizer(value: Value) -> bool:
    """Whether ``value`` has the shape of ``torch.optim.Optimizer.state_dict()``, or is a list of such."""
    candidates = value if isinstance(value, list) and value else [value]
    return all(
        isinstance(candidate, Dictionary) and {key for key, _ in candidate.pairs if isinstance(key, str)} >= _OPTIMIZER
        for candidate in candidates
    )
