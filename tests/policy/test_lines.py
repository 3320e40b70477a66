"""The lines of a TOML file on which keys stand."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from toml_writer import inline, name

from aiverify.policy.lines import line_numbers

FILE = '''\
# a comment with "quotes" and [brackets]
review_at = "low" # [not.a.table]
trust.globals = [
  "a.b", 'c # no comment',

  "]", # ]
]
[[signers]]
identity = """one = 1
[two]
"three" = \\""""
issuer = 'x'
[[signers]] # the second
any_of = [ { key = "k" },
  { any_of = [ { "ke.y" = 1.5, ca.pem = 2 } ] } ]
[signers.more]
on = 2027-01-31 10:00:00.5
[ tool . "aiverify" ]
last = {}
'''


def test_each_key_stands_where_a_reader_sees_it() -> None:
    tomllib.loads(FILE)
    assert line_numbers(FILE) == {
        "review_at": 2,
        "trust": 3,
        "trust.globals": 3,
        "trust.globals[0]": 4,
        "trust.globals[1]": 4,
        "trust.globals[2]": 6,
        "signers": 8,
        "signers[0]": 8,
        "signers[0].identity": 9,
        "signers[0].issuer": 12,
        "signers[1]": 13,
        "signers[1].any_of": 14,
        "signers[1].any_of[0]": 14,
        "signers[1].any_of[0].key": 14,
        "signers[1].any_of[1]": 15,
        "signers[1].any_of[1].any_of": 15,
        "signers[1].any_of[1].any_of[0]": 15,
        "signers[1].any_of[1].any_of[0].ke.y": 15,
        "signers[1].any_of[1].any_of[0].ca": 15,
        "signers[1].any_of[1].any_of[0].ca.pem": 15,
        "signers[1].more": 16,
        "signers[1].more.on": 17,
        "tool": 18,
        "tool.aiverify": 18,
        "tool.aiverify.last": 19,
    }


def test_windows_line_ends_count_once() -> None:
    assert line_numbers("a = 1\r\n\r\nb = 2\r\n") == {"a": 1, "b": 3}


def test_a_list_of_tables_below_another_counts_for_its_own() -> None:
    text = "[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\nx = 1\n"
    found = line_numbers(text)
    assert (found["a[0].b[1].x"], found["a[1].b[0].x"]) == (4, 7)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=".[]"), min_size=1, max_size=6)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), st.dates(), TEXTS, st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


def paths(value: object, path: str) -> Iterator[str]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from paths(item, f"{path}[{number}]")


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=5, unique_by=lambda item: item[0]), st.booleans())
def test_every_key_of_any_file_has_its_line(items: list[tuple[str, object]], spread: bool) -> None:
    text, expected, line = "", {}, 1
    for key, value in items:
        text += f"# {key!r}\n\n" if spread else ""
        line += 2 if spread else 0
        expected |= dict.fromkeys(paths(value, key), line)
        text += f"{name(key)} = {inline(value)} # = [ {{\n"
        line += 1
    tomllib.loads(text)
    assert line_numbers(text) == expected


@given(st.text(st.sampled_from("ab=.,[]{}\"'#\n \\1-"), max_size=30))
def test_any_text_that_is_toml_is_followed_to_its_end(text: str) -> None:
    try:
        content = tomllib.loads(text)
    except ValueError:
        return
    assert {key for key in line_numbers(text) if not set(".[") & set(key)} >= {
        key for key in content if not set(".[") & set(key)
    }


def test_the_work_grows_with_the_length_of_the_text_and_not_with_its_square() -> None:
    def seconds(count: int) -> float:
        text = "x = [" + "[1, {a = 'b'}], " * count + "]\n" + "a." * count + "b = 1\n" + "[[t.u]]\nv = 1\n" * count
        start = time.process_time()
        line_numbers(text)
        return time.process_time() - start

    assert min(seconds(5000) for _ in range(2)) < 40 * max(min(seconds(500) for _ in range(2)), 0.002)
