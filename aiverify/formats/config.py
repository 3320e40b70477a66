"""Configuration files, read as data: JSON and YAML. What is looked for are keys that make a loader fetch or run code.

JSON is parsed strictly: one value, no repeated keys, bounded size and depth. YAML is read from its events as texts,
lists and tables, whatever its tags say; tags that construct Python objects are found with %TAG directives resolved.
"""

from __future__ import annotations

import base64
import json
import re

from aiverify.finding import Finding, Unexamined
from aiverify.formats.code_keys import judge_keys, keys, strings
from aiverify.formats.content import in_place
from aiverify.formats.evaluated import judge_evaluated
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.formats.shard_index import misplaced
from aiverify.formats.template import MAX_TEMPLATE, MAX_TEMPLATES, suspicious
from aiverify.formats.yaml_events import read_yaml
from aiverify.formats.yaml_tags import judge_tags
from aiverify.pickles.reading import Buffer
from aiverify.rules import finding

MAX_JSON = 64 << 20
MAX_YAML = 4 << 20
MAX_TEMPLATE_BYTES = 4 * MAX_TEMPLATE  # as UTF-8
_PICKLED_KEY = ":serialized:"
_LONGEST_KEY = 100
_TEMPLATE_KEY = re.compile(r"(?:\w{1,60}_)?templates?")


class _RepeatedKeyError(ValueError):
    """A key stands twice in one object."""


def examine_json(
    data: bytes, path: str, options: ScanOptions | None = None, nesting: Nesting | None = None
) -> Examination:
    """Examine one JSON file. Pickles in it are examined by ``nesting``, and else said not to be."""
    examination = Examination(format=Format.JSON)
    if len(data) > MAX_JSON:
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
    examination.findings += judge_keys(value, path)
    examination.findings += judge_evaluated(value, path)
    examination.findings += _keras(value, path)
    _templates(examination, path, value)
    if _PICKLED_KEY.encode() in data or b"\\u" in data:  # another walk through all keys, that few files need
        _pickles(examination, path, value, options, nesting)
    return examination


def _pickles(
    examination: Examination, path: str, value: object, options: ScanOptions | None, nesting: Nesting | None
) -> None:
    """Examine the pickles that Stable-Baselines3 keeps as texts, and unpickles (``common/save_util.py``)."""
    for where, key, inner, _ in keys(value):
        if key != _PICKLED_KEY or not isinstance(inner, str):
            continue
        try:
            content = in_place(base64.b64decode(inner))
        except ValueError:
            content = None
        if content is None or options is None or nesting is None:
            reason = "text that would be unpickled, and is not to be decoded here"
            examination.unexamined.append(Unexamined(file=path, member=where, reason=reason))
        else:
            nesting.look(content, "pickle", examination, path, options, member=where, reader="pickle")


def is_configuration(data: Buffer, kind: Format, *, deep: bool = True) -> bool:
    """Whether a loader that looks for JSON, or for a text of another ``kind``, can read ``data`` as such.

    What is too large or nested too deeply for the reader here counts as readable if ``deep`` says so.
    """
    if len(data) > MAX_JSON:
        return deep
    try:
        text = bytes(data).decode("utf-8")
        if kind is Format.JSON:
            json.loads(text)
    except (ValueError, RecursionError) as error:
        return deep and isinstance(error, RecursionError)
    return "\0" not in text


def _keras(value: object, path: str) -> list[Finding]:
    """What a loader of Keras makes of the objects in ``value``: it looks for them at any depth.

    Sources: keras 3.15, ``saving/serialization_lib.py``; the configuration stands in an archive, in a folder
    (``saving_lib.py``), or alone (``Model.to_json``).
    """
    if not any(key == "class_name" and isinstance(inner, str) and "config" in by for _, key, inner, by in keys(value)):
        return []
    from aiverify.formats.keras import judge_configuration

    return judge_configuration(value, path)


def examine_yaml(data: bytes, path: str) -> Examination:
    """Examine one YAML file."""
    import yaml

    examination = Examination(format=Format.YAML)
    if len(data) > MAX_YAML:
        examination.unexamined.append(Unexamined(file=path, reason=f"a YAML file of {len(data)} bytes"))
        return examination
    try:
        document = read_yaml(data.decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = f"not valid YAML: {str(error).partition(chr(10))[0]}"
        examination.findings.append(finding("AIV504", reason, file=path))
        examination.unexamined.append(Unexamined(file=path, reason=reason))
        return examination
    _script(examination, path, data)
    examination.findings += judge_tags(document.tags, path)
    examination.findings += judge_keys(document.values, path)
    examination.findings += judge_evaluated(document.values, path)
    _templates(examination, path, document.values)
    return examination


def examine_template(data: bytes, path: str) -> Examination:
    """Examine one Jinja template file."""
    examination = Examination(format=Format.TEMPLATE)
    if len(data) > MAX_TEMPLATE_BYTES:
        text = f"a template of more than {MAX_TEMPLATE_BYTES} bytes"
        examination.findings.append(finding("AIV503", text, file=path))
        return examination
    _script(examination, path, data)
    try:
        _template(examination, path, "the template", data.decode("utf-8"))
    except UnicodeDecodeError:
        examination.unexamined.append(Unexamined(file=path, reason="not UTF-8 text"))
    return examination


def _script(examination: Examination, path: str, data: bytes) -> None:
    """A first line that makes a program of the file, and is a comment or a text to its loader."""
    if data.startswith(b"#!"):
        examination.findings.append(finding("AIV505", "it begins like a script", file=path))


def _template(examination: Examination, path: str, where: str, text: str) -> None:
    complaint = suspicious(text)
    if complaint is not None:
        examination.findings.append(finding("AIV503", f"{where}: {complaint}", file=path))


def _templates(examination: Examination, path: str, value: object) -> None:
    """Judge every template, each text once: they come alone, in lists, and in objects by name."""
    walked: set[int] = set()
    judged: set[str] = set()
    left = MAX_TEMPLATES
    for where, key, inner, _ in keys(value):
        named = "template" in key and _TEMPLATE_KEY.fullmatch(key[:_LONGEST_KEY])
        for text in strings(inner, walked) if named else ():
            if text in judged:
                continue
            judged.add(text)
            left -= len(text)
            if left < 0:
                reason = f"templates of more than {MAX_TEMPLATES} characters"
                examination.findings.append(finding("AIV503", f"{where}: {reason}", file=path))
                examination.unexamined.append(Unexamined(file=path, reason=reason))
                return
            _template(examination, path, where, text)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedKeyError("a key stands twice in one object")
    return made
