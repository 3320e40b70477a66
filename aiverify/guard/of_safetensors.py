"""safetensors: ``safe_open``, through which every other function of the library opens files, and ``deserialize``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.streams import admitted, is_path


def safe_open(gate: Decider, original: Callable[..., Any], filename: Any, *arguments: Any, **named: Any) -> Any:
    """As ``safetensors.safe_open``."""
    if not is_path(filename):
        return original(filename, *arguments, **named)
    with admitted(gate, filename) as (_, opened):
        return original(opened, *arguments, **named)


def deserialize(gate: Decider, original: Callable[..., Any], data: Any, *arguments: Any, **named: Any) -> Any:
    """As ``safetensors.deserialize``: the bytes are judged, and given on."""
    with admitted(gate, io.BytesIO(data), ".safetensors"):
        return original(data, *arguments, **named)


PLACES = (
    ("safetensors._safetensors_rust", "safe_open", safe_open),
    ("safetensors", "safe_open", safe_open),
    ("safetensors._safetensors_rust", "deserialize", deserialize),
    ("safetensors", "deserialize", deserialize),
)
