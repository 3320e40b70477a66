from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_models import artifact_file, statement

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.finding import Severity
from aiverify.signatures.comparison import Comparison, Scope, compare
from aiverify.signatures.manifest import parse_manifest

Said = list[tuple[str, str | None, Severity]]


def comparison(
    signed: Mapping[str, bytes],
    files: Collection[ArtifactFile],
    *,
    ignore: Collection[str] = (),
    left_out: Collection[str] = (),
    signature_path: str | None = "model.sig",
    alone: bool = False,
    base: str | None = None,
) -> Comparison:
    listed = {path: hashlib.sha256(data).hexdigest() for path, data in signed.items()}
    manifest = parse_manifest(json.dumps(statement(listed, ignore=ignore)).encode())
    signatures = frozenset() if signature_path is None else frozenset({signature_path})
    scope = Scope(signatures=signatures, left_out=left_out, alone=alone, base=base)
    return compare(manifest, list(files), scope, {})


def said(result: Comparison) -> Said:
    return [(one.rule, one.file, one.severity) for one in result.findings.values()]


WEIGHTS = artifact_file("model.safetensors", b"weights")
SIGNED = {"model.safetensors": b"weights"}


def test_files_that_are_as_signed_are_covered() -> None:
    result = comparison({**SIGNED, "a/b.txt": b"text"}, [WEIGHTS, artifact_file("a/b.txt", b"text")])
    assert result.covers == ("model.safetensors", "a/b.txt")
    assert not result.findings


def test_a_changed_file_is_critical_and_not_covered() -> None:
    result = comparison(SIGNED, [artifact_file("model.safetensors", b"Weights")])
    assert said(result) == [("AIV205", "model.safetensors", Severity.CRITICAL)]
    assert result.covers == ()
    assert next(iter(result.findings.values())).evidence["signed"] == WEIGHTS.sha256


def test_a_missing_file_is_grave() -> None:
    result = comparison({**SIGNED, "config.json": b"{}"}, [WEIGHTS])
    assert said(result) == [("AIV206", "config.json", Severity.HIGH)]
    assert result.covers == ("model.safetensors",)


def test_a_file_that_the_selection_left_out_is_only_mentioned() -> None:
    result = comparison({**SIGNED, "config.json": b"{}"}, [WEIGHTS], left_out=["config.json", "other"])
    assert said(result) == [("AIV211", "config.json", Severity.INFO)]


@pytest.mark.parametrize(
    ("left_out", "rule"),
    [("onnx/", "AIV211"), ("onnx/a/", "AIV211"), ("onn/", "AIV206"), ("a/", "AIV206"), ("onnx", "AIV206")],
)
def test_a_folder_that_was_left_out_stands_for_every_file_below_it(left_out: str, rule: str) -> None:
    result = comparison({**SIGNED, "onnx/a/model.onnx": b""}, [WEIGHTS], left_out=[left_out])
    assert [(one.rule, one.file) for one in result.findings.values()] == [(rule, "onnx/a/model.onnx")]


def test_a_file_alone_is_the_one_in_its_folder_and_not_a_namesake_at_the_top() -> None:
    signed = {"model.safetensors": b"other", "sub/model.safetensors": b"weights"}
    assert comparison(signed, [WEIGHTS], alone=True, base="sub/").covers == ("model.safetensors",)
    swapped = comparison(signed, [artifact_file("model.safetensors", b"other")], alone=True, base="sub/")
    assert (swapped.covers, said(swapped)) == ((), [("AIV205", "model.safetensors", Severity.CRITICAL)])


@pytest.mark.parametrize(
    ("signed", "base", "rule"),
    [
        ({"sub/a.bin": b"a"}, None, None),
        ({"sub/a.bin": b"a", "a.bin": b"other"}, None, "AIV205"),
        ({"sub/a.bin": b"a", "old/a.bin": b"other"}, None, "AIV207"),
        ({"sub/other-a.bin": b"a"}, None, "AIV207"),
        ({"sub/a.bin": b"a"}, "", "AIV207"),
        ({"sub/a.bin": b"a"}, "old/", "AIV207"),
        ({"sub/a.bin": b"other"}, None, "AIV205"),
    ],
)
def test_a_file_alone_whose_place_nothing_tells_is_the_one_signed_file_of_its_name(
    signed: dict[str, bytes], base: str | None, rule: str | None
) -> None:
    result = comparison(signed, [artifact_file("a.bin", b"a")], alone=True, base=base)
    assert [one[0] for one in said(result) if one[1] == "a.bin"] == ([] if rule is None else [rule])
    assert result.covers == (("a.bin",) if rule is None else ())


def test_a_signed_file_without_a_digest_is_not_passed_over() -> None:
    result = comparison(SIGNED, [replace(WEIGHTS, sha256=None)])
    assert (result.covers, result.partial) == ((), True)
    assert said(result) == [("AIV211", "model.safetensors", Severity.INFO)]


@pytest.mark.parametrize("file_class", [FileClass.WEIGHTS, FileClass.CODE, FileClass.CONFIG, FileClass.OTHER_FRAMEWORK])
def test_an_added_file_that_a_loader_could_use_is_grave(file_class: FileClass) -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("added", b"", file_class)])
    assert said(result) == [("AIV207", "added", Severity.HIGH)]


