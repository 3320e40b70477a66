"""The judge of Keras' configurations, and the reader of the code in them."""

from __future__ import annotations

import base64
import json
import marshal
from collections.abc import Iterator

from aiverify.formats.keras import judge_configuration
from tests.framework_files import KERAS_CONFIG
from tests.fuzz.reading import target


def _examine(data: bytes) -> object:
    code = {"class_name": "__lambda__", "config": {"code": base64.b64encode(data).decode()}}
    judge_configuration({"class_name": "Lambda", "config": {"function": code}}, "config.json")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return judge_configuration(config, "config.json")


def _seeds() -> Iterator[bytes]:
    yield json.dumps(KERAS_CONFIG).encode()
    for function in (_examine, _seeds):
        yield marshal.dumps(function.__code__)


TARGET = target(_examine, _seeds, "keras", "marshalled")
