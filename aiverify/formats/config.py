"""Configuration files, read as data: JSON and YAML. What is looked for are keys that make a loader fetch or run code.

JSON is parsed strictly: one value, no repeated keys, bounded size and depth. YAML is not constructed at all: its events
are searched for tags that construct Python objects, with %TAG directives resolved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from aiverify.finding import Severity, Unexamined
from aiverify.formats.interface import Examination, Format
from aiverify.formats.shard_index import misplaced
from aiverify.formats.template import suspicious
from aiverify.rules import finding

_MAX_JSON = 64 << 20
_MAX_YAML = 4 << 20
_DEEPEST_YAML = 100
_LONGEST_PATH = 200
_CODE_KEYS = frozenset(("auto_map", "custom_pipelines", "custom_pipeline"))
_TEMPLATE_KEYS = frozenset(("chat_template", "template"))


class _RepeatedKeyError(ValueError):
    """A key stands twice in one object."""


def examine_json(data: bytes, path: str) -> Examination:
    """Examine one JSON file."""
    examination = Examination(format=Format.JSON)
    if len(data) > _MAX_JSON:
        examination.unexamined.append(Unexamined(file=path, reason=f"a JSON file of {len(data)} bytes"))
        return examination
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        examination.findings.append(finding("AIV504", f"not valid JSON: {text}", file=path))
        examination.unexamined.append(Unexamined(file=path, reason=f"not valid JSON: {text}"))
        return examination
    for place in misplaced(value):
        text = f"a shard is named at {place!a}, where files are not examined"
        examination.findings.append(finding("AIV407", text, file=path))
    for where, key, inner in _keys(value):
        if key in _CODE_KEYS and inner:
            text = f"{where} names code: {_shown(inner)}"
            examination.findings.append(finding("AIV501", text, file=path, evidence={"key": where}))
        elif key == "trust_remote_code" and inner:
            examination.findings.append(
                finding("AIV501", f"{where} asks the loader to run remote code", file=path, evidence={"key": where})
            )
        elif key in _TEMPLATE_KEYS:
            for text in _strings(inner):
                _template(examination, path, where, text)
        elif key.lstrip("_").startswith("attn_implementation") and isinstance(inner, str) and "/" in inner:
            examination.findings.append(
                finding(
                    "AIV501", f"{where} names a repository of code: {inner[:200]}", file=path, severity=Severity.HIGH
                )
            )
    return examination


def examine_yaml(data: bytes, path: str) -> Examination:
    """Examine one YAML file."""
    import yaml

    examination = Examination(format=Format.YAML)
    if len(data) > _MAX_YAML:
        examination.unexamined.append(Unexamined(file=path, reason=f"a YAML file of {len(data)} bytes"))
        return examination
    try:
        for tag, offset, depth in _tags(data.decode("utf-8-sig")):
            if depth > _DEEPEST_YAML:
                raise RecursionError("nested too deeply")
            if tag is not None and "python" in tag:
                text = f"the tag {tag[:200]!r} constructs a Python object"
                examination.findings.append(finding("AIV501", text, file=path, severity=Severity.HIGH, offset=offset))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = f"not valid YAML: {str(error).partition(chr(10))[0]}"
        examination.findings.append(finding("AIV504", reason, file=path))
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    return examination


def _tags(text: str) -> Iterator[tuple[str | None, int, int]]:
    """The tag, if any, the offset and the depth of every YAML node."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        tag = event.tag if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) else None
        yield tag, event.start_mark.index if event.start_mark else 0, depth


def examine_template(data: bytes, path: str) -> Examination:
    """Examine one Jinja template file."""
    examination = Examination(format=Format.TEMPLATE)
    try:
        _template(examination, path, "the template", data.decode("utf-8"))
    except UnicodeDecodeError:
        examination.unexamined.append(Unexamined(file=path, reason="not UTF-8 text"))
    return examination


def _template(examination: Examination, path: str, where: str, text: str) -> None:
    complaint = suspicious(text)
    if complaint is not None:
        examination.findings.append(finding("AIV503", f"{where}: {complaint}", file=path))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedKeyError("a key stands twice in one object")
    return made


def _strings(value: object) -> Iterator[str]:
    """Every string in ``value``, at any depth: templates come alone, in lists and in dicts by name."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            pending += item.values() if isinstance(item, dict) else item


def _shown(value: object) -> str:
    try:
        return json.dumps(value)[:300]
    except RecursionError:
        return "something nested too deeply"


def _keys(value: object) -> Iterator[tuple[str, str, object]]:
    """Every key at any depth: its path, the key, its value. Iterative, in the order of the file."""
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        where, item = pending.pop()
        if isinstance(item, dict):
            for key, inner in item.items():
                path = f"{where}.{key}"[-_LONGEST_PATH:] if where else key[:_LONGEST_PATH]
                yield path, key, inner
                if isinstance(inner, dict | list):
                    pending.append((path, inner))
        elif isinstance(item, list):
            pending += [
                (f"{where}[{index}]", inner) for index, inner in enumerate(item) if isinstance(inner, dict | list)
            ]
