"""Lists of the parts that a model is put together from, each with the class that a loader makes of it.

A diffusion pipeline lists them in ``model_index.json`` (in ``modular_model_index.json`` if it is modular), a model of
sentence-transformers in ``modules.json``, and in ``router_config.json`` the ways between which a router chooses. A
class that is of no library comes with the artifact or from another repository.

Sources: diffusers 0.42, ``pipelines/pipeline_loading_utils.py``; sentence-transformers 6.2, ``base/model.py``,
``base/modules/router.py`` and ``util/misc.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.formats.dotted_names import LIBRARIES, LONGEST_NAME
from aiverify.rules import finding

_MOST = 1_000
_LONGEST_KEY = 200
_LONGEST_SHOWN = 300
_LIBRARIES = LIBRARIES | {"flax", "nunchaku", "onnxruntime", "optimum", "null"}
#: Packages of diffusers whose own classes stand in indices under the name of the package alone; they come before files.
_OF_DIFFUSERS = frozenset(
    (
        *("audioldm", "audioldm2", "blip_diffusion", "deepfloyd_if", "kandinsky", "kandinsky2_2", "kandinsky3"),
        *("latent_diffusion", "ltx", "ltx2", "musicldm", "paint_by_example", "semantic_stable_diffusion", "shap_e"),
        *("stable_audio", "stable_cascade", "stable_diffusion", "stable_diffusion_safe", "stable_diffusion_xl"),
        *("unclip", "unidiffuser", "versatile_diffusion", "wuerstchen"),
    )
)
_ROUTERS = frozenset(("router_config.json", "config.json"))


def judge_parts(value: object, path: str) -> list[Finding]:
    """AIV501 for each part of the list ``value``, the parsed content of the file ``path``, that no library has."""
    name = PurePosixPath(path).name.lower()  # not every file system tells names apart by case
    found: Iterator[Finding] = iter(())
    if name in ("model_index.json", "modular_model_index.json") and isinstance(value, dict):
        found = _pipeline(value, path)
    elif name == "modules.json" and isinstance(value, list):
        found = _modules(value, path)
    elif name in _ROUTERS and isinstance(value, dict) and "structure" in value and isinstance(value.get("types"), dict):
        found = (item for way, kind in value["types"].items() for item in _module(f"types.{way}", kind, path))
    said = list(islice(found, _MOST + 1))
    if len(said) > _MOST:
        text = f"more than {_MOST} parts are made by code of no library"
        said[_MOST:] = [finding("AIV501", text, file=path, severity=Severity.HIGH)]
    return said


def _pipeline(index: Mapping[object, object], path: str) -> Iterator[Finding]:
    """Parts of a diffusion pipeline: a library and a class, and what a modular pipeline says besides."""
    for part, value in index.items():
        if not isinstance(value, list) or not 2 <= len(value) <= 3:
            continue
        library, name = (item[:LONGEST_NAME] if isinstance(item, str) else None for item in value[:2])
        if library is None or name is None:
            continue
        if library.partition(".")[0] not in _LIBRARIES and library not in _OF_DIFFUSERS:
            text = f"{part} is made by code of the repository: {library}.{name}"[: _LONGEST_SHOWN + 100]
            evidence = {
                "key": str(part)[:_LONGEST_KEY],
                "code": [f"{library}.{name}", f"{part}.{library}"[:LONGEST_NAME]],
            }
            yield finding("AIV501", text, file=path, evidence=evidence)


def _modules(modules: Sequence[object], path: str) -> Iterator[Finding]:
    """The modules of a sentence-transformers model."""
    for number, module in enumerate(modules):
        if isinstance(module, dict):
            yield from _module(f"[{number}].type", module.get("type"), path)


def _module(where: str, kind: object, path: str) -> Iterator[Finding]:
    """A module by its class: a dotted name, behind that of its repository if it is another's (``org/name--a.B``)."""
    if isinstance(kind, str) and kind and not kind.startswith("sentence_transformers."):
        where = where[:_LONGEST_KEY]
        evidence = {"key": where, "code": [kind[:LONGEST_NAME]]}
        yield finding("AIV501", f"{where} names code: {kind[:_LONGEST_SHOWN]}", file=path, evidence=evidence)
