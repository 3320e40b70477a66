"""Attacks in the formats of other frameworks: those that can be proven here are, and none of them passes."""

import subprocess
import sys
from collections import Counter

import pytest
from attacks.other_formats import ATTACKS, SECRET, Attack, write_attack

from aiverify.api import scan
from aiverify.report import Outcome

ORDER = list(Outcome)
LIVE = [attack for attack in ATTACKS if attack.proof is not None]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.family}: {attack.title}")
def test_an_attack_does_not_pass(attack: Attack, tmp_path) -> None:
    place, _, _ = write_attack(attack, tmp_path, 1)
    report = scan(place, engines=())
    assert ORDER.index(report.verdict.outcome) >= ORDER.index(Outcome(attack.at_least)), report.verdict.reasons


@pytest.mark.parametrize("attack", LIVE, ids=lambda attack: f"{attack.family}: {attack.title}")
def test_an_attack_with_a_proof_works(attack: Attack, tmp_path) -> None:
    place, file, marker = write_attack(attack, tmp_path, 1)
    if "secret.h5" in repr(file.read_bytes()):
        import h5py

        with h5py.File(place.parent / "secret.h5", "w") as secret:
            secret.create_dataset("w", data=list(SECRET), dtype="u1")
    if "changes a file" in attack.title:
        marker.write_bytes(bytes(4))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", attack.proof, str(file)], capture_output=True, timeout=120, check=False
    )
    seen = marker.exists() and marker.read_bytes() != bytes(4)
    assert seen or SECRET in done.stdout, done.stdout + done.stderr


def test_titles_are_unique() -> None:
    assert max(Counter((attack.family, attack.title) for attack in ATTACKS).values()) == 1
    assert len(ATTACKS) >= 30
    assert len(LIVE) >= 4
