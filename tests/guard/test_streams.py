"""Loads from open files and from buffers."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from pickle_builder import named, stream, text, tup

from aiverify.guard import of_numpy
from aiverify.guard.deciding import WARN, Decider, Settings
from aiverify.guard.interface import LoadRefused
from aiverify.guard.loading import current, is_examining
from aiverify.guard.streams import admitted
from aiverify.policy import DEFAULT_POLICY

EVIL = stream(named("os.system") + tup(text("true")) + b"R")
UNKNOWN = stream(named("acme.models.Net") + tup() + b"R")


@pytest.fixture
def gate(tmp_path: Path) -> Decider:
    return Decider(Settings(policy=DEFAULT_POLICY, store=str(tmp_path / "store")))


class Watched(io.BytesIO):
    """Tells whether the guard was looking away when it was read."""

    unseen = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.unseen = self.unseen or is_examining()
        return super().read(size)


def test_the_layers_below_are_on_while_a_stream_is_read_and_loaded(gate: Decider) -> None:
    target = Watched(pickle.dumps([1]))
    with admitted(gate, target, ".pkl"):
        assert not is_examining()
        load = current()
        assert load is not None
        assert load.names == frozenset()
    assert not target.unseen


def test_arrays_of_an_archive_in_memory_are_read_after_the_load(gate: Decider) -> None:
    held = io.BytesIO()
    np.savez(held, a=np.arange(3), b=np.array([{"x": 1}], dtype=object))
    held.seek(0)
    found = of_numpy.load(gate, np.load, held, allow_pickle=True)
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == [{"x": 1}]


def test_an_array_in_memory_is_loaded_and_the_stream_stands_behind_it(gate: Decider) -> None:
    held = io.BytesIO()
    np.save(held, np.arange(3))
    end = held.tell()
    held.seek(0)
    assert of_numpy.load(gate, np.load, held, allow_pickle=True).tolist() == [0, 1, 2]
    assert held.tell() == end


def test_the_refusal_of_an_open_file_names_that_file(gate: Decider, tmp_path: Path) -> None:
    path = tmp_path / "an evil.pkl"
    path.write_bytes(EVIL)
    with path.open("rb") as file, pytest.raises(LoadRefused) as no, admitted(gate, file):
        pass
    assert str(no.value).startswith(f"{path}: not loaded, block by default policy: block_at = high: ")
    assert (no.value.target, no.value.file, no.value.command) == (str(path), str(path), f"aiverify verify '{path}'")
    assert f"aiverify verify '{path}'" in no.value.hint


def test_the_refusal_of_bytes_in_memory_names_no_file_that_is_gone(gate: Decider) -> None:
    with pytest.raises(LoadRefused) as no, admitted(gate, io.BytesIO(EVIL), ".pkl"):
        pass
    assert str(no.value).startswith("a stream: not loaded, block by default policy: block_at = high: ")
    assert (no.value.file, no.value.command) == (None, "")
    assert "aiverify-" not in str(no.value) + no.value.hint
    assert no.value.recorded


def test_a_warning_of_bytes_in_memory_is_said_once(gate: Decider, capsys: pytest.CaptureFixture[str]) -> None:
    gate.settings.mode = WARN
    for _ in range(2):
        with admitted(gate, io.BytesIO(UNKNOWN), ".pkl"):
            pass
    said = capsys.readouterr().err
    assert said.count("warning: a stream: loaded all the same, review") == 1
