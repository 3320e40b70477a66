"""scikit-learn, joblib and NumPy: estimators and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine
from integration_pages import examples, found

(EXAMPLE,) = examples("scikit-learn.md")


@pytest.fixture(scope="module")
def expected(machine: Machine) -> list[int]:
    """Estimators of several kinds and an array, and what one says of the other; files that are evil."""
    import joblib
    import numpy as np
    from guarded_files import Payload
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = np.random.default_rng(0).normal(size=(40, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs, inputs[:, 0] > 0)
    joblib.dump(model, machine.here / "model.joblib")
    joblib.dump(GradientBoostingClassifier(n_estimators=2).fit(inputs, inputs[:, 0] > 0), machine.here / "trees.pkl")
    joblib.dump(TfidfVectorizer().fit(["a model", "is verified"]), machine.here / "words.joblib", compress=("zlib", 3))
    np.save(machine.here / "inputs.npy", inputs)
    np.save(machine.here / "objects.npy", np.array([{"a": 1}, None], dtype=object))
    joblib.dump(Payload(machine.here / "marker"), machine.here / "evil.joblib")
    evil = np.array([Payload(machine.here / "marker")], dtype=object)
    np.save(machine.here / "evil.npy", evil)
    np.savez(machine.here / "evil.npz", evil=evil)
    classes: list[int] = model.predict(inputs).tolist()
    return classes


@pytest.fixture(scope="module")
def loaded(machine: Machine, expected: list[int]) -> dict[str, Any]:
    more = """
say(classes=classes.tolist(), trees=len(joblib.load("trees.pkl").estimators_))
say(words=sorted(joblib.load("words.joblib").vocabulary_))
say(objects=np.load("objects.npy", allow_pickle=True).tolist())
say(evil=[attempt(lambda: joblib.load("evil.joblib")), attempt(lambda: np.load("evil.npy", allow_pickle=True)),
          attempt(lambda: np.load("evil.npz", allow_pickle=True)["evil"])])
"""
    return found(machine, EXAMPLE, more)


def test_results_are_the_same(loaded: dict[str, Any], expected: list[int]) -> None:
    assert loaded["classes"] == expected


def test_estimators_of_several_kinds_and_arrays_of_objects_are_loaded(loaded: dict[str, Any]) -> None:
    assert (loaded["trees"], loaded["words"], loaded["objects"]) == (
        2,
        ["is", "model", "verified"],
        [{"a": 1}, None],
    )


def test_evil_files_are_refused(loaded: dict[str, Any], machine: Machine) -> None:
    assert loaded["evil"] == ["refused"] * 3
    assert not Path(machine.here / "marker").exists()
