"""Keys of a configuration that make a loader fetch, import or run something, at any depth.

Rules it keeps:

1. A key counts by its name, wherever it stands: loaders look into nested configurations, too.
2. The Python names that it gives stand in the evidence of the finding (``code``), so that the files they lead to can be
   judged where the whole artifact is known.
3. The work is linear in the value, aliases of YAML included: a container is looked into once, and what stands in it
   belongs to the first key that leads there.

Source of the keys: ``transformers/dynamic_module_utils.py`` and ``pipelines/__init__.py`` (``auto_map``,
``custom_pipelines``, ``trust_remote_code``), ``integrations/hub_kernels.py`` (repositories of kernels), Hydra
(``_target_``), torchtune (``_component_``), latent diffusion and NeMo (``target``), Lightning's command line
(``class_path``), PEFT (``parent_library``, ``megatron_core``), MLflow (``loader_module``, ``code``,
``model_code_path``), MLX (``model_file``), Fiddle as NeMo 2 writes it (``pyref``), pyannote (``pipeline``,
``preprocessors``), GluonTS (``__kind__``), jsonpickle (``py/object`` and its like),
sentence-transformers and its cross encoders (activation functions), MMEngine (``custom_imports``), fairseq
(``user_dir``), ONNX Runtime's generator (``custom_ops_library``), Ultralytics (``download``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.formats.dotted_names import LONGEST_NAME, harm_of, judge_name, of_library
from aiverify.formats.part_lists import judge_parts
from aiverify.rules import finding

MAX_FINDINGS = 100  # of one severity
_MAX_NAMES = 1_000
_LONGEST_PATH = 200
_LONGEST_VALUE = 200
_LONGEST_KEY = 100
_SHOWN, _SHOWN_ITEMS, _SHOWN_DEPTH = 300, 20, 2
_CODE_KEYS = frozenset(("auto_map", "custom_pipelines", "custom_pipeline", "custom_imports", "user_dir"))
_CALLED_KEYS = frozenset(
    (
        *("_target_", "_component_", "class_path", "_class_path"),
        *("py/object", "py/function", "py/type", "py/mod"),
    )
)
_IMPORTED_KEYS = frozenset(("parent_library", "megatron_core", "loader_module"))
#: Modules whose names alone do nothing, as Fiddle writes them of tables, paths and its own classes.
_PLAIN_MODULES = frozenset(
    ("builtins", "collections", "datetime", "enum", "fiddle", "functools", "nemo_run", "pathlib", "typing")
)
#: A name of Python, and not of a file or a host.
_DOTTED = re.compile(
    r"[A-Za-z_]\w{0,60}(?:\.[A-Za-z_]\w{0,60}){1,6}(?<!\.(?:json|yaml|onnx|html|jpeg|ckpt))"
    r"(?<!\.(?:txt|bin|pth|pkl|npz|npy|png|jpg|gif|svg|wav|mp3|mp4|csv|zip|tar|xml|yml|cfg|com|org|net|dev|app|log))"
    r"(?<!\.(?:py|pt|gz|md|h5|so|io|ai|co|js|ts|sh))"
)
_SOURCE_KEYS = frozenset(("model_code_path", "model_file"))
_SOURCE = re.compile(r"((?:\w[\w.-]{0,100}/|\.{1,2}/){0,10}\w[\w.-]{0,100}\.py)(?::\w{1,100})?")
_ACTIVATION_KEY = re.compile(r"(?:\w+_)?activation_(?:function|fn)")
#: Where libraries keep activations: sentence-transformers calls whatever begins with "torch.".
_ACTIVATIONS = ("torch.nn.", "transformers.activations.", "sentence_transformers.")
# `org/name`, with a revision and an entry: how kernels are named, as transformers takes them apart.
_REPOSITORY = re.compile(r"(?:[^|]*\|)*[^/:|]+/[^/:]+(?::[^/:]+)?")
_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_KERNEL_KEY = re.compile(
    r"_*(?:\w+_)?(?:attn|attention|experts|kernels?)_?(?:implementation\w*|mapping|config|repo\w*)?"
)
_OPENED_KEY = re.compile(r"\w*_(?:file|path|dir|folder)|\w+_files|(?:weights|checkpoint|model)_(?:url|uri)")
#: Keys that loaders replace by the place where they found the file, or that only remember where it came from.
_REMEMBERED = frozenset(("name_or_path", "_name_or_path", "special_tokens_map_file", "tokenizer_file"))
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
_CLASS = re.compile(r"(?:[^\W\d]\w*\.)+_*[A-Z]\w*")


def judge_keys(value: object, path: str) -> list[Finding]:
    """What the keys of ``value``, the parsed content of the file ``path``, make a loader do."""
    findings: list[Finding] = []
    said: Counter[Severity] = Counter()
    walked: set[int] = set()
    for where, key, inner, beside in keys(value):
        for item in _judged(where, key, inner, beside, path, walked):
            said[item.severity] += 1
            if said[item.severity] <= MAX_FINDINGS:
                findings.append(item)
    return findings + judge_parts(value, path)


def keys(value: object) -> Iterator[tuple[str, str, object, Mapping[object, object]]]:
    """Every key at any depth: its path, the key, its value, the object it stands in. Iterative; each container once."""
    pending: list[tuple[str, object]] = [("", value)]
    seen: set[int] = set()
    while pending:
        where, item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            for key, inner in item.items():
                path = f"{where}.{key}"[-_LONGEST_PATH:] if where else str(key)[:_LONGEST_PATH]
                yield path, str(key), inner, item
                if isinstance(inner, dict | list):
                    pending.append((path, inner))
        elif isinstance(item, list):
            pending += [
                (f"{where}[{index}]", inner) for index, inner in enumerate(item) if isinstance(inner, dict | list)
            ]


def strings(value: object, seen: set[int] | None = None) -> Iterator[str]:
    """Every string in ``value``, at any depth. Containers whose ids are ``seen`` are passed over; all met are added."""
    pending = [value]
    seen = set() if seen is None else seen
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list) and id(item) not in seen:
            seen.add(id(item))
            pending += reversed(list(item.values()) if isinstance(item, dict) else item)


def is_set(value: object) -> bool:
    """Whether a flag is on. YAML gives text here, where only some words mean no."""
    return bool(value) and not (
        isinstance(value, str) and value.lower() in ("false", "no", "off", "n", "0", "null", "~")
    )


def _judged(
    where: str, key: str, inner: object, beside: Mapping[object, object], path: str, walked: set[int]
) -> Iterator[Finding]:
    """What one key says. ``walked`` are the ids of the containers that were searched for names."""
    if key in _CODE_KEYS and is_set(inner):
        yield _code(where, inner, path, walked)
    elif key == "trust_remote_code" and is_set(inner):
        yield finding("AIV501", f"{where} asks the loader to run remote code", file=path, evidence={"key": where})
    elif len(key) > _LONGEST_KEY:
        return
    elif _KERNEL_KEY.fullmatch(key) and ("impl" in key or "kernel" in key):
        for name in strings(inner, walked):
            if len(name) < LONGEST_NAME and _REPOSITORY.fullmatch(name):
                text = f"{where} names a repository of code: {name[:_LONGEST_VALUE]}"
                evidence = {"key": where, "repository": name[:_LONGEST_VALUE]}
                yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence=evidence)
    elif isinstance(inner, str) and inner:
        yield from _named(where, key, inner, beside, path)
    elif key not in _REMEMBERED and _OPENED_KEY.fullmatch(key):
        yield from judge_places(where, inner, path, walked)


def _code(where: str, inner: object, path: str, walked: set[int]) -> Finding:
    names = list(islice((name for name in strings(inner, walked) if name), _MAX_NAMES + 1))
    # Names beyond the limits are not followed, so that what they lead to cannot be told.
    unknown = len(names) > _MAX_NAMES or any(len(name) > LONGEST_NAME for name in names)
    evidence = {"key": where, "code": [name[:LONGEST_NAME] for name in names[:_MAX_NAMES]]}
    severity = Severity.HIGH if unknown else None
    return finding("AIV501", f"{where} names code: {_shown(inner)}", file=path, severity=severity, evidence=evidence)


def _named(where: str, key: str, inner: str, beside: Mapping[object, object], path: str) -> Iterator[Finding]:
    """What a key says whose value is a text: a name to import, a program, or a place."""
    if key in _CALLED_KEYS or _is_called(where, key, inner, beside):
        yield from judge_name(where, inner, path)
    elif key == "module" and beside.get("type") == "pyref" and isinstance(beside.get("name"), str):
        name = f"{inner}.{beside['name']}"
        if harm_of(name[:LONGEST_NAME]) is not None or inner.partition(".")[0] not in _PLAIN_MODULES:
            yield from judge_name(where, name, path)
    elif key in _IMPORTED_KEYS:
        yield from judge_name(where, inner, path, called=False)
    elif key == "code" and "loader_module" in beside:
        text = f"{where} has Python look for modules in a folder of the artifact first: {inner[:_LONGEST_VALUE]}"
        names = [f"{inner.replace('/', '.')}.{beside['loader_module']}"[:LONGEST_NAME]]
        yield finding("AIV501", text, file=path, evidence={"key": where, "code": names})
    elif "." in inner and _ACTIVATION_KEY.fullmatch(key):
        if not inner.startswith(_ACTIVATIONS):
            yield from judge_name(where, inner, path)
            if of_library(inner) and harm_of(inner) is None:
                yield finding("AIV501", f"{where} has {inner[:_LONGEST_VALUE]} called", file=path)
    elif key in _SOURCE_KEYS or (".py" in inner and _SOURCE.fullmatch(inner)):
        # Who knows which other keys a loader runs: a file of this name, if there is one, is judged as if it were run.
        source = _SOURCE.fullmatch(inner)
        evidence = {"key": where, "code": [source[1] if source is not None else inner[:LONGEST_NAME]]}
        text = f"{where} names a Python file: {inner[:_LONGEST_VALUE]}"
        severity = None if key in _SOURCE_KEYS else Severity.LOW
        yield finding("AIV501", text, file=path, severity=severity, evidence=evidence)
        yield from judge_places(where, inner, path)
    elif key == "custom_ops_library":
        text = f"{where} has a native library loaded: {inner[:_LONGEST_VALUE]}"
        yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence={"key": where})
    elif key == "download" and (inner.lstrip().startswith("bash ") or "import " in inner):
        text = f"{where} is a program that a loader runs: {inner[:_LONGEST_VALUE]}"
        yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence={"key": where})
    elif (
        key not in _REMEMBERED and key.endswith("name_or_path") and (key.startswith("base_") or _MODEL.fullmatch(inner))
    ):
        text = f"{where} has the loader fetch another model: {inner[:_LONGEST_VALUE]}"
        yield finding("AIV510", text, file=path, severity=Severity.INFO, evidence={"key": where})
    elif key not in _REMEMBERED and _OPENED_KEY.fullmatch(key):
        yield from judge_places(where, inner, path)
    elif "." in inner and _DOTTED.fullmatch(inner) and (harm := harm_of(inner)) is not None:
        text = f"{where} names {inner}, which {harm}"
        yield finding("AIV501", text, file=path, evidence={"key": where})


def _is_called(where: str, key: str, name: str, beside: Mapping[object, object]) -> bool:
    """Whether ``name`` is a class or a function that is called, under a key that other files have, too."""
    if key == "class":
        return "__kind__" in beside
    if key == "name":  # pyannote and Rasa: what makes a pipeline or a part of it, and what prepares what goes in
        parts = where.split(".")
        return "." in name and (parts[-2:][0].partition("[")[0] == "pipeline" or "preprocessors" in parts[-3:])
    arguments = "params" in beside or "init_args" in beside
    return (
        key == "target"
        and "." in name
        and (arguments or "${" in name or _CLASS.fullmatch(name) is not None or harm_of(name) is not None)
    )


def judge_places(where: str, inner: object, path: str, walked: set[int] | None = None) -> Iterator[Finding]:
    """AIV510 for places outside of the artifact that a loader may open because the key ``where`` names them."""
    if isinstance(inner, list) and walked is not None:
        if id(inner) in walked:
            return
        walked.add(id(inner))
    for place in [inner] if isinstance(inner, str) else inner if isinstance(inner, list) else ():
        if not isinstance(place, str) or len(place) > 4096 or "\n" in place:
            continue
        if _URL.match(place):
            kind, severity = "a place on the network", Severity.LOW
        elif ".." in PurePosixPath(place.replace("\\", "/")).parts:
            kind, severity = "a file outside of the artifact", Severity.MEDIUM
        elif place.startswith(("/", "~", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", place):
            kind, severity = "a place on the publisher's machine, or on yours", Severity.INFO
        else:
            continue
        text = f"{where} names {kind}: {place[:_LONGEST_VALUE]}"
        yield finding("AIV510", text, file=path, severity=severity, evidence={"key": where})


def _shown(value: object) -> str:
    """The beginning of ``value`` as JSON. No more is looked at: aliases may stand for more than the file holds."""
    return json.dumps(_beginning(value, 0))[:_SHOWN]


def _beginning(value: object, depth: int) -> object:
    if isinstance(value, str):
        return value[:_SHOWN]
    if isinstance(value, dict | list) and depth > _SHOWN_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {str(key)[:_SHOWN]: _beginning(item, depth + 1) for key, item in islice(value.items(), _SHOWN_ITEMS)}
    return [_beginning(item, depth + 1) for item in value[:_SHOWN_ITEMS]] if isinstance(value, list) else value
