"""Attacks that work: each one runs in its real loader, and none of them passes here.

A payload makes its marker in the test's own folder, or ends the process that loads it. It runs in a child process,
never in this one.
"""

import json
import subprocess
import sys
from collections import Counter

import pytest
from attacks.corpus import BARE, MECHANISMS, plans, stream_of, write_sample
from attacks.expressions import opcode_path
from attacks.mechanism import Target

from aiverify.api import scan
from aiverify.report import Outcome, worst

PLANS = plans()
ORDER = list(Outcome)
FIRST = PLANS[::-1]  # of a kind, the first one of the corpus remains
EVERY_KIND = {plan.container.family: plan for plan in FIRST} | {plan.mechanism.family: plan for plan in FIRST}


def outcome(sample) -> Outcome:
    """What a scan makes of the sample's folder, which also holds a harmless checkpoint.

    Without other weights, a folder of harmless texts would be an error: there would be nothing to load.
    """
    (sample.folder / "companion.bin").write_bytes(b"\x80\x02}.")
    report = scan(sample.folder, engines=())
    return worst([report.verdict.outcome, *(variant.outcome for variant in report.variants)])


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_an_attack_that_works_does_not_pass(plan, loading, tmp_path):
    sample = write_sample(plan, tmp_path, 1000)
    became = loading[not plan.bare].prove(
        file=str(sample.file), loader=plan.container.loader, marker=str(sample.marker), proof=plan.mechanism.proof
    )
    assert became == "ran", "the attack does not run in its loader: it proves nothing"
    assert ORDER.index(outcome(sample)) >= ORDER.index(Outcome(plan.at_least))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_command_says_the_same(kind, tmp_path):
    plan = EVERY_KIND[kind]
    sample = write_sample(plan, tmp_path, 1000)
    command = [sys.executable, "-m", "aiverify", "scan", str(sample.folder), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert json.loads(done.stdout)["verdict"]["outcome"] != "pass"


def test_the_corpus_is_large():
    assert len({plan.mechanism.title for plan in PLANS}) >= 180
    assert len({plan.container.title for plan in PLANS}) >= 120
    assert len(PLANS) >= 600


def test_titles_are_unique():
    assert max(Counter(mechanism.title for mechanism in MECHANISMS).values()) == 1


def test_no_two_attacks_share_mechanism_container_and_opcodes():
    target = Target("/markers/1000", "1000", "/samples/1000")
    keys = Counter()
    for plan in PLANS:
        path = opcode_path(stream_of(plan.mechanism, plan.style, target))
        keys[plan.mechanism.title, plan.container.title, path] += 1
    assert [key[:2] for key, count in keys.items() if count > 1] == []


def test_every_mechanism_of_this_python_is_there():
    bare = {plan.mechanism.title for plan in PLANS if plan.container.title == BARE}
    assert bare == {mechanism.title for mechanism in MECHANISMS if mechanism.works_here()}


def test_a_pickle_that_does_nothing_leaves_no_marker(loading, tmp_path):
    """The proof is one: it fails for a harmless file."""
    file = tmp_path / "a.pkl"
    file.write_bytes(b"\x80\x02}.")
    for proof in ("marker", "dies"):
        became = loading[False].prove(file=str(file), loader="pickle", marker=str(tmp_path / "1000"), proof=proof)
        assert became != "ran"
