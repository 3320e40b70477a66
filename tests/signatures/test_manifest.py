from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from signed_models import statement

from aiverify.signatures.interface import MalformedError, SignatureError, UnsupportedError
from aiverify.signatures.manifest import Manifest, parse_manifest

ONE, TWO, THREE = (hashlib.sha256(data).hexdigest() for data in (b"1", b"2", b"3"))


def parse(content: Any) -> Manifest:
    return parse_manifest(json.dumps(content).encode())


def changed(path: str, value: object) -> dict[str, Any]:
    """An honest statement about two files with one value replaced; ``path`` is dotted."""
    content = statement({"a.bin": ONE, "b.bin": TWO})
    *parents, last = path.split(".")
    place: Any = content
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    place[int(last) if last.isdigit() else last] = value
    return content


def without(path: str) -> dict[str, Any]:
    content = changed(path, None)
    *parents, last = path.split(".")
    place: Any = content
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    del place[last]
    return content


def test_an_honest_statement_is_a_manifest() -> None:
    manifest = parse(statement({"sub/b.bin": TWO, "a.bin": ONE}, ignore=["notes"]))
    assert {name: r.sha256 for name, r in manifest.resources.items()} == {"a.bin": ONE, "sub/b.bin": TWO}
    assert (manifest.method, manifest.hash_type, manifest.allow_symlinks) == ("files", "sha256", False)
    assert manifest.ignore_paths == {".git", ".gitattributes", ".github", ".gitignore", "notes"}


def test_unknown_fields_are_ignored() -> None:
    content = statement({"a.bin": ONE})
    content["new"] = content["predicate"]["new"] = content["predicate"]["resources"][0]["new"] = 1
    content["subject"][0]["digest"]["sha512"] = "0"
    assert parse(content).resources["a.bin"].sha256 == ONE


def test_upper_case_digests_are_read_as_lower_case() -> None:
    content = statement({"a.bin": ONE})
    content["predicate"]["resources"][0]["digest"] = ONE.upper()
    assert parse(content).resources["a.bin"].sha256 == ONE


def test_serialization_without_an_ignore_list_ignores_nothing() -> None:
    assert parse(without("predicate.serialization.ignore_paths")).ignore_paths == frozenset()


@pytest.mark.parametrize("entry", [".", "..", "/", "/etc", "a/../b", "a//b", ""])
def test_ignored_paths_that_are_not_relative_cover_nothing(entry: str) -> None:
    assert parse(changed("predicate.serialization.ignore_paths", [entry])).ignore_paths == frozenset()


def test_a_single_file_may_be_called_by_a_dot() -> None:
    assert list(parse(statement({".": ONE})).resources) == ["."]


def test_the_order_in_which_resources_are_listed_does_not_matter() -> None:
    content = statement({"a.bin": ONE, "b.bin": TWO})
    content["predicate"]["resources"].reverse()
    assert set(parse(content).resources) == {"a.bin", "b.bin"}


def test_the_root_digest_in_the_order_of_path_components_is_accepted() -> None:
    content = statement({"a/b": ONE, "a-b": TWO})
    by_component = hashlib.sha256(bytes.fromhex(ONE) + bytes.fromhex(TWO)).hexdigest()
    assert content["subject"][0]["digest"]["sha256"] != by_component
    content["subject"][0]["digest"]["sha256"] = by_component
    assert set(parse(content).resources) == {"a/b", "a-b"}


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "..", "../a", "a/..", "a/../b", "./a", "a/.", "a//b", "a/", "a\\b", "..\\a"),
        *("a\0b", "a\nb", "\x7f", "\ud800", "x" * 4097),
    ],
)
def test_names_that_are_not_canonical_relative_paths_are_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="resource name"):
        parse(statement({name: ONE, "b.bin": TWO}))


def test_a_dot_beside_other_files_is_refused() -> None:
    with pytest.raises(MalformedError, match="resource name"):
        parse(statement({".": ONE, "b.bin": TWO}))


@pytest.mark.parametrize("digest", ["", ONE[:-1], ONE + "0", ONE[:-1] + "g", "0x" + ONE[2:], ONE[:-1] + "\n"])
def test_digests_that_are_not_64_hex_digits_are_refused(digest: str) -> None:
    with pytest.raises(MalformedError, match="SHA-256"):
        parse(changed("predicate.resources.0.digest", digest))


