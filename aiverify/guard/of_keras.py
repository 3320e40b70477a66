"""keras: load_model and load_weights, by the sealed copy, which has the name that the format is told by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.streams import admitted


def load_model(gate: Decider, original: Callable[..., Any], filepath: Any, *arguments: Any, **named: Any) -> Any:
    """As ``keras.saving.load_model``."""
    with admitted(gate, filepath, ".keras") as (_, opened):
        return original(opened, *arguments, **named)


def load_weights(
    gate: Decider, original: Callable[..., Any], model: Any, filepath: Any, *arguments: Any, **named: Any
) -> Any:
    """As ``keras.Model.load_weights``."""
    with admitted(gate, filepath, ".h5") as (_, opened):
        return original(model, opened, *arguments, **named)


PLACES = (
    ("keras.src.saving.saving_api", "load_model", load_model),
    ("keras.saving", "load_model", load_model),
    ("keras.src.saving.saving_api", "load_weights", load_weights),
    ("keras.saving", "load_weights", load_weights),
)
