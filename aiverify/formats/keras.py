"""The configuration of a Keras model: JSON that says which classes are imported and called, read as data.

A loader walks the configuration and makes an object of every dict with a ``class_name``; what is looked for is what
does more than that:

- Lambda layers: marshalled code that runs when the model is loaded or called. It is read without unmarshalling it, and
  shown.
- Layers that load something else: saved models, pickled torch modules, vocabularies from a path or URL.
- Classes and functions of other modules than Keras' own: they are imported by name.
- Functions of Keras that are no layers, losses or the like: among them are ones that write files.

Sources: keras 3.15, ``saving/serialization_lib.py``, ``layers/core/lambda_layer.py``, ``utils/jax_layer.py``,
``utils/torch_utils.py``, ``layers/preprocessing``; keras 2, ``saving/legacy``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from aiverify.finding import Finding, Severity
from aiverify.formats.complaints import Complaints
from aiverify.formats.interface import Examination, Format
from aiverify.formats.marshalled import MarshalError, read_code
from aiverify.formats.safetensors import shown
from aiverify.pickles.graph import Global
from aiverify.pickles.tables import danger

MAX_CODE = 1 << 20
MAX_SHOWN = 200

_OWN = ("keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv", "tensorflow.python.keras", "tensorflow.keras")
#: Parts of Keras whose functions a configuration may name: they compute.
_COMPUTING = frozenset(
    ("activations", "initializers", "losses", "metrics", "constraints", "regularizers", "ops", "optimizers", "backend")
)
#: Losses and activations: Keras writes them as functions of ``builtins``, and finds them by these names.
_FUNCTIONS = frozenset(
    (
        *("BCE", "KLD", "MAE", "MAPE", "MSE", "MSLE", "bce", "binary_accuracy", "binary_crossentropy"),
        *("binary_focal_crossentropy", "categorical_accuracy", "categorical_crossentropy"),
        *("categorical_focal_crossentropy", "categorical_hinge", "celu", "circle", "cosine_similarity", "ctc"),
        *("dice", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish"),
        *("hard_tanh", "hinge", "huber", "kl_divergence", "kld", "leaky_relu", "linear", "log_cosh"),
        *("log_sigmoid", "log_softmax", "mae", "mape", "mean_absolute_error", "mean_absolute_percentage_error"),
        *("mean_squared_error", "mean_squared_logarithmic_error", "mish", "mse", "msle", "poisson", "relu"),
        *("relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign"),
        *("sparse_categorical_accuracy", "sparse_categorical_crossentropy", "sparse_plus", "sparse_sigmoid"),
        *("sparse_top_k_categorical_accuracy", "sparsemax", "squared_hinge", "squareplus", "swish", "tanh"),
        *("tanh_shrink", "threshold", "top_k_categorical_accuracy", "tversky"),
    )
)
_VALUES = frozenset(("__lambda__", "__numpy__", "__tensor__", "__bytes__", "__tuple__", "__ellipsis__", "__complex__"))
_LOADS = {
    "TFSMLayer": ("filepath", "loads and runs a TensorFlow saved model"),
    "TorchModuleWrapper": ("module", "unpickles a torch module"),
    "JaxLayer": ("call_fn", "calls a function of the process"),
    "FlaxLayer": ("module", "makes a Flax module of a class of the process"),
}
_VOCABULARIES = frozenset(("StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup"))


class _Judge:
    def __init__(self, path: str, member: str | None) -> None:
        self.examination = Examination(format=Format.KERAS)
        self.complaints = Complaints(self.examination, path, member)

    def say(self, rule: str, text: str, severity: Severity | None = None, **evidence: object) -> None:
        self.complaints.say(rule, text, severity=severity, evidence=evidence)


def judge_configuration(config: object, path: str, member: str | None = None) -> list[Finding]:
    """What the configuration of a model makes its loader do besides making layers."""
    judge = _Judge(path, member)
    for where, entry in _objects(config):
        _judge(judge, where, entry)
    return judge.examination.findings


def _objects(config: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every dict with a class name, and the name of the nearest layer around it. Iterative."""
    pending: list[tuple[str, object]] = [("model", config)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            inner = value.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            where = name if isinstance(name, str) else where
            if isinstance(value.get("class_name"), str):
                yield where, value
            pending += [(where, item) for item in value.values()]
        elif isinstance(value, list):
            pending += [(where, item) for item in value]


def _judge(judge: _Judge, where: str, entry: Mapping[str, object]) -> None:
    name, config = str(entry["class_name"]), entry.get("config")
    settings = config if isinstance(config, dict) else {}
    layer = f"layer {shown(where)}"
    if name == "Lambda":
        _lambda(judge, layer, settings)
    elif name == "__lambda__":
        value = settings.get("code", settings.get("value"))  # of a Lambda layer; of any other object
        _code(judge, layer, value[0] if isinstance(value, list) and value else value)
    elif name in _LOADS:
        key, what = _LOADS[name]
        judge.say("AIV411", f"{layer} ({name}) {what}", value=_text(settings.get(key)))
    elif name in _VOCABULARIES and isinstance(settings.get("vocabulary"), str):
        judge.say("AIV415", f"{layer} ({name}) reads its vocabulary from {shown(str(settings['vocabulary']))}")
    elif name == "function":
        _function(judge, layer, entry)
    elif name not in _VALUES:
        _imported(judge, layer, entry, name)


def _lambda(judge: _Judge, layer: str, settings: Mapping[str, object]) -> None:
    """A Lambda layer: its function is marshalled code (a list in Keras 2), or the name of one of the process."""
    function = settings.get("function")
    if isinstance(function, list) and function:
        _code(judge, layer, function[0])
    elif isinstance(function, str) and settings.get("function_type") == "lambda":
        _code(judge, layer, function)
    elif isinstance(function, str):
        judge.say("AIV413", f"{layer} (Lambda) calls a function {shown(function)} of the process")
    for key in ("output_shape", "mask"):
        if settings.get(f"{key}_type") == "lambda":
            value = settings.get(key)
            _code(judge, layer, value[0] if isinstance(value, list) and value else value)


def _code(judge: _Judge, layer: str, encoded: object) -> None:
    """Say what marshalled code uses. Code that cannot be read is no less code."""
    try:
        if not isinstance(encoded, str) or len(encoded) > MAX_CODE:
            raise MarshalError("not a string of a reasonable length")
        code = read_code(base64.b64decode(encoded, validate=False))
    except (MarshalError, binascii.Error, ValueError) as error:
        judge.say("AIV411", f"{layer} is code of its own, which cannot be read: {error}")
        return
    parts = list(code.everything())
    names = [name for part in parts for name in part.names]
    constants = [item for part in parts for item in part.constants if isinstance(item, str | bytes)]
    dangers = [name for name in names if _danger(name, name) or _danger("builtins", name)]
    judge.say(
        "AIV411",
        f"{layer} is code of its own" + (f", and names {', '.join(dangers[:10])}" if dangers else ""),
        Severity.CRITICAL if dangers else None,
        names=names[:MAX_SHOWN],
        constants=[str(item)[:MAX_SHOWN] for item in constants[:50]],
        instructions=[line for part in parts for line in part.instructions()][:MAX_SHOWN],
    )


def _function(judge: _Judge, layer: str, entry: Mapping[str, object]) -> None:
    module, name = entry.get("module"), _text(entry.get("config"))
    text = f"{_text(module)}.{name}" if module else name
    if isinstance(module, str) and _is_own(module) and _COMPUTING.intersection(module.split(".")):
        return
    if module in (None, "builtins"):
        registered = entry.get("registered_name")
        registered = None if registered == "function" else registered
        if name in _FUNCTIONS:
            return
        if _danger("builtins", name):
            _foreign(judge, layer, "builtins", name)
            return
        judge.say(
            "AIV413", f"{layer} calls a function {shown(_text(registered) if registered else name)} of the process"
        )
    elif isinstance(module, str) and _is_own(module):
        judge.say("AIV411", f"{layer} calls {shown(text)}, which is no part of a model")
    else:
        _foreign(judge, layer, _text(module), name)


def _imported(judge: _Judge, layer: str, entry: Mapping[str, object], name: str) -> None:
    module, registered = entry.get("module"), entry.get("registered_name")
    if isinstance(module, str) and not _is_own(module):
        _foreign(judge, layer, module, name)
    elif isinstance(module, str) and name[:1].islower() and not _COMPUTING.intersection(module.split(".")):
        judge.say("AIV411", f"{layer} takes {shown(f'{module}.{name}')} for a class, which is no part of a model")
    elif isinstance(registered, str) and ">" in registered and not _is_own(registered.partition(">")[0].lower()):
        judge.say("AIV413", f"{layer} is of the class {shown(registered)}, which whoever loads the model has to bring")


def _foreign(judge: _Judge, layer: str, module: str, name: str) -> None:
    effect = _danger(module, name)
    if effect is not None:
        text = f"{layer} imports {shown(f'{module}.{name}')}, which {effect}"
        judge.say("AIV411", text, Severity.CRITICAL)
    else:
        judge.say("AIV413", f"{layer} imports {shown(f'{module}.{name}')}")


def _text(value: object) -> str:
    """A value as a message may say it; what is no string may be nested without end."""
    return value[:MAX_SHOWN] if isinstance(value, str) else f"<{type(value).__name__}>"


def _is_own(module: str) -> bool:
    return any(module == own or module.startswith(f"{own}.") for own in _OWN)


def _danger(module: str, name: str) -> str | None:
    return danger(Global(module, name, 0, (module, name)))
