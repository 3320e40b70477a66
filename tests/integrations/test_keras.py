"""Keras, with PyTorch below it."""

from __future__ import annotations

from typing import Any

import pytest
from end_to_end import Machine
from integration_pages import examples, found, ran

(EXAMPLE,) = examples("keras.md")
MADE = """
import keras, numpy as np
from keras import layers

def made(last):
    model = keras.Sequential([layers.Input((2,)), layers.Dense(3, kernel_initializer="ones"), last])
    return model

model = made(layers.Dense(1))
model.save("model.keras")
model.set_weights([np.full_like(weight, 0.5) for weight in model.get_weights()])
model.save_weights("trained.weights.h5")
model.save("model.h5")
made(layers.Lambda(lambda inputs: [open("marker", "w").close(), inputs][1])).save("evil.keras")
import pathlib
pathlib.Path("marker").unlink(missing_ok=True)
print("found: " + __import__("json").dumps({"expected": model(np.ones((1, 2))).tolist()}))
"""


@pytest.fixture(scope="module")
def expected(machine: Machine) -> Any:
    return found(machine, MADE, "")["expected"]


@pytest.fixture(scope="module")
def loaded(machine: Machine, expected: Any) -> dict[str, Any]:
    more = """
import numpy as np
say(trained=model(np.ones((1, 2))).tolist(), whole=keras.saving.load_model("model.h5")(np.ones((1, 2))).tolist())
say(evil=[attempt(lambda: keras.models.load_model("evil.keras", safe_mode=safe)) for safe in (True, False)])
"""
    return found(machine, EXAMPLE, more)


def test_weights_are_those_that_were_saved(loaded: dict[str, Any], expected: Any) -> None:
    assert loaded["trained"] == loaded["whole"] == expected


def test_a_lambda_layer_is_refused(loaded: dict[str, Any], machine: Machine) -> None:
    assert loaded["evil"] == ["refused", "refused"]
    assert not (machine.here / "marker").exists()


def test_the_attack_is_live(machine: Machine, expected: Any) -> None:
    code = 'import keras, numpy\nkeras.models.load_model("evil.keras", safe_mode=False)(numpy.ones((1, 2)))'
    end = ran(machine, code)
    assert (machine.here / "marker").exists(), end.stderr
