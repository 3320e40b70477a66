"""Keys of a configuration that make a loader fetch, import or run something, at any depth.

Rules it keeps:

1. A key counts by its name, wherever it stands: loaders look into nested configurations, too.
2. The Python names that it gives stand in the evidence of the finding (``code``), so that the files they lead to can be
   judged where the whole artifact is known.
3. The work is linear in the value, aliases of YAML included: a container is looked into once, and what stands in it
   belongs to the first key that leads there.

Source of the keys: ``transformers/dynamic_module_utils.py`` and ``pipelines/__init__.py`` (``auto_map``,
``custom_pipelines``, ``trust_remote_code``), ``integrations/hub_kernels.py`` (repositories of kernels), diffusers
(``model_index.json``), sentence-transformers (``modules.json``), Hydra (``_target_``), PEFT (adapters).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.pickles.graph import Global
from aiverify.pickles.tables import danger
from aiverify.rules import finding

MAX_FINDINGS = 100  # of one severity
_MAX_NAMES = 1_000
_LONGEST_PATH = 200
_LONGEST_VALUE = 200
_LONGEST_NAME = 1_000
_LONGEST_KEY = 100
_SHOWN, _SHOWN_ITEMS, _SHOWN_DEPTH = 300, 20, 2
_CODE_KEYS = frozenset(("auto_map", "custom_pipelines", "custom_pipeline"))
# `org/name`, with a revision and an entry: how kernels are named.
_REPOSITORY = re.compile(r"(?:[a-z0-9_]+\|)?[A-Za-z0-9][\w.-]*/[\w.-]+(?:@[\w./-]+)?(?::[\w.-]+)?")
_KERNEL_KEY = re.compile(
    r"_*(?:\w+_)?(?:attn|attention|experts|kernels?)_?(?:implementation\w*|mapping|config|repo\w*)?"
)
_OPENED_KEY = re.compile(r"\w*_(?:file|path|dir|folder)|\w+_files|(?:weights|checkpoint|model)_(?:url|uri)")
#: Keys that loaders replace by the place where they found the file, or that only remember where it came from.
_REMEMBERED = frozenset(("name_or_path", "_name_or_path", "special_tokens_map_file", "tokenizer_file"))
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
#: What Hydra configurations of training libraries name in every file: classes of libraries, not of the artifact.
_LIBRARIES = frozenset(
    (
        *("accelerate", "diffusers", "hydra", "hydra_plugins", "lightning", "lightning_fabric"),
        *("megatron", "monai", "nemo", "omegaconf", "peft", "pytorch_lightning"),
        *("sentence_transformers", "timm", "torch", "torchaudio", "torchmetrics", "torchvision"),
        *("transformers"),
    )
)
_PIPELINE_LIBRARIES = _LIBRARIES | {"onnxruntime", "flax", "optimum", "null"}


def judge_keys(value: object, path: str) -> list[Finding]:
    """What the keys of ``value``, the parsed content of the file ``path``, make a loader do."""
    findings: list[Finding] = []
    said: Counter[Severity] = Counter()
    walked: set[int] = set()
    name = PurePosixPath(path).name
    for where, key, inner in keys(value):
        for item in _judged(where, key, inner, path, walked):
            said[item.severity] += 1
            if said[item.severity] <= MAX_FINDINGS:
                findings.append(item)
    if name == "model_index.json" and isinstance(value, dict):
        findings += _pipeline(value, path)
    if name == "modules.json" and isinstance(value, list):
        findings += _modules(value, path)
    return findings


def keys(value: object) -> Iterator[tuple[str, str, object]]:
    """Every key at any depth: its path, the key, its value. Iterative; each container once."""
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
                yield path, str(key), inner
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


def _judged(where: str, key: str, inner: object, path: str, walked: set[int]) -> Iterator[Finding]:
    """What one key says. ``walked`` are the ids of the containers that were searched for names."""
    if key in _CODE_KEYS and is_set(inner):
        names = list(islice((name for name in strings(inner, walked) if name), _MAX_NAMES + 1))
        # Names beyond the limits are not followed, so that what they lead to cannot be told.
        unknown = len(names) > _MAX_NAMES or any(len(name) > _LONGEST_NAME for name in names)
        evidence = {"key": where, "code": [name[:_LONGEST_NAME] for name in names[:_MAX_NAMES]]}
        severity = Severity.HIGH if unknown else None
        yield finding("AIV501", f"{where} names code: {_shown(inner)}", file=path, severity=severity, evidence=evidence)
    elif key == "trust_remote_code" and is_set(inner):
        yield finding("AIV501", f"{where} asks the loader to run remote code", file=path, evidence={"key": where})
    elif key == "_target_" and isinstance(inner, str):
        yield from _target(where, inner, path)
    elif len(key) > _LONGEST_KEY:
        return
    elif _KERNEL_KEY.fullmatch(key) and ("impl" in key or "kernel" in key):
        for name in strings(inner, walked):
            if len(name) < _LONGEST_NAME and _REPOSITORY.fullmatch(name):
                text = f"{where} names a repository of code: {name[:_LONGEST_VALUE]}"
                evidence = {"key": where, "repository": name[:_LONGEST_VALUE]}
                yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence=evidence)
    elif key == "base_model_name_or_path" and isinstance(inner, str) and inner:
        text = f"{where} has the loader fetch another model: {inner[:_LONGEST_VALUE]}"
        yield finding("AIV510", text, file=path, severity=Severity.INFO, evidence={"key": where})
    elif key not in _REMEMBERED and _OPENED_KEY.fullmatch(key):
        yield from _opened(where, inner, path, walked)


def _opened(where: str, inner: object, path: str, walked: set[int]) -> Iterator[Finding]:
    """Places outside of the artifact that a loader may open."""
    if isinstance(inner, list) and id(inner) in walked:
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


def _target(where: str, name: str, path: str) -> Iterator[Finding]:
    """Hydra's ``_target_``: called with the values beside it."""
    module, _, attribute = name.rpartition(".")
    evidence = {"key": where, "code": [name[:_LONGEST_NAME]]}
    harm = _harm(module or "builtins", attribute) if len(name) < _LONGEST_NAME else None
    if harm is not None:
        text = f"{where} has {name[:_LONGEST_VALUE]} called, and it {harm}"
        yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence=evidence)
    elif name.partition(".")[0] not in _LIBRARIES:
        text = f"{where} names code that is called: {name[:_LONGEST_VALUE]}"
        yield finding("AIV501", text, file=path, evidence=evidence)


