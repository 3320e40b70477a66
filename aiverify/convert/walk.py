"""Which tensors of a checkpoint go into its twin, under which names, and what stays behind.

Rules it keeps:

1. The checkpoint is a dict or a module. If a dict has exactly one entry that holds tensors, training state aside, and
   its name is among ``WRAPPERS`` or ``SOLE_WRAPPERS``, that entry is the model, and its name is no part of the names of
   tensors. Tensors beside a lone wrapper of the first kind, under a name that is of neither kind, are refused: its
   loaders would not see them. In all other cases the whole checkpoint is the model, so that a model and its average,
   or a generator and its discriminator, stand side by side in the twin under their own names.
2. The name of a tensor is its path through the dicts, lists and modules of the model, joined by dots; inside a module
   it is what ``state_dict()`` calls it.
3. What holds no tensors is left behind, and listed. What holds tensors and is no plain tensor, dict, list, tuple or
   module is refused. Something that holds tensors is left behind, and listed, only at the top (what has the shape of
   an optimiser's state; ``TRAINING_STATE``, single numbers such as a loss, and the state of torch's randomness beside
   a wrapper), and in modules (what ``state_dict()`` leaves out).
4. Two names for one dict or list, names given twice, keys that are not text, and names that cannot be shown are
   refused. One module in two places gives one tensor two names, as in torch.

Source of the names: torch's examples for saving checkpoints, Lightning's ``dump_checkpoint``, the training scripts of
timm, fairseq, MAE and transformers, DeepSpeed's ``_save_checkpoint`` (``module``), SlowFast and pycls
(``model_state``), and for averages and parts BasicSR (``params``, ``params_ema``), ultralytics (``ema``), timm
(``state_dict_ema``), DeiT (``model_ema``), HiFi-GAN (``generator``) and pytorch-cifar (``net``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiverify.convert.containers import is_mapping, read_mapping
from aiverify.convert.holdings import MAX_VALUES, holders
from aiverify.convert.lowering import Lowering, is_special, lowered_special, lowered_view
from aiverify.convert.modules import is_object, read_module
from aiverify.convert.plan import Lowered, NotConvertibleError
from aiverify.convert.tensors import View, is_tensor, read_tensor, unwrapped
from aiverify.convert.wording import MAX_NAME, article, shown_path, type_of
from aiverify.formats.safetensors import MAX_TENSORS, is_plain
from aiverify.pickles.graph import Dictionary, Value
from aiverify.report import Dropped

WRAPPERS = frozenset({"model", "model_state_dict", "state_dict"})
SOLE_WRAPPERS = frozenset(
    {
        "ema",
        "generator",
        "model_ema",
        "model_state",
        "module",
        "net",
        "params",
        "params_ema",
        "state_dict_ema",
    }
)

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
_RANDOM = frozenset({"cuda_rng_state", "rng_state", "torch_rng_state"})

MAX_ENTRIES = MAX_TENSORS
MAX_SHARED = 10_000  # how often modules may be met again: sharing that doubles at every level ends here
RESERVED = "__metadata__"
ROOT = "(root)"

_OPTIMIZER = frozenset({"state", "param_groups"})
_NOT_A_DICT = "Only dicts of tensors and torch modules can become a safetensors file. Save model.state_dict() instead."


@dataclass(slots=True)
class Selection:
    """Named views in the order of the pickle, and what is left behind."""

    views: dict[str, View] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    lowered: list[Lowered] = field(default_factory=list)


def select(root: Value, *, lower: bool = False) -> Selection:
    """Sort the values of a checkpoint into tensors and what is left behind. Raises NotConvertibleError.

    With ``lower``, what safetensors cannot hold is taken apart where that loses nothing.
    """
    return _Walk(root, lower=lower).run()


class _Walk:
    """One walk over one checkpoint, without recursion. Each container is entered once."""

    def __init__(self, root: Value, *, lower: bool) -> None:
        self.root = root
        self.lower = lower
        self.holders = holders(root)
        self.selection = Selection()
        self.attributes: list[tuple[str, Value]] = []
        self.entered: set[int] = set()
        self.inside: set[int] = set()
        self.shared = 0
        self.count = 0
        self.read = 0
        self.prefix = ""

    def run(self) -> Selection:
        if not is_mapping(self.root) and not is_object(self.root):
            raise NotConvertibleError("", f"it is {article(type_of(self.root))}, not a dict", hint=_NOT_A_DICT)
        pending = [self._model()]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
            elif id(entry[1]) not in self.holders:
                self._drop(*entry)
            elif is_tensor(entry[1]) or is_special(entry[1]):
                self._add(*entry)
            else:
                pending.append(self._entries(*entry))
        self._drop_attributes()
        if not self.selection.views:
            raise NotConvertibleError("", "it holds no tensors")
        return self.selection

    def _model(self) -> Iterator[tuple[str, Value]]:
        """The entries of the model, by rules 1 and 3; what else stands at the top is left behind."""
        if not is_mapping(self.root):
            yield from self._entries("", self.root)
            return
        top = list(self._entries("", self.root))
        wrapped = {path: value for path, value in top if self._is_wrapper(path, value)}
        kept: list[tuple[str, Value]] = []
        for path, value in top:
            if self._is_training_state(path, value, beside=bool(wrapped)):
                self._drop(path, value, what=" with tensors")
            elif WRAPPERS.intersection(wrapped) and _is_figure(path, value):
                self._drop(path, value, what=" beside the model")
            else:
                kept.append((path, value))
        main = [path for path in wrapped if path in WRAPPERS]
        beside = [path for path, value in kept if id(value) in self.holders and path not in wrapped]
        if len(wrapped) == 1 and main and beside:
            raise NotConvertibleError(beside[0], f"tensors beside the model in {main[0]!r} would be lost")
        if len(wrapped) != 1 or beside:
            yield from kept
            return
        ((wrapper, model),) = wrapped.items()
        for path, value in kept:
            if value is not model:
                self._drop(path, value)
        self.prefix = f"{wrapper}."
        yield from self._entries(wrapper, model)

    def _is_wrapper(self, path: str, value: Value) -> bool:
        known = path in WRAPPERS or path in SOLE_WRAPPERS
        return known and id(value) in self.holders and (is_mapping(value) or is_object(value))

    def _is_training_state(self, path: str, value: Value, *, beside: bool) -> bool:
        """Whether an entry that holds tensors is no part of a model; ``beside`` tells that it stands beside one."""
        if id(value) not in self.holders:
            return False
        return _is_optimizer(value) or (beside and path in TRAINING_STATE and not is_tensor(value))

    def _entries(self, path: str, value: Value) -> Iterator[tuple[str, Value]]:
        """The entries of a container that holds tensors, each with its path."""
        if len(path) > MAX_NAME:
            raise NotConvertibleError(path, f"a path of more than {MAX_NAME} characters")
        entries = (self._of_module if is_object(value) else self._of_container)(path, value)
        for entry in entries:
            self.count += 1
            if self.count > MAX_ENTRIES:
                raise NotConvertibleError("", f"it has more than {MAX_ENTRIES} entries")
            yield entry

    def _of_container(self, path: str, value: Value) -> Iterator[tuple[str, Value]]:
        if id(value) in self.entered:
            raise NotConvertibleError(path, "the same dict or list stands in two places, or inside itself")
        self.entered.add(id(value))
        if isinstance(value, list | tuple):
            return ((_join(path, str(index)), item) for index, item in enumerate(value))
        mapping = read_mapping(value, path)
        if mapping is None:
            raise NotConvertibleError(path, f"{article(type_of(value))} that holds tensors", hint=_NOT_A_DICT)
        self.attributes += [(_join(path, name), attribute) for name, attribute in mapping.attributes]
        return self._keyed(path, mapping.pairs)

    def _of_module(self, path: str, value: Value) -> Iterator[tuple[str, Value]]:
        """The tensors and modules of a module; its class, and what ``state_dict()`` leaves out, are left behind."""
        if id(value) in self.inside:
            raise NotConvertibleError(path, "a module stands inside itself")
        self.shared += id(value) in self.entered
        if self.shared > MAX_SHARED:
            raise NotConvertibleError(path, f"modules stand in more than {MAX_SHARED} places besides their first")
        self.entered.add(id(value))
        self.inside.add(id(value))
        node = read_module(value, path)
        self.read += len(node.tensors) + len(node.modules) + len(node.attributes)
        if self.read > MAX_VALUES:
            raise NotConvertibleError("", f"its modules have more than {MAX_VALUES} attributes")
        self._drop(path or ROOT, value, what=" (the class and its settings)")
        for name, attribute in node.attributes:
            if id(attribute) in self.holders:
                self._drop(_join(path, name), attribute, what=" that state_dict() leaves out")
        for name, held in (*node.tensors, *node.modules):
            yield _join(path, name), held
        self.inside.remove(id(value))

    def _keyed(self, path: str, pairs: Sequence[tuple[Value, Value]]) -> Iterator[tuple[str, Value]]:
        names: set[str] = set()
        for key, value in pairs:
            if isinstance(key, str):
                if key in names:
                    raise NotConvertibleError(_join(path, key), "the key stands twice in one dict")
                names.add(key)
                yield _join(path, key), value
            elif id(value) in self.holders:
                raise NotConvertibleError(path, f"a key that is {article(type_of(key))}, not text")
            elif key is None or isinstance(key, bool | int | float):
                yield _join(path, f"[{key}]"), value
            else:
                raise NotConvertibleError(path, f"a key that is {article(type_of(key))}: what it equals is not known")

    def _add(self, path: str, value: Value) -> None:
        name = path.removeprefix(self.prefix)
        value, attributes = unwrapped(value, path)
        if is_special(value):
            lowering: Lowering | None = lowered_special(value, name, wanted=self.lower)
        else:
            node = read_tensor(value, path)
            attributes = (*attributes, *node.attributes)
            lowering = lowered_view(node.view, name, wanted=self.lower)
            if lowering is None:
                self._name(name, path, node.view)
        self.attributes += [(_join(path, attribute), held) for attribute, held in attributes]
        if lowering is not None:
            for word, view in lowering.parts.items():
                self._name(_join(name, word) if word else name, path, view)
            self.selection.lowered.append(lowering.record)

    def _name(self, name: str, path: str, view: View) -> None:
        if name == RESERVED or not name or len(name) > MAX_NAME or not is_plain(name):
            raise NotConvertibleError(path, "not a name that a tensor may have")
        if name in self.selection.views:
            raise NotConvertibleError(path, "two tensors have this name")
        self.selection.views[name] = view

    def _drop(self, path: str, value: Value, what: str = "") -> None:
        self.selection.dropped.append(Dropped(path=shown_path(path), type=type_of(value) + what))

    def _drop_attributes(self) -> None:
        holding = holders([value for _, value in self.attributes])
        for path, value in self.attributes:
            if id(value) in holding:
                raise NotConvertibleError(path, "an attribute that holds tensors")
            self._drop(path, value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_figure(path: str, value: Value) -> bool:
    """Whether ``value`` is a tensor that training scripts keep beside a model: one number, or a state of randomness."""
    if not is_tensor(value):
        return False
    view = read_tensor(value, path).view
    return not view.size or (path in _RANDOM and len(view.size) == 1 and view.dtype.torch == "uint8")


def _is_optimizer(value: Value) -> bool:
    """Whether ``value`` has the shape of ``torch.optim.Optimizer.state_dict()``, or is a list of such."""
    candidates = value if isinstance(value, list) and value else [value]
    return all(
        isinstance(candidate, Dictionary) and {key for key, _ in candidate.pairs if isinstance(key, str)} >= _OPTIMIZER
        for candidate in candidates
    )
