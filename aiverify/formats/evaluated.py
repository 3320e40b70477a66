"""Texts in configurations that a library runs as Python: networks of YOLO, and bundles of MONAI.

A network has the lists ``backbone`` and ``head``, whose rows are (from, number, module, arguments). YOLOv5 and its
relatives give modules and arguments to ``eval``, all of them the ``activation``. Names, numbers and lists of them are
ordinary, and so is an activation that is a call of a class of ``torch.nn``. In a bundle whatever begins with ``$`` is
run; ordinary ones do that, too, so that their expressions ask for a look, and those that reach out are graver.

Sources: ``parse_model`` in yolov5 7.0 ``models/yolo.py``, and in ultralytics 8 ``nn/tasks.py``; monai 1.5
``bundle/config_item.py`` (``ConfigExpression``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from aiverify.finding import Finding, Severity
from aiverify.formats.code_keys import strings
from aiverify.rules import finding

_MOST = 20
_SHOWN = 200
_PLAIN = re.compile(r"(?!(?s:.*)__)[\w\s.,'\"\[\]+*/-]*")
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.(?:modules\.\w+\.)?\w+\([\w\s.,=+-]*\)")
_BUNDLE = frozenset(("_meta_", "bundle_root", "imports", "initialize", "network_def", "run"))
_REACHES_OUT = re.compile(
    r"__|\b(?:subprocess|socket|requests|urllib|pty|ctypes|importlib|pickle|builtins|shutil|sys|runpy)\b"
    r"|\bos\s*\.\s*(?!path\b|environ\b|getenv\b|listdir\b|makedirs\b|cpu_count\b)"
    r"|\b(?:eval|exec|compile|open|getattr|setattr|globals|vars)\s*\("
)


def judge_evaluated(value: object, path: str) -> Iterator[Finding]:
    """AIV501 for the texts of ``value``, the parsed content of the file ``path``, that are run as Python."""
    for document in value if isinstance(value, list) else [value]:
        if isinstance(document, dict):
            yield from _network(document, path)
            yield from _bundle(document, path)


def _network(document: Mapping[str, object], path: str) -> Iterator[Finding]:
    rows = [document.get("backbone"), document.get("head")]
    if not all(isinstance(row, list) for row in rows):
        return
    told = [text for text in strings(rows) if not _PLAIN.fullmatch(text)]
    activation = document.get("activation")
    if isinstance(activation, str) and not (_PLAIN.fullmatch(activation) or _ACTIVATION.fullmatch(activation)):
        told.insert(0, activation)
    for text in told[:_MOST]:
        said = f"a text of the network is run as Python by YOLO: {text[:_SHOWN]}"
        yield finding("AIV501", said, file=path, severity=Severity.HIGH)


def _bundle(document: Mapping[str, object], path: str) -> Iterator[Finding]:
    if not _BUNDLE & document.keys():
        return
    told = [text for text in strings(document) if text.startswith("$") and text[1:2] not in ("", "{")]
    if told:
        said = f"MONAI runs {len(told)} texts of it as Python, among them: {told[0][:_SHOWN]}"
        yield finding("AIV501", said, file=path)
    for text in [text for text in told if _REACHES_OUT.search(text)][:_MOST]:
        said = f"a text that MONAI runs as Python reaches out: {text[:_SHOWN]}"
        yield finding("AIV501", said, file=path, severity=Severity.HIGH)
