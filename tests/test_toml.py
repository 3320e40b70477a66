"""TOML is read as tomllib reads it, but for keys that would take all memory."""

from __future__ import annotations

import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.toml import MAX_PARTS, parse_toml

WORDS = [
    *("a", "'b c'", '"d.e"', r'"\""', "''", ".", " ", "=", "1", "[", "]", "{", "}", ",", "\n", "#"),
    '"' * 3,
    "'" * 3,
]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map("".join))
def test_it_is_what_tomllib_reads(text: str) -> None:
    try:
        expected = tomllib.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            parse_toml(text.encode())
        return
    assert parse_toml(text.encode()) == expected


@pytest.mark.parametrize("part", ["a", "'a b'", '"a.b"', r'"\""', '""', "a \t"])
def test_a_key_has_so_many_parts_and_no_more(part: str) -> None:
    longest = ".".join([part] * (MAX_PARTS - 1))
    content: object = parse_toml(f"{longest} = 1".encode())
    for _ in range(MAX_PARTS - 1):
        assert isinstance(content, dict)
        (content,) = content.values()
    assert content == 1
    with pytest.raises(ValueError, match="parts"):
        parse_toml(f"{longest}.{part} = 1".encode())


@pytest.mark.parametrize(
    "text",
    [
        *("{} = 1", "[{}]", "[[{}]]", "x = 1\n[y]\n  {} = 1", "x = {{ y = 1, {} = 2 }}", "x = '#'\n{} = 1"),
        *('x = """\n"""\n{} = 1', 'x = """a"""""\n{} = 1', "x = '''a''''\n{} = 1", 'x = "\\""\n{} = 1', "# '\n{} = 1"),
    ],
)
def test_a_key_of_countless_parts_is_refused_at_once_wherever_it_stands(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match="parts"):
        parse_toml(text.format(".".join(["a"] * 100_000)).encode())
    assert time.process_time() - begun < 20  # else it takes minutes


@pytest.mark.parametrize("text", ['x = "{}"', "x = '{}'", 'x = """\n{}"""', "x = '''{}'''", "x = 1 # {}"])
def test_what_only_looks_like_a_key_is_read(text: str) -> None:
    assert parse_toml(text.format(".".join(["a"] * 1000)).encode()).keys() == {"x"}


@pytest.mark.parametrize(
    "text", ["a" * 10**6, '"' * 10**6, "a " * 10**5, "." * 10**6, '"' + "\\" * 10**6, '"""' * 10**5]
)
def test_what_is_no_toml_is_told_in_time(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError):
        parse_toml(text.encode())
    assert time.process_time() - begun < 20  # else it takes minutes
