"""What a Hub states, parsed from bytes."""

from __future__ import annotations

import json
import os.path
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.sources.hubclient import listing as module
from aiverify.sources.hubclient.listing import Standing, StatedFile, listing, parse_cached, parse_page, parse_standing
from aiverify.sources.interface import HostileSourceError, SourceError

SHA1 = "0" * 39 + "a"
SHA256 = "0" * 63 + "b"
XET = "0" * 63 + "c"
POINTER = {"oid": SHA256, "size": 7, "pointerSize": 130}


def entry(**fields: object) -> dict[str, object]:
    return {"type": "file", "path": "config.json", "size": 2, "oid": SHA1} | fields


def page(*entries: object) -> list[StatedFile]:
    return parse_page(json.dumps(entries).encode(), "org/model")


def test_a_plain_file_is_known_by_its_blob_id() -> None:
    assert page(entry()) == [StatedFile(path="config.json", size=2, blob_id=SHA1)]
    assert page(entry())[0].etags == {SHA1}


def test_a_large_file_is_known_by_the_digest_of_its_bytes() -> None:
    (file,) = page(entry(size=9, lfs=POINTER, xetHash=XET))
    assert file == StatedFile(path="config.json", size=7, blob_id=SHA1, sha256=SHA256, xet_hash=XET)
    assert file.etags == {SHA1, SHA256}


def test_folders_are_left_out() -> None:
    assert page({"type": "directory", "path": "unet", "oid": SHA1}) == []


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "",
        ".",
        "./a",
        "a/.",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "\x9b1m",
        "\ud800",
    ],
)
def test_a_path_that_no_repository_holds_is_hostile(path: str) -> None:
    with pytest.raises(HostileSourceError) as caught:
        page(entry(path=path))
    assert caught.value.finding.rule == "AIV102"
    assert str(caught.value).startswith("org/model: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "path", ["a", "a b", "...", ".gitattributes", "a..b", "unet/ü.bin", "-", "a:b", "%2e%2e/x", "日本"]
)
def test_an_odd_but_honest_path_passes(path: str) -> None:
    assert page(entry(path=path))[0].path == path


@pytest.mark.parametrize("path", ["a" * 256, "a/" * 1024 + "a", "ü" * 128, "x" * 100_000])
def test_a_path_that_no_disk_holds_is_an_error(path: str) -> None:
    with pytest.raises(SourceError, match="bytes"):
        page(entry(path=path))
    assert page(entry(path="ü" * 127 + "/" + "a" * 255))


@pytest.mark.parametrize("digest", ["", "../../x", SHA1[:-1], SHA1 + "a", SHA1[:-1] + "A", SHA1 + "\n", SHA256])
def test_a_blob_id_of_another_form_is_hostile(digest: str) -> None:
    with pytest.raises(HostileSourceError):
        page(entry(oid=digest))


@pytest.mark.parametrize("digest", ["", "../../x", SHA1, SHA256.upper(), SHA256 + "\n"])
def test_a_sha256_or_xet_hash_of_another_form_is_hostile(digest: str) -> None:
    with pytest.raises(HostileSourceError):
        page(entry(lfs=POINTER | {"oid": digest}))
    with pytest.raises(HostileSourceError):
        page(entry(xetHash=digest))


@pytest.mark.parametrize("size", [-1, 1.0, "2", None, True, 1 << 63, [], {}])
def test_a_size_must_be_a_number_of_bytes(size: object) -> None:
    for fields in ({"size": size}, {"lfs": POINTER | {"size": size}}):
        with pytest.raises(SourceError, match="no size"):
            page(entry(**fields))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"[1]",
        b"[{}]",
        b'[{"type": "submodule"}]',
        b'[{"type": "file"}]',
        b'[{"type": "file", "path": 1, "size": 1, "oid": "x"}]',
        b'[{"type": "file", "path": "a", "size": 1, "oid": null}]',
        b'[{"type": "file", "path": "a", "size": 1, "lfs": []}]',
        b'[{"type": "file", "path": "a", "size": 1, "lfs": {}}]',
        b"[" * 200_000,
        b'[{"type": "file", "size": ' + b"9" * 10_000 + b"}]",
    ],
    ids=range(15),
)
def test_what_is_no_listing_is_an_error_about_the_endpoint(body: bytes) -> None:
    with pytest.raises(SourceError, match=r"org/model: the endpoint's answer makes no sense") as caught:
        parse_page(body, "org/model")
    assert "endpoint" in caught.value.hint


def test_no_file_stands_twice() -> None:
    with pytest.raises(HostileSourceError, match="twice"):
        listing(page(entry(), entry()), "org/model")


@pytest.mark.parametrize("inner", ["unet/x", "unet/deep/x"])
def test_no_file_is_a_folder(inner: str) -> None:
    with pytest.raises(HostileSourceError, match="also a folder"):
        listing(page(entry(path=inner), entry(path="unet")), "org/model")


