"""Checkpoints that are rebuilt from their twins: just what torch would have loaded."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_values import assert_same

from aiverify.convert.plan import NotConvertibleError
from aiverify.guard import of_torch
from aiverify.guard.deciding import WARN, Decider, Settings
from aiverify.guard.interface import Admission, LoadRefused, Twin
from aiverify.guard.rebuilding import rebuild, requested
from aiverify.guard.redirect import RECIPE, TWIN, make_twin
from aiverify.policy import DEFAULT_POLICY, Policy
from aiverify.store.store import Store

TYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64)
MORE_TYPES = (
    torch.complex128,
    torch.uint16,
    torch.float8_e4m3fn,
    torch.uint64,
)  # untyped storages, or no type for them


class Net:
    """A class that nobody trusts."""


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


def never(*_: object, **__: object) -> Any:
    raise AssertionError("an unpickler was asked")


class Recorder:
    """Stands where torch stands, and says what it was to open."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, f: Any, **_: Any) -> None:
        self.asked.append(f)


def sample() -> dict[str, Any]:
    whole = torch.arange(60.0)
    state: OrderedDict[str, torch.Tensor] = OrderedDict(
        embedding=whole.view(6, 10),
        head=whole.view(6, 10),
        transposed=whole.view(6, 10).t(),
        window=whole[7:19:3],
        half=torch.randn(5, 3).to(torch.bfloat16),
        parameter=torch.nn.Parameter(torch.randn(4, 4)),
        scalar=torch.tensor(7),
        bits=torch.tensor([True, False]),
    )
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    betas = (0.9, 0.999)
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": betas, "params": [0]}]}
    return {
        "state_dict": state,
        "optimizer": optimizer,
        "epoch": 3,
        "best": float("nan"),
        "note": None,
        "args": [betas],
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def gate(store: Path) -> Decider:
    return Decider(Settings(policy=DEFAULT_POLICY, store=str(store)))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(sample(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Decider, Path]:
    """A gate, and a checkpoint whose twin it has made already."""
    folder = tmp_path_factory.mktemp("known")
    gate = Decider(Settings(policy=DEFAULT_POLICY, store=str(folder / "store")))
    torch.save(sample(), folder / "model.pt")
    loaded(gate, folder / "model.pt")
    return gate, folder / "model.pt"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    torch.save(sample(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    return tmp_path / "legacy.pt"


def loaded(gate: Decider, f: Any, *arguments: Any, **named: Any) -> Any:
    """A load under the guard that must not ask torch."""
    return of_torch.load(gate, never, f, *arguments, **named)


def rewritten(source: Path, change: Callable[[bytes], bytes]) -> Path:
    """The archive ``source`` with a changed pickle."""
    output = source.with_name("changed.pt")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(output, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item.filename, change(content) if item.filename.endswith("data.pkl") else content)
    return output


def twins(store: Path) -> list[Path]:
    return sorted(store.glob(f"snapshots/*/{TWIN}"))


# the same values


@st.composite
def values(draw: st.DrawFn, types: tuple[torch.dtype, ...]) -> dict[Any, Any]:
    """A dict of nested values: tensors that share storages in every way, and everything else that a recipe may hold."""
    bases = [
        torch.randint(0, 256, (draw(st.integers(0, 12)) * kind.itemsize,), dtype=torch.uint8).view(kind)
        if kind is not torch.bool
        else torch.randint(0, 2, (draw(st.integers(0, 12)),)).bool()
        for kind in draw(st.lists(st.sampled_from(types), min_size=1, max_size=4))
    ]

    @st.composite
    def tensors(draw: st.DrawFn) -> torch.Tensor:
        base = draw(st.sampled_from(bases))
        offset = draw(st.integers(0, max(base.numel() - 1, 0)))
        size, stride, left = [], [], base.numel() - offset - 1
        for _ in range(draw(st.integers(0, 3)) if left >= 0 else 1):
            step = draw(st.integers(0, 4))
            length = draw(st.integers(0, min(left // step + 1, 4) if step else 3)) if left >= 0 else 0
            left -= step * max(length - 1, 0)
            size.append(length)
            stride.append(step)
        tensor = torch.as_strided(base, size, stride, offset if base.numel() else 0)
        floating = tensor.is_floating_point() or tensor.is_complex()
        kind = draw(st.sampled_from(("tensor", "wanting", "parameter") if floating else ("tensor",)))
        if kind == "parameter":
            return torch.nn.Parameter(tensor, requires_grad=draw(st.booleans()))
        return tensor.detach().requires_grad_(kind == "wanting")

    scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5)
    keys = scalars | st.tuples(scalars, scalars)
    shared = st.sampled_from([*(draw(tensors()) for _ in range(3)), [1, 2.5], {"a": 1}, ("x", 0.5)])

    def ordered(pairs: dict[Any, Any]) -> OrderedDict[Any, Any]:
        made = OrderedDict(pairs)
        if draw(st.booleans()):
            made._metadata = OrderedDict({"": {"version": 2}, "layer": {"local": None}})  # type: ignore[attr-defined]
        return made

    nested = st.recursive(
        scalars | tensors() | shared,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
            | st.dictionaries(keys, inner, max_size=3).map(ordered)
        ),
        max_leaves=12,
    )
    return draw(st.dictionaries(keys, nested, max_size=5))


def rebuilt(source: Path, folder: Path, **named: Any) -> Any:
    facts = make_twin(source, folder)
    twin = Twin(recipe=folder / RECIPE, zipped=facts.zipped, hollow=facts.hollow, end=facts.end)
    admission = Admission(
        file=str(source), sealed=folder / TWIN, sha256="", format="safetensors", outcome="pass", twin=twin
    )
    request = requested((), named, from_path=True)
    assert request is not None
    assert request.suits(twin)
    return rebuild(admission, str(admission.sealed), request)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(value=values(TYPES + MORE_TYPES), mapped=st.booleans())
def test_what_is_rebuilt_is_what_torch_loads_of_an_archive(value: Any, mapped: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "model.pt"
        torch.save(value, file)
        expected = torch.load(file, weights_only=True, mmap=mapped)
        assert_same(expected, rebuilt(file, Path(name), mmap=mapped))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(value=values(TYPES))
def test_what_is_rebuilt_is_what_torch_loads_of_a_stream(value: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "model.pt"
        torch.save(value, file, _use_new_zipfile_serialization=False)
        assert_same(torch.load(file, weights_only=True), rebuilt(file, Path(name)))


def no_plain_values() -> Iterator[tuple[str, Any]]:
    complex_ones = torch.ones(3, dtype=torch.complex64)
    tagged = torch.nn.Parameter(torch.ones(2))
    tagged.tag = "x"  # type: ignore[attr-defined]
    cycle: list[Any] = [1]
    cycle.append(cycle)
    yield "an object", {"w": torch.ones(2), "args": Net()}
    yield "a class", {"w": torch.ones(2), "args": Net}
    yield "a module", torch.nn.Linear(2, 2)
    yield "a conjugate", {"w": complex_ones.conj()}
    yield "a sparse tensor", {"w": torch.eye(3).to_sparse()}
    with warnings.catch_warnings(action="ignore"):  # that they are deprecated
        yield "a quantised tensor", {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}
    yield "a tensor without data", {"w": torch.ones(2, device="meta")}
    yield "a tagged parameter", {"w": tagged}
    yield "a size", {"w": torch.ones(2), "size": torch.Size([1, 2])}
    yield "a type", {"w": torch.ones(2), "type": torch.float16}
    yield "a set", {"w": torch.ones(2), "set": {1}}
    yield "bytes", {"w": torch.ones(2), "bytes": b"abc"}
    yield "a cycle", {"w": torch.ones(2), "cycle": cycle}
    yield "a storage", {"w": torch.ones(2).untyped_storage()}
    yield "a huge number", {"w": torch.ones(2), "n": 1 << 5000}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in no_plain_values()])
def test_what_is_more_than_plain_values_has_no_recipe(value: Any, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "model.pt")
    with pytest.raises(NotConvertibleError):
        make_twin(tmp_path / "model.pt", tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.pt"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pickle: pickle[:2] + b"ccollections\nCounter\n0" + pickle[2:], id="names"),
        pytest.param(lambda pickle: pickle[:2] + b"cbuiltins\nset\n]\x85R0" + pickle[2:], id="calls"),
        pytest.param(lambda pickle: pickle[:2] + b"ctorch\nFloatStorage\n)R0" + pickle[2:], id="makes"),
        pytest.param(lambda pickle: pickle[:2] + b"\x82\x010" + pickle[2:], id="extension"),
    ],
)
def test_a_pickle_that_asks_for_more_in_passing_has_no_recipe(
    checkpoint: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(NotConvertibleError):
        make_twin(rewritten(checkpoint, change), tmp_path)
    assert not (tmp_path / TWIN).exists()


# the same calls


def test_a_guarded_load_asks_no_unpickler(gate: Decider, checkpoint: Path, legacy: Path, store: Path) -> None:
    for file in (checkpoint, legacy):
        expected = torch.load(file)
        for target in (file, str(file), os.fsencode(file)):
            assert_same(expected, loaded(gate, target))
        for asked in (True, False, None):
            assert_same(expected, loaded(gate, file, weights_only=asked))
    assert len(twins(store)) == 2


@pytest.mark.parametrize(
    "map_location", ["cpu", torch.device("cpu"), {"cpu": "cpu"}, {}, lambda storage, _: storage, lambda *_: None]
)
@pytest.mark.parametrize("mmap", [True, False, None])
def test_a_place_for_storages_is_honoured(known: tuple[Decider, Path], map_location: Any, mmap: bool | None) -> None:
    gate, checkpoint = known
    expected = torch.load(checkpoint, map_location=map_location, mmap=mmap)
    assert_same(expected, loaded(gate, checkpoint, map_location=map_location, mmap=mmap))
    assert_same(expected, loaded(gate, checkpoint, map_location, mmap=mmap))


def test_a_function_of_the_caller_is_called_as_torch_calls_it(known: tuple[Decider, Path]) -> None:
    gate, checkpoint = known
    calls: list[tuple[bytes, str]] = []

    def place(storage: Any, location: str) -> Any:
        calls.append((bytes(storage.tolist()), location))
        return storage.clone()

    torch.load(checkpoint, map_location=place)
    expected = calls.copy()
    calls.clear()
    loaded(gate, checkpoint, map_location=place)
    assert calls == expected
    assert len(calls) > 5


def test_a_device_that_is_not_there_is_missed_as_ever(known: tuple[Decider, Path]) -> None:
    gate, checkpoint = known
    with pytest.raises((RuntimeError, AssertionError)) as expected:
        torch.load(checkpoint, map_location="cuda")
    with pytest.raises((RuntimeError, AssertionError)) as found:
        loaded(gate, checkpoint, map_location="cuda")
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


def test_what_was_loaded_does_not_hang_on_the_store(gate: Decider, checkpoint: Path, store: Path) -> None:
    expected, found = torch.load(checkpoint), loaded(gate, checkpoint)
    for twin in twins(store):
        twin.chmod(0o600)
        twin.write_bytes(b"")
    assert_same(expected, found)


def test_what_is_written_to_a_map_stays_in_memory(known: tuple[Decider, Path]) -> None:
    gate, checkpoint = known
    first = loaded(gate, checkpoint, mmap=True)
    first["state_dict"]["embedding"].zero_()
    assert not first["state_dict"]["head"].any()
    assert_same(torch.load(checkpoint), loaded(gate, checkpoint))


@pytest.mark.parametrize("kind", ["checkpoint", "legacy"])
@pytest.mark.parametrize("opened", [lambda file: io.BytesIO(file.read_bytes()), lambda file: file.open("rb")])
def test_a_stream_is_left_where_torch_leaves_it(
    gate: Decider, request: pytest.FixtureRequest, kind: str, opened: Callable[[Path], Any]
) -> None:
    file = request.getfixturevalue(kind)
    with opened(file) as stream:
        expected, end = torch.load(stream), stream.tell()
    with opened(file) as stream:
        assert_same(expected, loaded(gate, stream))
        assert stream.tell() == end


@pytest.mark.parametrize(
    ("name", "stream", "arguments"),
    [
        ("checkpoint", False, {"pickle_module": __import__("pickle"), "weights_only": False}),
        ("checkpoint", False, {"encoding": "ascii", "weights_only": False}),
        ("checkpoint", False, {"map_location": "meta"}),
        ("checkpoint", True, {"mmap": True}),
        ("legacy", False, {"mmap": True}),
        ("legacy", False, {"map_location": lambda storage, _: storage}),
    ],
)
def test_what_only_torch_can_do_is_done_by_torch(
    gate: Decider, request: pytest.FixtureRequest, name: str, stream: bool, arguments: dict[str, Any], store: Path
) -> None:
    file = request.getfixturevalue(name)
    torch_itself = Recorder()
    target = io.BytesIO(file.read_bytes()) if stream else file
    of_torch.load(gate, torch_itself, target, **arguments)
    (opened,) = torch_itself.asked
    assert stream or Path(opened).is_relative_to(store)


def test_a_checkpoint_of_scalars_has_no_place_to_leave_a_stream_at(gate: Decider, tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "scalars.pt")
    assert loaded(gate, tmp_path / "scalars.pt") == {"epoch": 3}
    one, other = (io.BytesIO((tmp_path / "scalars.pt").read_bytes()) for _ in range(2))
    assert of_torch.load(gate, torch.load, one) == torch.load(other) == {"epoch": 3}
    assert one.tell() == other.tell()


def test_loads_in_many_threads_are_equal(gate: Decider, checkpoint: Path, store: Path) -> None:
    expected = torch.load(checkpoint)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: loaded(gate, checkpoint), range(16)):
            assert_same(expected, found)
    assert len(twins(store)) == 1


# what the policy says


def test_a_review_of_the_pickle_alone_is_loaded_from_the_twin(gate: Decider, checkpoint: Path, store: Path) -> None:
    doubtful = rewritten(checkpoint, lambda pickle: pickle + b"what follows")
    assert_same(torch.load(doubtful), loaded(gate, doubtful))
    with Store(store) as opened:
        assert [sorted(snapshot.files) for snapshot in opened.snapshots()] == [[RECIPE, TWIN]]
    with pytest.raises(LoadRefused, match="AIV308") as refused:
        loaded(gate, doubtful, map_location="meta")
    assert refused.value.outcome == "review"


def test_a_stricter_policy_does_not_see_the_twin(checkpoint: Path, store: Path, gate: Decider) -> None:
    doubtful = rewritten(checkpoint, lambda pickle: pickle + b"what follows")
    loaded(gate, doubtful)
    strict = Decider(Settings(policy=Policy(require_signature=True), store=str(store)))
    with pytest.raises(LoadRefused):
        loaded(strict, doubtful)


def test_a_refusal_says_how_the_tensors_can_be_had(gate: Decider, tmp_path: Path, store: Path) -> None:
    file = tmp_path / "my model.pt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "hyper_parameters": Net()}, file)
    with pytest.raises(LoadRefused, match="Net") as refused:
        loaded(gate, file)
    assert refused.value.outcome == "review"
    assert f"aiverify convert '{file}' -o converted" in refused.value.hint
    assert f"aiverify verify '{file}'" in refused.value.hint
    assert twins(store) == []


def test_a_refusal_speaks_of_no_twin_where_none_can_be_made(gate: Decider, tmp_path: Path) -> None:
    torch.save({"args": Net()}, tmp_path / "model.pt")
    with pytest.raises(LoadRefused) as refused:
        loaded(gate, tmp_path / "model.pt")
    assert "convert" not in refused.value.hint


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, replace(DEFAULT_POLICY, twin_of_blocked=True)])
def test_a_payload_is_never_left_out_in_silence(policy: Policy, checkpoint: Path, tmp_path: Path, store: Path) -> None:
    marker = tmp_path / "marker"
    call = f"cposix\nsystem\n(Vtouch {marker}\ntR0".encode()
    torch.save({"w": torch.ones(2), "x": Payload(marker)}, tmp_path / "evil.pt")
    popped = rewritten(checkpoint, lambda pickle: pickle[:2] + call + pickle[2:])
    for mode in ("enforce", WARN):
        gate = Decider(Settings(policy=policy, store=str(store), mode=mode))
        for file in (tmp_path / "evil.pt", popped):
            with pytest.raises(LoadRefused) as refused:
                of_torch.load(gate, torch.load, file, weights_only=False)
            assert refused.value.outcome == "block"
    assert twins(store) == []
    assert not marker.exists()


# the store


def swapped_in_place(place: Path) -> None:
    content = bytearray(place.read_bytes())
    content[-9] ^= 1
    place.chmod(0o644)
    place.write_bytes(content)
    place.chmod(0o444)


def swapped_by_rename(place: Path) -> None:
    place.parent.chmod(0o755)
    other = place.with_name("other")
    shutil.copyfile(place, other)
    swapped_in_place(other)
    other.replace(place)
    place.parent.chmod(0o555)


@pytest.mark.parametrize("name", [TWIN, RECIPE])
@pytest.mark.parametrize(
    ("swap", "rehash"),
    [(swapped_in_place, False), (swapped_in_place, True), (swapped_by_rename, False), (Path.unlink, False)],
)
def test_what_was_swapped_in_the_store_is_not_loaded(
    checkpoint: Path, store: Path, name: str, swap: Callable[[Path], object], rehash: bool
) -> None:
    gate = Decider(Settings(policy=DEFAULT_POLICY, store=str(store), rehash_always=rehash))
    expected = torch.load(checkpoint)
    with Store(store) as opened:  # the digest of so young a file is not believed otherwise, nor the gate's own memory
        opened.index.keep_sealed([(checkpoint.stat(), hashlib.sha256(checkpoint.read_bytes()).hexdigest())])
    loaded(gate, checkpoint)
    (twin,) = twins(store)
    twin.parent.chmod(0o755)
    swap(twin.with_name(name))
    assert_same(expected, loaded(gate, checkpoint))


def test_a_checkpoint_that_changed_has_another_twin(gate: Decider, checkpoint: Path, store: Path) -> None:
    loaded(gate, checkpoint)
    torch.save({"w": torch.ones(3)}, checkpoint)
    assert_same(torch.load(checkpoint), loaded(gate, checkpoint))
    assert len(twins(store)) == 2


def test_a_twin_is_known_to_the_next_process(checkpoint: Path, store: Path, gate: Decider) -> None:
    loaded(gate, checkpoint)
    (twin,) = twins(store)
    before = twin.stat()
    assert_same(torch.load(checkpoint), loaded(Decider(gate.settings), checkpoint))
    assert twin.stat().st_ctime_ns == before.st_ctime_ns
    with Store(store) as opened:
        assert list(opened.faults()) == []


def test_a_guarded_process_loads_from_the_twin(checkpoint: Path, store: Path) -> None:
    guarded = "import sys, aiverify; aiverify.protect(store=sys.argv[2])"
    code = f"{guarded}; import torch; print(torch.load(sys.argv[1])['epoch'])"
    command = [sys.executable, "-c", code, str(checkpoint), str(store)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, "3\n"), ran.stderr
    assert len(twins(store)) == 1


def test_nothing_is_written_outside_of_the_store(gate: Decider, checkpoint: Path, tmp_path: Path, store: Path) -> None:
    before = sorted(tmp_path.iterdir())
    loaded(gate, checkpoint)
    assert sorted(tmp_path.iterdir()) == sorted([*before, store])
    assert not list((store / "temporary").iterdir())
