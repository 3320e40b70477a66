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
from aiverify.formats.shard_index import is_plain
from aiverify.rules import finding

_MOST = 1_000
_LONGEST_KEY = 200
_LONGEST_SHOWN = 300
_NO_MODULES = frozenset(("null",))  # nothing that a loader imports, so that a file of that name shadows nothing
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
    """AIV501 for each part of the list ``value``, the parsed content of the file ``path``, that no library has.

    A part that is to be loaded from elsewhere is AIV409.
    """
    name = PurePosixPath(path).name.lower()  # not every file system tells names apart by case
    found: Iterator[Finding] = iter(())
    if name in ("model_index.json", "modular_model_index.json") and isinstance(value, dict):
        found = _pipeline(value, path)
    elif name == "modules.json" and isinstance(value, list):
        found = _modules(value, path)
    elif name in _ROUTERS and isinstance(value, dict) and "structure" in value and isinstance(value.get("types"), dict):
        found = (item for way, kind in value["types"].items() for item in _way(str(way), kind, path))
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
        hint = value[2].get("type_hint") if len(value) == 3 and isinstance(value[2], dict) else None
        for pair in (value[:2], hint if isinstance(hint, list) else []):
            names = [item[:LONGEST_NAME] for item in pair if isinstance(item, str)]
            if len(names) == 2:
                yield from _part(str(part)[:_LONGEST_KEY], names[0], names[1], path)


def _part(part: str, library: str, name: str, path: str) -> Iterator[Finding]:
    """A part of a pipeline: a file called like the library, in the part's own folder, comes before the library."""
    if library in _OF_DIFFUSERS or (library in _LIBRARIES and library not in _NO_MODULES):
        return
    known = library.partition(".")[0] in _LIBRARIES
    text = f"{part} is made by code of {'a library' if known else 'the repository'}: {library}.{name}"
    evidence = {"key": part, "code": [f"{library}.{name}", f"{part}.{library}"[:LONGEST_NAME], f"{part}/{library}.py"]}
    severity = Severity.LOW if known else None
    yield finding("AIV501", text[: _LONGEST_SHOWN + 100], file=path, severity=severity, evidence=evidence)


def _modules(modules: Sequence[object], path: str) -> Iterator[Finding]:
    """The modules of a sentence-transformers model."""
    for number, module in enumerate(modules):
        if isinstance(module, dict):
            yield from _module(f"[{number}].type", module.get("type"), path)
            yield from _placed(f"[{number}].path", module.get("path"), path)


def _way(way: str, kind: object, path: str) -> Iterator[Finding]:
    """A module between which a router chooses: its name is that of its folder."""
    yield from _module(f"types.{way}", kind, path)
    yield from _placed("types", way, path)


def _placed(where: str, place: object, path: str) -> Iterator[Finding]:
    """AIV409 for a folder of a module that is hidden, or not of the artifact."""
    if isinstance(place, str) and place.strip("./") and not is_plain(place):
        text = f"{where} names a place where files are not examined: {place[:_LONGEST_SHOWN]!a}"
        yield finding("AIV409", text, file=path)


def _module(where: str, kind: object, path: str) -> Iterator[Finding]:
    """A module by its class: a dotted name, behind that of its repository if it is another's (``org/name--a.B``)."""
    if isinstance(kind, str) and kind and not kind.startswith("sentence_transformers."):
        where = where[:_LONGEST_KEY]
        evidence = {"key": where, "code": [kind[:LONGEST_NAME]]}
        yield finding("AIV501", f"{where} names code: {kind[:_LONGEST_SHOWN]}", file=path, evidence=evidence)