def _harm(module: str, attribute: str) -> str | None:
    return danger(Global(module, attribute, 0, (module, attribute)))


def _pipeline(index: dict[object, object], path: str) -> Iterator[Finding]:
    """Parts of a diffusion pipeline: ``[library, class]``. A library of its own is a file in the repository."""
    for part, value in list(index.items())[:1000]:
        if not isinstance(value, list) or len(value) != 2 or not all(isinstance(item, str) for item in value):
            continue
        library, name = (str(item)[:_LONGEST_NAME] for item in value)
        if library.partition(".")[0] not in _PIPELINE_LIBRARIES and library != "stable_diffusion":
            text = f"{part} is made by code of the repository: {library}.{name}"[:400]
            evidence = {"key": str(part)[:_LONGEST_PATH], "code": [f"{library}.{name}"]}
            yield finding("AIV501", text, file=path, evidence=evidence)


def _modules(modules: list[object], path: str) -> Iterator[Finding]:
    """The modules of a sentence-transformers model, by the dotted name of their class."""
    for number, module in enumerate(modules[:1000]):
        kind = module.get("type") if isinstance(module, dict) else None
        if isinstance(kind, str) and not kind.startswith("sentence_transformers.") and _DOTTED.fullmatch(kind):
            text = f"[{number}].type names code: {kind[:_LONGEST_VALUE]}"
            evidence = {"key": f"[{number}].type", "code": [kind[:_LONGEST_NAME]]}
            yield finding("AIV501", text, file=path, evidence=evidence)


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
