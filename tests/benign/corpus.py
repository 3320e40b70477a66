"""Benign files, written by the real libraries: what a scanner must be silent about.

``write_corpus(folder)`` writes every sample below ``folder`` and says what is expected of each. Nothing binary is kept
in the repository; the libraries are imported only when their samples are written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

PASS = "pass"
REVIEW = "review"
BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Sample:
    """One file. ``mechanism`` names what it holds and how it was written; samples of one name the same globals.

    ``outcome`` is what the default policy makes of the file on its own; ``reason`` says why when it is not a pass.
    """

    name: str
    path: Path
    library: str
    mechanism: str
    outcome: str = PASS
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer says of one file that it wrote; ``path`` is relative to the writer's own folder."""

    path: str
    mechanism: str
    outcome: str = PASS
    reason: str = ""


Writer = Callable[[Path], Iterator[Written]]


def write_corpus(folder: Path) -> list[Sample]:
    """Write every sample below ``folder``, which must exist. Samples come in the same order in every run."""
    from benign import estimators, frameworks, plain, tables, training, weights

    samples: list[Sample] = []
    alone = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    with mock.patch.dict(os.environ, alone), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in (plain, tables, weights, estimators, training, frameworks):
            for library, writer in module.WRITERS.items():
                below = folder / library
                below.mkdir()
                for written in writer(below):
                    path = below / written.path
                    name = f"{library}/{written.path}"
                    samples.append(Sample(name, path, library, written.mechanism, written.outcome, written.reason))
    return samples
