"""What the Hub's scanners say is read as information, and a missing word is no word."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.sources.hubclient.scans import MAX_SCANNERS, parse_scans
from aiverify.sources.interface import SourceError


def page(*told: object) -> bytes:
    return json.dumps(
        [{"type": "file", "path": f"f{n}", "securityFileStatus": one} for n, one in enumerate(told)]
    ).encode()


def test_the_status_of_the_file_and_of_each_scanner_is_read() -> None:
    told = {
        "status": "unsafe",
        "avScan": {"status": "safe", "version": "1"},
        "pickleImportScan": {"status": "unsafe", "pickleImports": []},
        "someNewScan": {"status": "queued"},
    }
    assert parse_scans(page(told), "org/model") == {
        "f0": {"status": "unsafe", "avScan": "safe", "pickleImportScan": "unsafe", "someNewScan": "queued"}
    }


@pytest.mark.parametrize("told", [None, {}, [], 1, {"status": None}, {"status": "\x1b[2J"}, {"a b": {"status": "x"}}])
def test_what_says_nothing_is_not_there(told: object) -> None:
    assert parse_scans(page(told), "org/model") == {}


def test_scanners_without_end_are_not_kept() -> None:
    told = {f"scan{n}": {"status": "safe"} for n in range(1000)}
    assert len(parse_scans(page(told), "org/model")["f0"]) == MAX_SCANNERS


def test_an_answer_that_is_no_listing_is_an_error() -> None:
    for body in (b"{}", b"", b"null"):
        with pytest.raises(SourceError):
            parse_scans(body, "org/model")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.lists(st.fixed_dictionaries({"type": st.just("file"), "path": st.just("a"), "securityFileStatus": values})))
def test_whatever_is_told_gives_plain_words(entries: list[object]) -> None:
    for words in parse_scans(json.dumps(entries).encode(), "org/model").values():
        assert all(word.isascii() and word.isprintable() for word in (*words, *words.values()))
