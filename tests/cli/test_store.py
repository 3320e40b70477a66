"""``aiverify store``, and the digests that the other commands remember in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine, weights

import aiverify
from aiverify.store.store import Store


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def store(machine: Machine) -> Path:
    """A store in the place where the commands look for it, with one snapshot."""
    root = machine.home / ".cache" / "aiverify"
    aiverify.ensure(weights(machine.here / "model"), store=root)
    return root


def answer(machine: Machine, *arguments: str | Path, code: int = 0) -> Any:
    ran = machine.run("store", *arguments, "--format", "json")
    assert ran.code == code, ran
    return json.loads(ran.out)


def test_ls_lists_what_is_sealed_and_for_what(machine: Machine, store: Path) -> None:
    listed = answer(machine, "ls")
    (snapshot,) = listed["snapshots"]
    assert (listed["store"], snapshot["files"], listed["bytes"]) == (str(store), 1, snapshot["bytes"])
    assert snapshot["of"] == [str(machine.here / "model")]
    assert Path(snapshot["path"]).is_dir()
    text = machine.run("store", "ls").out
    assert text.startswith(f"1 snapshot in {store}, ")
    assert snapshot["id"][:12] in text
    assert str(machine.here / "model") in text


def test_looking_at_a_store_that_is_not_there_makes_none(machine: Machine) -> None:
    assert machine.run("store", "ls").out == f"Nothing is sealed in {machine.home / '.cache' / 'aiverify'}.\n"
    assert answer(machine, "ls", "--store", "nowhere")["snapshots"] == []
    assert answer(machine, "verify")["faults"] == []
    assert answer(machine, "prune", "--all")["removed"] == []
    assert [*machine.home.iterdir(), *machine.here.iterdir()] == []


def test_the_store_can_be_named(machine: Machine, store: Path) -> None:
    moved = store.rename(machine.here / "moved")
    assert answer(machine, "ls")["snapshots"] == []
    assert len(answer(machine, "ls", "--store", "moved")["snapshots"]) == 1
    ran = machine.run("store", "ls", "--format", "json", AIVERIFY_STORE=str(moved))
    assert len(json.loads(ran.out)["snapshots"]) == 1


def test_prune_removes_what_was_not_used(machine: Machine, store: Path) -> None:
    assert answer(machine, "prune", "--unused-for", "1")["removed"] == []
    foreseen = answer(machine, "prune", "--all", "--dry-run")
    assert (len(foreseen["removed"]), foreseen["dry_run"]) == (1, True)
    assert len(answer(machine, "ls")["snapshots"]) == 1
    done = answer(machine, "prune", "--all")
    assert (done["removed"], done["freed"]) == (foreseen["removed"], foreseen["freed"])
    assert done["freed"] > 0
    assert answer(machine, "ls")["snapshots"] == []
    assert list((store / "blobs").glob("*/*")) == list((store / "snapshots").iterdir()) == []
    assert re.fullmatch(r"Removed 0 snapshots, 0 bytes freed\.\n", machine.run("store", "prune", "--all").out)


@pytest.mark.parametrize("arguments", [["prune"], ["prune", "--all", "--unused-for", "3"]])
def test_prune_wants_to_be_told_what_to_remove(machine: Machine, arguments: list[str]) -> None:
    assert "--unused-for" in machine.fails("store", *arguments)


def test_verify_hashes_everything_and_finds_what_was_changed(machine: Machine, store: Path) -> None:
    ran = machine.run("store", "verify", "-v")
    assert (ran.code, ran.out[:18]) == (0, "WHOLE  1 snapshot,")
    assert "verify (" in ran.err
    (snapshot,) = Store(store).snapshots()
    place = snapshot.root / "model.safetensors"
    state = place.stat()
    place.chmod(0o644)
    with place.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    place.chmod(0o444)
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    ran = machine.run("store", "verify")
    assert ran.code == 1
    assert "its bytes were changed" in ran.out
    assert len(answer(machine, "verify", code=1)["faults"]) == 1


@pytest.mark.parametrize("command", ["ls", "verify", "prune --all"])
def test_a_folder_that_is_no_store_is_left_alone(machine: Machine, command: str) -> None:
    weights(machine.here / "model")
    assert "is not a store" in machine.fails("store", *command.split(), "--store", "model")
    assert [path.name for path in (machine.here / "model").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("command", ["ls", "verify", "prune --all"])
def test_what_is_no_folder_is_no_store(machine: Machine, command: str) -> None:
    (machine.here / "link").symlink_to("nowhere")
    for name in ("/dev/null", "link"):
        assert "is not a store" in machine.fails("store", *command.split(), "--store", name)


def test_a_broken_index_is_one_line_with_the_way_out(machine: Machine, store: Path) -> None:
    (store / "index.sqlite").write_bytes(b"no database" * 1000)
    assert "--store" in machine.fails("store", "ls")


def test_a_hostile_name_cannot_act_on_the_terminal(machine: Machine, store: Path) -> None:
    name = "\x1b[31mred"
    aiverify.ensure(weights(machine.here / name), store=store)
    other = weights(machine.here / "other")
    (other / "config.json").write_text('{"a": 1}')
    aiverify.ensure(other.rename(machine.here / f"{name}2"), store=store)
    ran = machine.run("store", "ls")
    assert "\x1b" not in ran.out
    assert "red2" in ran.out


# digests that other commands remember


def large(folder: Path) -> Path:
    table = json.dumps({"w": {"dtype": "U8", "shape": [2 << 20], "data_offsets": [0, 2 << 20]}}).encode()
    folder.mkdir()
    place = folder / "model.safetensors"
    place.write_bytes(len(table).to_bytes(8, "little") + table + bytes(2 << 20))
    return folder


def age(place: Path) -> None:
    """Wait until the last change of the file is no longer racy."""
    import time

    while time.time() - place.stat().st_ctime < 2.1:
        time.sleep(0.05)


def test_verify_remembers_digests_unless_it_is_told_not_to(machine: Machine) -> None:
    place = large(machine.here / "model") / "model.safetensors"
    age(place)
    plain = machine.run("verify", "model", "--no-cache", "--format", "json")
    assert list(machine.home.iterdir()) == []
    first = machine.run("verify", "model", "--format", "json", "-v")
    index = machine.home / ".cache" / "aiverify" / "index.sqlite"
    assert index.stat().st_mode & 0o777 == 0o600
    assert index.parent.stat().st_mode & 0o777 == 0o700
    assert "digest (" in first.err
    again = machine.run("verify", "model", "--format", "json", "-v")
    assert "digest (" not in again.err
    files = [ran.report["artifact"]["files"] for ran in (plain, first, again)]
    assert files[0] == files[1] == files[2]
    assert "digest (" in machine.run("verify", "model", "--no-cache", "-v").err
    with place.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    changed = machine.run("verify", "model", "--format", "json", "-v")
    assert "digest (" in changed.err
    assert changed.report["artifact"]["files"] != files[0]


def test_a_home_that_cannot_be_written_does_not_fail_a_verify(machine: Machine) -> None:
    age(large(machine.here / "model") / "model.safetensors")
    (machine.home / ".cache").write_text("in the way")
    ran = machine.run("verify", "model")
    assert (ran.code, ran.err) == (0, "")
    ran = machine.run("verify", "model", "-v")
    assert ran.code == 0
    assert "digests are not remembered: " in ran.err
