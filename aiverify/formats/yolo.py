"""Networks of YOLO, described in YAML: texts in them are run as Python by the libraries that build the network.

A description has the lists ``backbone`` and ``head``, whose rows are (from, number, module, arguments). YOLOv5 and its
relatives give modules and arguments to ``eval``, all of them the ``activation``. Names, numbers and lists of them are
ordinary, and so is an activation that is a call of a class of ``torch.nn``.

Sources: ``parse_model`` in yolov5 7.0 ``models/yolo.py``, and in ultralytics 8 ``nn/tasks.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiverify.finding import Finding, Severity
from aiverify.formats.code_keys import strings
from aiverify.rules import finding

_MOST = 20
_SHOWN = 200
_PLAIN = re.compile(r"(?!(?s:.*)__)[\w\s.,'\"\[\]+*/-]*")
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.(?:modules\.\w+\.)?\w+\([\w\s.,=+-]*\)")


def judge_network(value: object, path: str) -> Iterator[Finding]:
    """AIV501 for the texts of ``value``, the parsed content of the file ``path``, that are more than names."""
    for document in value if isinstance(value, list) else [value]:
        if not isinstance(document, dict):
            continue
        rows = [document.get("backbone"), document.get("head")]
        if not all(isinstance(row, list) for row in rows):
            continue
        told = [text for text in strings(rows) if not _PLAIN.fullmatch(text)]
        activation = document.get("activation")
        if isinstance(activation, str) and not (_PLAIN.fullmatch(activation) or _ACTIVATION.fullmatch(activation)):
            told.insert(0, activation)
        for text in told[:_MOST]:
            said = f"a text of the network is run as Python by YOLO: {text[:_SHOWN]}"
            yield finding("AIV501", said, file=path, severity=Severity.HIGH)
