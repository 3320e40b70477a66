"""The decision about one file."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from pickle_builder import named, stream, text, tup

from aiverify.guard.asked import state_of
from aiverify.guard.deciding import WARN, Settings
from aiverify.guard.gate import StoreGate
from aiverify.guard.interface import LoadRefused, refusal
from aiverify.guard.judging import CHANGED, judge_file
from aiverify.guard.policies import policy_for
from aiverify.policy import DEFAULT_POLICY, Policy
from aiverify.questions import asked
from aiverify.report import Outcome
from aiverify.store.interface import Member
from aiverify.store.store import Store

GOOD = pickle.dumps({"a": [1, 2]})
UNKNOWN = stream(named("acme.models.Net") + tup() + b"R")
EVIL = stream(named("os.system") + tup(text("true")) + b"R")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def gate(store: Path) -> StoreGate:
    return StoreGate(Settings(policy=DEFAULT_POLICY, store=str(store)))


def file(folder: Path, content: bytes, name: str = "model.pkl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_what_passes_is_loaded_from_a_sealed_copy(gate: StoreGate, tmp_path: Path, store: Path) -> None:
    admission = gate.admit(file(tmp_path, GOOD))
    assert admission.outcome == "pass"
    assert admission.sealed.is_relative_to(store)
    assert admission.sealed.read_bytes() == GOOD
    assert admission.sealed.stat().st_mode & 0o777 == 0o444
    assert admission.sha256 == hashlib.sha256(GOOD).hexdigest()


def test_a_name_as_long_as_names_can_be_is_one(gate: StoreGate, tmp_path: Path) -> None:
    assert gate.admit(file(tmp_path, GOOD, f"{'n' * 251}.pkl")).outcome == "pass"


def test_names_are_admitted_as_written_and_as_renamed(gate: StoreGate, tmp_path: Path) -> None:
    content = stream(named("copy_reg._reconstructor"), 2)
    gate.settings.policy = replace(DEFAULT_POLICY, trusted_globals=frozenset(["copyreg._reconstructor"]))
    admission = gate.admit(file(tmp_path, content))
    assert admission.globals == {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}


@pytest.mark.parametrize(("content", "outcome"), [(EVIL, "block"), (UNKNOWN, "review"), (GOOD[:-1], "error")])
def test_what_does_not_pass_is_refused_and_not_sealed(
    gate: StoreGate, tmp_path: Path, store: Path, content: bytes, outcome: str
) -> None:
    path = file(tmp_path, content)
    with pytest.raises(LoadRefused) as refused:
        gate.admit(path)
    assert refused.value.outcome == outcome
    assert refused.value.file == str(path)
    assert refused.value.rules
    assert "default policy" in refused.value.policy
    assert refused.value.command == f"aiverify verify {path}"
    assert Store(store).snapshots() == []


def test_a_warning_lets_review_through_and_says_so(
    gate: StoreGate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.settings.mode = WARN
    assert gate.admit(file(tmp_path, UNKNOWN)).globals == {("acme.models", "Net")}
    assert "acme.models.Net" in capsys.readouterr().err


def test_a_warning_does_not_let_through_what_is_blocked(gate: StoreGate, tmp_path: Path) -> None:
    gate.settings.mode = WARN
    with pytest.raises(LoadRefused, match="block"):
        gate.admit(file(tmp_path, EVIL))


@pytest.mark.parametrize("rehash", [False, True])
def test_a_file_that_changed_in_place_is_judged_anew(gate: StoreGate, tmp_path: Path, rehash: bool) -> None:
    gate.settings.rehash_always = rehash
    path = file(tmp_path, GOOD + b" " * (len(EVIL) - len(GOOD)) if len(EVIL) > len(GOOD) else GOOD)
    path.write_bytes(GOOD)
    gate.admit(path)
    before = path.stat()
    path.write_bytes(EVIL)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(LoadRefused, match=r"posix\.system|os\.system"):
        gate.admit(path)


def test_a_sealed_copy_that_was_changed_is_made_anew(gate: StoreGate, tmp_path: Path) -> None:
    path = file(tmp_path, GOOD)
    sealed = gate.admit(path).sealed
    sealed.chmod(0o644)
    sealed.write_bytes(EVIL.ljust(len(GOOD), b".")[: len(GOOD)])
    sealed.chmod(0o444)
    assert gate.admit(path).sealed.read_bytes() == GOOD


def test_a_verdict_of_another_policy_does_not_count(gate: StoreGate, tmp_path: Path, store: Path) -> None:
    path = file(tmp_path, UNKNOWN)
    trusting = replace(DEFAULT_POLICY, trusted_globals=frozenset(["acme.models.Net"]))
    assert StoreGate(Settings(policy=trusting, store=str(store))).admit(path).outcome == "pass"
    with pytest.raises(LoadRefused):
        gate.admit(path)


@pytest.mark.parametrize("content", [EVIL, GOOD[:-1]], ids=["payload", "cut short"])
def test_a_file_in_place_is_the_one_that_was_opened(tmp_path: Path, content: bytes) -> None:
    """Another one lies there while it is examined: what that is says nothing of the first, and is not remembered."""
    path = file(tmp_path, content)
    opened = state_of(path.stat())
    assert judge_file(path, path.name, DEFAULT_POLICY, opened).outcome is not Outcome.PASS
    file(tmp_path, GOOD, "other").replace(path)
    judged = judge_file(path, path.name, DEFAULT_POLICY, opened)
    assert (judged.outcome, judged.inert) == (Outcome.ERROR, False)
    assert CHANGED in judged.rules


def test_a_policy_beside_the_file_is_not_read(tmp_path: Path, store: Path) -> None:
    policy = tmp_path / "aiverify.toml"
    policy.write_text('block_at = "critical"\nreview_at = "critical"\n')
    path = file(tmp_path, UNKNOWN)
    with pytest.raises(LoadRefused, match="inside a target"):
        StoreGate(Settings(policy=policy, store=str(store))).admit(path)
    with pytest.raises(LoadRefused, match="default policy"):
        StoreGate(Settings(store=str(store), working_directory=str(tmp_path))).admit(path)


def test_a_file_of_a_snapshot_that_passed_needs_no_signature_of_its_own(tmp_path: Path, store: Path) -> None:
    policy = Policy(require_signature=True)
    path = file(tmp_path, GOOD)
    gate = StoreGate(Settings(policy=policy, store=str(store)))
    with pytest.raises(LoadRefused):
        gate.admit(path)
    with Store(store) as ours:
        sha256 = hashlib.sha256(GOOD).hexdigest()
        snapshot = ours.seal([Member(path="sub/model.pkl", location=path, size=len(GOOD), sha256=sha256)])
        sealed = snapshot.root / "sub" / "model.pkl"
        with pytest.raises(LoadRefused):
            gate.admit(sealed)
        ours.record(asked("hub acme/net", policy, ["fickling"]), "pass", "{}", snapshot)
    assert StoreGate(Settings(policy=policy, store=str(store))).admit(sealed, sealing=True).outcome == "pass"


@pytest.mark.parametrize("part", ["policy", "rules", "engines", "tool"])
def test_a_snapshot_that_passed_under_another_question_vouches_for_nothing(
    tmp_path: Path, store: Path, part: str
) -> None:
    """Such as an older version, rules without what is known today, or a policy whose waiver still held."""
    path = file(tmp_path, EVIL)
    with Store(store) as ours:
        snapshot = ours.seal(
            [Member(path="model.pkl", location=path, size=len(EVIL), sha256=hashlib.sha256(EVIL).hexdigest())]
        )
        then = asked("hub acme/net", DEFAULT_POLICY, ["fickling"])
        ours.record(replace(then, **{part: f"{getattr(then, part)} then"}), "pass", "{}", snapshot)
    with pytest.raises(LoadRefused, match="block"):
        StoreGate(Settings(policy=DEFAULT_POLICY, store=str(store))).admit(snapshot.root / "model.pkl")


def test_what_no_unpickler_reads_may_be_opened_and_not_loaded(gate: StoreGate, tmp_path: Path) -> None:
    path = file(tmp_path, bytes(range(256)), "table.bin")
    assert gate.admit(path, sealing=False).sealed == path
    with pytest.raises(LoadRefused):
        gate.admit(path)


def test_what_is_no_regular_file_is_refused_at_once(gate: StoreGate, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    for path in (tmp_path, tmp_path / "pipe.pkl"):
        with pytest.raises(LoadRefused, match="no regular file"):
            gate.admit(path)


def test_a_store_that_cannot_be_is_no_leave_to_load(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(LoadRefused, match="could not be verified"):
        StoreGate(Settings(policy=DEFAULT_POLICY, store=str(tmp_path / "store"))).admit(file(tmp_path, GOOD))


def test_a_missing_file_is_missed_as_ever(gate: StoreGate, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        gate.admit(tmp_path / "nothing.pkl")


def test_a_refusal_travels_between_processes(tmp_path: Path) -> None:
    path = file(tmp_path, b"", "a b.pkl")
    sent = refusal(path, "block", ("bad",), rules=("AIV301",), policy="default policy: block_at = high")
    got = pickle.loads(pickle.dumps(sent))
    assert (str(got), got.rules, got.command) == (str(sent), ("AIV301",), f"aiverify verify '{path}'")
    assert got.__notes__ == [f"See more with: aiverify verify '{path}'"]


def test_a_gate_that_nobody_asks_any_more_is_gone_with_its_store(gate: StoreGate, tmp_path: Path) -> None:
    own = StoreGate(gate.settings)
    own.admit(file(tmp_path, GOOD))
    ended = weakref.ref(own)
    del own
    gc.collect()
    assert ended() is None


def test_the_policy_of_a_sealed_model_does_not_judge_the_next_one(tmp_path: Path) -> None:
    sealed = tmp_path / "store" / "snapshots" / ("0" * 64)
    sealed.mkdir(parents=True)
    (sealed / "aiverify.toml").write_text("twin_of_blocked = true\n")
    here = Settings(store=str(tmp_path / "store"), working_directory=str(sealed))
    assert not policy_for(tmp_path / "next.pt", here).twin_of_blocked
