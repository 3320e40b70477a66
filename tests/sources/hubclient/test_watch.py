"""The checks of the headers that the client makes paths of."""

from __future__ import annotations

import httpx2
import pytest
from huggingface_hub.file_download import _normalize_etag
from hypothesis import example, given
from hypothesis import strategies as st

from aiverify.sources.hubclient.listing import StatedFile
from aiverify.sources.hubclient.watch import check_headers
from aiverify.sources.interface import HostileSourceError

COMMIT = "c" * 40
SHA1 = "a" * 40
SHA256 = "b" * 64
XET = "d" * 64
FILE = StatedFile(path="model.bin", size=3, blob_id=SHA1, sha256=SHA256, xet_hash=XET)
PLAIN = StatedFile(path="config.json", size=3, blob_id=SHA1)


def check(headers: dict[str, str], file: StatedFile | None = FILE) -> None:
    check_headers("org/model", COMMIT, "model.bin", httpx2.Headers(headers), file)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{SHA1}"', "X-Linked-Etag": f'"{SHA256}"', "X-Repo-Commit": COMMIT},
        {"ETag": f'W/"{SHA1}"'},
        {"ETag": SHA256},
        {"ETag": '"anything"', "X-Linked-Etag": f'"{SHA256}"'},
        {"ETag": f'"{SHA1}"', "X-Linked-Etag": ""},
        {"X-Xet-Hash": XET},
        {},
    ],
)
def test_honest_headers_pass(headers: dict[str, str]) -> None:
    check(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Linked-Etag": '"../../../x"'},
        {"ETag": '"../../../x"'},
        {"X-Linked-Etag": f'"{SHA256}/../x"'},
        {"X-Linked-Etag": f'"{"e" * 64}"'},
        {"X-Linked-Etag": f'"{SHA256.upper()}"'},
        {"X-Linked-Etag": '""'},
        {"X-Linked-Etag": "."},
        {"ETag": f'"{"e" * 40}"'},
        {"X-Repo-Commit": "../../x"},
        {"X-Repo-Commit": "e" * 40},
        {"X-Repo-Commit": ""},
        {"X-Xet-Hash": "../x"},
        {"X-Xet-Hash": "e" * 64},
    ],
)
def test_other_headers_are_hostile(headers: dict[str, str]) -> None:
    with pytest.raises(HostileSourceError) as caught:
        check(headers)
    assert caught.value.finding.rule == "AIV102"
    assert caught.value.finding.file == "model.bin"


def test_without_a_statement_only_the_form_counts() -> None:
    check({"ETag": f'"{"e" * 40}"', "X-Xet-Hash": "e" * 64}, None)
    for headers in ({"ETag": '"../x"'}, {"X-Xet-Hash": "../x"}, {"X-Repo-Commit": "../x"}):
        with pytest.raises(HostileSourceError):
            check(headers, None)


def test_a_plain_file_has_one_identity() -> None:
    check({"ETag": f'"{SHA1}"', "X-Xet-Hash": "e" * 64}, PLAIN)
    with pytest.raises(HostileSourceError):
        check({"ETag": f'"{SHA256}"'}, PLAIN)


HEADER = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
ETAG = HEADER | st.tuples(HEADER, st.sampled_from([SHA1, SHA256]), HEADER).map("".join)


@given(ETAG, ETAG)
@example("", f'"{SHA1}"')
@example(f"WW/{SHA1}", "")
@example(f'"W/{SHA1}"', "")
def test_the_client_makes_of_what_passes_only_what_was_stated(linked: str, etag: str) -> None:
    headers = httpx2.Headers({"X-Linked-Etag": linked, "ETag": etag})
    try:
        check_headers("org/model", COMMIT, "model.bin", headers, FILE)
    except HostileSourceError:
        return
    used = _normalize_etag(headers.get("X-Linked-Etag") or headers.get("ETag"))
    assert used in (SHA1, SHA256, "")
    assert used or not (linked or etag)
