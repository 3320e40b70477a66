"""The tools behind ``make fuzz`` and ``make mutations``, without the fuzzing engine and without breaking everything."""

import random
import subprocess
import sys
from pathlib import Path

from fuzz.pickle_grammar import Grammar, mutate, tokens
from hypothesis import given
from hypothesis import strategies as st
from mutations.breaks import _ways, opcode_breaks

from aiverify.pickles.machine import interpret
from aiverify.pickles.opcodes import Op

ROOT = Path(__file__).parents[1]


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_opcode_is_broken_in_some_way():
    assert set(_ways()) == {op.name for op in Op}
    assert len({broken.name for broken in opcode_breaks()}) > 200


def test_every_break_fits_the_source():
    done = run("-m", "tests.mutations", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_break_is_noticed():
    done = run("-m", "tests.mutations", "--workers", "1", "--only", "a name as written is forgotten")
    assert "1 breaks, 0 survivors" in done.stdout, done.stdout + done.stderr


@given(st.binary(max_size=300))
def test_tokens_are_the_stream(stream):
    assert b"".join(tokens(stream)) == stream


def test_the_grammar_makes_streams_that_are_read_and_others():
    grammar = Grammar(random.Random(1))
    streams = [grammar.stream() for _ in range(500)]
    read = sum(interpret(stream).failure is None for stream in streams)
    assert 150 < read < 450
    assert set(Op) <= {stream[at] for stream in streams for at in range(len(stream))}


def test_a_changed_stream_is_another_and_no_longer_than_asked():
    chance = random.Random(1)
    stream = b"\x80\x04cos\nsystem\n(K\x01tR."
    changed = {mutate(stream, 64, chance) for _ in range(200)}
    assert len(changed) > 150
    assert max(map(len, changed)) <= 64


TRY = """
import random
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # behind a torn frame, a witness may ask for anything
from tests.fuzz.pickle_grammar import Grammar
from tests.fuzz.pickle_machine import TARGET
chance = random.Random(1)
grammar = Grammar(chance)
streams = [grammar.stream() for _ in range(1000)]
for stream in streams + [TARGET.mutate(stream, 400, chance) for stream in streams]:
    assert TARGET.check(stream) is None, stream
assert TARGET.counters()["finished by CPython"] > len(streams) / 4
"""


def test_the_target_finds_nothing():
    done = run("-c", TRY)
    assert done.returncode == 0, done.stderr
