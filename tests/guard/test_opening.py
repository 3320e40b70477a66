"""What may be opened that is called like a model, when no loader is at work. Each in a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import Machine
from pickle_builder import named, stream, text, tup

EVIL = stream(named("os.system") + tup(text("true")) + b"R")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    (made.here / "evil.pkl").write_bytes(EVIL)
    return made


def ran(machine: Machine, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import aiverify\naiverify.protect()\n{code}"],
        cwd=machine.here,
        env=machine.environ(AIVERIFY_STORE=str(machine.home / "store")),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("mode", ["rb", "r+b", "a+b"])
def test_what_can_be_read_is_verified_first(machine: Machine, mode: str) -> None:
    end = ran(machine, f"open('evil.pkl', {mode!r})")
    assert "LoadRefused" in end.stderr, end.stderr


@pytest.mark.parametrize("path", ["b'evil.pkl'", "pathlib.Path('evil.pkl')"])
def test_a_path_of_any_type_is_a_path(machine: Machine, path: str) -> None:
    end = ran(machine, f"import io, pathlib; io.FileIO({path})")
    assert "LoadRefused: evil.pkl" in end.stderr, end.stderr


@pytest.mark.parametrize("name", ["evil.PKL", "best.pth.tar", "evil.pkl.gz", "evil.pdparams", "evil.cloudpickle"])
def test_what_is_called_like_a_model_is_verified(machine: Machine, name: str) -> None:
    (machine.here / "evil.pkl").rename(machine.here / name)
    end = ran(machine, f"open({name!r}, 'rb')")
    assert f"LoadRefused: {name}" in end.stderr, end.stderr


@pytest.mark.parametrize("mode", ["wb", "w+b", "ab"])
def test_a_file_that_is_only_written_to_or_emptied_first_is_not_looked_at(machine: Machine, mode: str) -> None:
    end = ran(machine, f"open('evil.pkl', {mode!r}).write(b'new')")
    assert end.returncode == 0, end.stderr
    assert (machine.here / "evil.pkl").read_bytes().endswith(b"new")


def test_an_archive_of_arrays_is_written_over_a_broken_one(machine: Machine) -> None:
    (machine.here / "arrays.npz").write_bytes(b"PK\x03\x04 and then the disk was full")
    end = ran(machine, "import numpy as np; np.savez('arrays.npz', a=np.eye(2)); np.load('arrays.npz')['a']")
    assert end.returncode == 0, end.stderr


def test_a_folder_that_is_called_like_a_model_is_a_folder(machine: Machine) -> None:
    (machine.here / "last.ckpt" / "part.ckpt").mkdir(parents=True)
    (machine.here / "last.ckpt" / "part.ckpt" / "notes.txt").write_text("")
    end = ran(machine, "import os, shutil; os.close(os.open('last.ckpt', os.O_RDONLY)); shutil.rmtree('last.ckpt')")
    assert end.returncode == 0, end.stderr
    assert not (machine.here / "last.ckpt").exists()