def test_an_added_inert_file_is_minor() -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("notes.txt", b"", FileClass.INERT)])
    assert said(result) == [("AIV207", "notes.txt", Severity.LOW)]


@pytest.mark.parametrize("path", ["vocab.txt", "sub/merges.txt", "qwen.tiktoken", "spiece.vocab"])
def test_a_text_that_a_tokenizer_reads_is_no_minor_extra(path: str) -> None:
    added = artifact_file(path, b"a\nb\n", FileClass.INERT)
    assert said(comparison(SIGNED, [WEIGHTS, added])) == [("AIV207", path, Severity.HIGH)]
    assert said(comparison(SIGNED, [WEIGHTS, added], ignore=[path])) == [("AIV208", path, Severity.MEDIUM)]


def test_an_added_empty_file_is_noticed() -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("__init__.py", b"")])
    assert said(result) == [("AIV207", "__init__.py", Severity.HIGH)]


def test_the_signature_itself_is_not_compared() -> None:
    assert said(comparison(SIGNED, [WEIGHTS, artifact_file("model.sig", b"{}")])) == []


@pytest.mark.parametrize("path", ["other.sig", "sub/model.sig", "model.sigstore.json"])
def test_other_signatures_are_minor_extras(path: str) -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file(path, b"{}", FileClass.CONFIG)])
    assert said(result) == [("AIV207", path, Severity.LOW)]


def test_weights_that_are_named_like_a_signature_are_grave_extras() -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("other.sig", b"pickle", FileClass.WEIGHTS)])
    assert said(result) == [("AIV207", "other.sig", Severity.HIGH)]


@pytest.mark.parametrize("path", [".git/config", ".gitattributes", ".github/workflows/ci.yml", ".gitignore"])
def test_git_housekeeping_is_outside_of_every_signature(path: str) -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file(path, b"")])
    assert said(result) == [("AIV208", path, Severity.INFO)]


def test_git_housekeeping_is_only_at_the_top() -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("sub/.gitattributes", b"", FileClass.CONFIG)])
    assert said(result) == [("AIV207", "sub/.gitattributes", Severity.HIGH)]


def test_code_in_a_git_folder_is_not_passed_over() -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file(".github/modeling.py", b"")])
    assert said(result) == [("AIV208", ".github/modeling.py", Severity.MEDIUM)]


def test_git_housekeeping_that_was_signed_is_compared() -> None:
    signed = {**SIGNED, ".gitattributes": b"old"}
    result = comparison(signed, [WEIGHTS, artifact_file(".gitattributes", b"new")])
    assert said(result) == [("AIV205", ".gitattributes", Severity.CRITICAL)]


@pytest.mark.parametrize("path", ["notes", "notes/today.txt", "notes/a/b.txt"])
def test_what_the_signer_ignored_is_mentioned(path: str) -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file(path, b"")], ignore=["notes"])
    assert said(result) == [("AIV208", path, Severity.INFO)]


@pytest.mark.parametrize("file_class", [FileClass.WEIGHTS, FileClass.CODE, FileClass.CONFIG])
def test_an_ignore_list_cannot_hide_what_a_loader_would_use(file_class: FileClass) -> None:
    result = comparison(SIGNED, [WEIGHTS, artifact_file("notes/x", b"", file_class)], ignore=["notes"])
    assert said(result) == [("AIV208", "notes/x", Severity.MEDIUM)]
    assert str(file_class) in next(iter(result.findings.values())).message


def test_ignored_paths_are_paths_and_not_prefixes_or_patterns() -> None:
    files = [WEIGHTS, artifact_file("notes2", b""), artifact_file("a.log", b"")]
    result = comparison(SIGNED, files, ignore=["notes", "*.log", "."])
    assert [one.rule for one in result.findings.values()] == ["AIV207", "AIV207"]


def test_a_dot_stands_for_the_only_file() -> None:
    files = [WEIGHTS, artifact_file("model.safetensors.sig", b"{}")]
    result = comparison({".": b"weights"}, files, signature_path="model.safetensors.sig")
    assert result.covers == ("model.safetensors",)
    assert not result.findings


def test_a_dot_does_not_stand_for_a_changed_file() -> None:
    result = comparison({".": b"weights"}, [artifact_file("model.safetensors", b"Weights")])
    assert said(result) == [("AIV205", "model.safetensors", Severity.CRITICAL)]


def test_a_dot_stands_for_no_file_of_a_folder() -> None:
    result = comparison({".": b"weights"}, [WEIGHTS, artifact_file("config.json", b"{}")])
    assert [one.rule for one in result.findings.values()] == ["AIV207", "AIV207", "AIV206"]
    assert result.covers == ()


@settings(max_examples=100, deadline=None)
@given(
    signed=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2"]), min_size=1),
    present=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2"])),
    left_out=st.sets(st.sampled_from("abcdef")),
)
def test_every_path_is_covered_or_said_something_about_once(
    signed: dict[str, bytes], present: dict[str, bytes], left_out: set[str]
) -> None:
    result = comparison(signed, [artifact_file(path, data) for path, data in present.items()], left_out=left_out)
    assert set(result.covers) == {path for path in present if signed.get(path) == present[path]}
    spoken_of = [one.file for one in result.findings.values()]
    assert sorted([*result.covers, *(path for path in spoken_of if path)]) == sorted({*signed, *present})