def test_a_common_beginning_makes_no_folder() -> None:
    files = listing(page(entry(path="unet2/x"), entry(path="unet"), entry(path="unet.json")), "org/model")
    assert list(files) == ["unet", "unet.json", "unet2/x"]


def test_a_listing_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    endless = (StatedFile(path=str(number), size=0, blob_id=SHA1) for number in iter(int, 1))
    with pytest.raises(HostileSourceError, match="twice"):
        listing(endless, "org/model")
    with pytest.raises(SourceError, match="more than 3"):
        listing((StatedFile(path=str(n), size=0, blob_id=SHA1) for n in range(10**9)), "org/model")


def test_a_commit_is_forty_hex_digits() -> None:
    assert parse_standing(json.dumps({"sha": SHA1}).encode(), "org/model") == Standing(commit=SHA1)
    with pytest.raises(HostileSourceError):
        parse_standing(b'{"sha": "../../../x"}', "org/model")
    for body in (b'{"sha": null}', b"{}", b"[]", b"<html>"):
        with pytest.raises(SourceError, match="makes no sense"):
            parse_standing(body, "org/model")


def cached(**entry: object) -> Any:
    return parse_cached(json.dumps({"format_version": 1, "files": {"a": entry}}).encode(), "org/model")


@pytest.mark.parametrize(
    ("stated", "name", "created"),
    [
        ({"id": "org/model", "createdAt": "2026-01-02T03:04:05.000Z"}, "org/model", "2026-01-02T03:04:05.000Z"),
        ({"id": "../../x", "createdAt": "yesterday"}, None, None),
        ({"id": 7, "createdAt": None}, None, None),
    ],
)
def test_what_the_hub_says_about_a_repository_is_taken_if_it_has_the_form(
    stated: dict[str, object], name: str | None, created: str | None
) -> None:
    body = json.dumps({"sha": SHA1} | stated).encode()
    assert parse_standing(body, "org/model") == Standing(commit=SHA1, name=name, created=created)


def test_the_clients_own_listing_is_read() -> None:
    assert cached(size=2, blob_id=SHA1) == {"a": StatedFile(path="a", size=2, blob_id=SHA1)}
    large = cached(size=9, blob_id=SHA1, lfs_sha256=SHA256, lfs_size=7, xet_hash=XET)
    assert large == {"a": StatedFile(path="a", size=7, blob_id=SHA1, sha256=SHA256, xet_hash=XET)}


def test_a_cached_listing_of_another_format_is_not_known() -> None:
    for body in (b"{}", b"[]", b'{"format_version": 2, "files": {}}', b'{"files": {}}'):
        assert parse_cached(body, "org/model") is None


def test_a_cached_listing_is_distrusted_like_an_answer() -> None:
    with pytest.raises(HostileSourceError):
        cached(size=2, blob_id="../x")
    with pytest.raises(HostileSourceError):
        cached(size=2, blob_id=SHA1, lfs_sha256="../x", lfs_size=2)
    with pytest.raises(HostileSourceError):
        parse_cached(json.dumps({"format_version": 1, "files": {"../x": {"size": 1, "blob_id": SHA1}}}).encode(), "o/m")
    for body in (b"{", b'{"format_version": 1}', b'{"format_version": 1, "files": {"a": 1}}'):
        with pytest.raises(SourceError, match="makes no sense"):
            parse_cached(body, "org/model")


def test_a_long_value_is_measured_and_not_quoted() -> None:
    with pytest.raises(HostileSourceError) as caught:
        page(entry(oid="x" * 5000))
    assert "<5002 characters>" in str(caught.value)
    assert caught.value.finding.evidence == {"received": "<5002 characters>"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
PATH = st.text(alphabet="a./\\\x00é", max_size=6)
ENTRY = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["file", "directory"]),
        "path": PATH | JSON,
        "size": st.integers() | JSON,
        "oid": st.just(SHA1) | JSON,
    },
    optional={"lfs": st.just(POINTER) | JSON, "xetHash": st.just(XET) | JSON},
)


@given(st.lists(ENTRY | JSON, max_size=4).map(lambda entries: json.dumps(entries).encode()) | st.binary(max_size=40))
def test_whatever_passes_stays_inside_its_folder(body: bytes) -> None:
    try:
        files = listing(parse_page(body, "org/model"), "org/model")
    except SourceError:
        return
    for path, file in files.items():
        joined = os.path.normpath(f"/cache/snapshot/{path}")
        assert joined == f"/cache/snapshot/{path}"
        assert Path(joined).is_relative_to("/cache/snapshot")
        assert 0 <= file.size < 1 << 63
        assert all(set(etag) <= set("0123456789abcdef") and len(etag) in (40, 64) for etag in file.etags)
    for path in files:
        assert not any(other.startswith(f"{path}/") for other in files)


@given(st.dictionaries(PATH, JSON | ENTRY, max_size=3) | JSON)
def test_a_cached_listing_is_read_or_refused(files: object) -> None:
    try:
        found = parse_cached(json.dumps({"format_version": 1, "files": files}).encode(), "org/model")
    except SourceError:
        return
    assert found is None or all(path == file.path for path, file in found.items())
