"""Writes the file beside this one. Run with flax 0.12 installed, which the tests themselves do without."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import serialization

PARAMETERS = {
    "dense": {"kernel": jnp.ones((3, 4), jnp.bfloat16), "bias": np.zeros(4, np.float32)},
    "step": np.int64(7),
    "scale": np.float32(0.5),
    "phase": 1 + 2j,
    "layers": [np.arange(6).reshape(2, 3), np.zeros((0, 5), np.uint8)],
    "name": "a model",
}

if __name__ == "__main__":
    Path(sys.argv[1], "parameters.msgpack").write_bytes(serialization.to_bytes(PARAMETERS))