def test_a_name_that_is_listed_twice_is_refused() -> None:
    content = statement({"a.bin": ONE, "b.bin": ONE})
    content["predicate"]["resources"][1]["name"] = "a.bin"
    with pytest.raises(MalformedError, match="twice"):
        parse(content)


def test_a_root_digest_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(MalformedError, match="add up"):
        parse(changed("predicate.resources.0.digest", THREE))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", "in-toto"),
        ("predicateType", "https://model_signing/signature/v1.0/", "not about a model"),
        ("predicateType", "https://slsa.dev/provenance/v1", "not about a model"),
        ("predicateType", 1, "predicateType"),
        ("subject", [], "0 subjects"),
        ("subject", ["model"], "subjects"),
        ("subject", "model", "subject"),
        ("subject.0.digest", {"sha512": ONE}, "sha256"),
        ("predicate", [], "predicate"),
        ("predicate.resources", [], "no files"),
        ("predicate.resources", {}, "resources"),
        ("predicate.resources.0", "a.bin", "resource"),
        ("predicate.resources.0.name", 1, "name"),
        ("predicate.serialization", None, "serialization"),
        ("predicate.serialization.method", 1, "method"),
        ("predicate.serialization.allow_symlinks", "no", "allow_symlinks"),
        ("predicate.serialization.ignore_paths", "notes", "ignore_paths"),
        ("predicate.serialization.ignore_paths", [1], "ignore_paths"),
    ],
)
def test_a_statement_with_a_wrong_value_is_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(changed(path, value))


@pytest.mark.parametrize(
    "path",
    [
        *("_type", "predicateType", "subject", "subject.0.digest", "predicate", "predicate.resources"),
        *(f"predicate.resources.0.{part}" for part in ("name", "algorithm", "digest")),
        *(f"predicate.serialization{part}" for part in ("", ".method", ".hash_type")),
    ],
)
def test_a_statement_with_a_part_missing_is_refused(path: str) -> None:
    with pytest.raises(MalformedError):
        parse(without(path))


def test_two_subjects_are_refused() -> None:
    content = statement({"a.bin": ONE})
    content["subject"] *= 2
    with pytest.raises(MalformedError, match="2 subjects"):
        parse(content)


def test_a_payload_of_countless_values_is_refused_before_they_are_in_memory() -> None:
    payload = json.dumps(statement({"a.bin": "00" * 32})).encode()[:-1] + b', "x": [' + b"[]," * 800_000 + b"0]}"
    with pytest.raises(MalformedError, match="more than 1500000 values"):
        parse_manifest(payload)


def test_more_files_than_the_budget_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiverify.signatures.manifest.MAX_RESOURCES", 1)
    parse(statement({"a.bin": ONE}))
    with pytest.raises(MalformedError, match="more than 1 "):
        parse(statement({"a.bin": ONE, "b.bin": TWO}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("predicate.serialization.method", "trees", "trees"),
        ("predicate.resources.0.algorithm", "sha1", "sha1"),
    ],
)
def test_what_this_version_does_not_read_is_named(path: str, value: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        parse(changed(path, value))


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"\xff", b"{", b"[]", b"null", b"1", b"\xef\xbb\xbf{}", "{}".encode("utf-16")),
        *(b'{"_type": "x", "_type": "x"}', b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}'),
        *(b'{"a":' + b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"),
    ],
)
def test_payloads_that_are_not_one_unambiguous_object_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_manifest(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = ["_type", "subject", "subject.0", "subject.0.digest", "subject.0.digest.sha256", "predicateType", "predicate"]
PARTS += ["predicate.resources", "predicate.resources.0", "predicate.resources.0.name", "predicate.resources.1.digest"]
PARTS += ["predicate.resources.1.algorithm", "predicate.serialization", "predicate.serialization.method"]
PARTS += ["predicate.serialization.ignore_paths"]


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(PARTS), value=JSON)
@example(path="predicate.resources.0.name", value="a/../../b")
def test_whatever_is_accepted_keeps_every_rule(path: str, value: object) -> None:
    try:
        manifest = parse(changed(path, value))
    except SignatureError:
        return
    assert manifest.resources
    for name, resource in manifest.resources.items():
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/")) or list(manifest.resources) == ["."]
        assert resource.parts[0].start == 0
        assert all(bytes.fromhex(part.digest) for part in resource.parts)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_no_manifest(payload: bytes) -> None:
    with pytest.raises(SignatureError):
        parse_manifest(payload)
