"""Lockfiles: what is written is read again, what is read is valid, and a difference is a finding."""

import itertools
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.lock.comparison import differences, signer_differences
from aiverify.lock.lockfile import (
    FORMAT,
    MAX_BYTES,
    LockedArtifact,
    LockedFile,
    LockedTwin,
    LockError,
    Lockfile,
    parse,
    read_lockfile,
    write_lockfile,
)

A, B, POLICY, COMMIT = "a" * 64, "b" * 64, "c" * 64, "d" * 40
LOCKED = LockedArtifact(
    target="org/model",
    revision="main",
    commit=COMMIT,
    created="2026-01-01T00:00:00Z",
    verdict="pass",
    variant="safetensors",
    policy=POLICY,
    tool="aiverify 1.0",
    signers=("release@org.example (https://issuer.example)",),
    files=(
        LockedFile(path="config.json", size=2, sha256=A, format="json"),
        LockedFile(path="model.safetensors", size=100, sha256=B, format="safetensors"),
    ),
    twins=(LockedTwin(source="pytorch_model.bin", output="model.safetensors", sha256=A),),
)
FILES = [
    ArtifactFile(path=file.path, size=file.size, sha256=file.sha256, format=file.format, file_class=FileClass.WEIGHTS)
    for file in LOCKED.files
]

text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
names = text.filter(lambda name: "\\" not in name and "\0" not in name and not {"", ".", ".."} & set(name.split("/")))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
files = st.lists(
    st.builds(LockedFile, path=names, size=st.integers(0, 1 << 62), sha256=digests, format=text),
    min_size=1,
    max_size=4,
    unique_by=lambda file: file.path,
)
artifacts = st.builds(
    LockedArtifact,
    target=text,
    files=files.map(lambda found: tuple(sorted(found, key=lambda file: file.path))),
    verdict=text,
    policy=digests,
    tool=text,
    revision=st.none() | text,
    commit=st.none() | st.just(COMMIT),
    signers=st.lists(text, max_size=2).map(tuple),
    include=st.lists(text, max_size=2).map(tuple),
)


@effort(100)
@given(st.lists(artifacts, max_size=3, unique_by=lambda artifact: artifact.target))
def test_what_is_written_is_read_again(found: list[LockedArtifact]) -> None:
    lockfile = Lockfile().with_artifacts(found)
    assert parse(tomllib.loads(lockfile.text())) == lockfile


def test_the_order_of_writing_does_not_depend_on_that_of_locking() -> None:
    other = replace(LOCKED, target="another/model", files=tuple(reversed(LOCKED.files)))
    one, two = Lockfile().with_artifacts([LOCKED, other]), Lockfile().with_artifacts([other, LOCKED])
    assert one.text() == two.text()


def test_every_file_has_a_line_of_its_own() -> None:
    lines = Lockfile().with_artifacts([LOCKED]).text().splitlines()
    assert [line for line in lines if "model.safetensors" in line and B in line] == [
        f'  {{ path = "model.safetensors", size = 100, sha256 = "{B}", format = "safetensors" }},'
    ]


def test_what_cannot_be_seen_is_escaped() -> None:
    hidden = replace(LOCKED, tool="a\u202eb\x1b[2Jc")
    assert '"a\\u202Eb\\u001B[2Jc"' in Lockfile().with_artifacts([hidden]).text()


def test_a_name_that_is_no_unicode_is_refused_and_nothing_written(tmp_path: Path) -> None:
    odd = replace(LOCKED, files=(LockedFile(path="a\udc80", size=1, sha256=A, format="text"),))
    with pytest.raises(LockError, match="not Unicode"):
        write_lockfile(tmp_path / "aiverify.lock", Lockfile().with_artifacts([odd]))
    assert not (tmp_path / "aiverify.lock").exists()


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    lockfile = Lockfile().with_artifacts([LOCKED])
    write_lockfile(tmp_path / "aiverify.lock", lockfile)
    assert read_lockfile(tmp_path / "aiverify.lock") == lockfile


def test_what_would_be_too_long_to_be_read_is_not_written(tmp_path: Path) -> None:
    place = tmp_path / "aiverify.lock"
    write_lockfile(place, Lockfile().with_artifacts([LOCKED]))
    long = replace(LOCKED, files=tuple(replace(LOCKED.files[0], path=f"{'d' * 4000}/{n}") for n in range(9000)))
    with pytest.raises(LockError, match="longer than"):
        write_lockfile(place, Lockfile().with_artifacts([long]))
    assert read_lockfile(place).artifacts == {LOCKED.target: LOCKED}


def test_a_lockfile_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "aiverify.lock"
    with place.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(LockError, match="longer than"):
        read_lockfile(place)


def test_an_artifact_is_replaced_and_the_others_stay() -> None:
    other = replace(LOCKED, target="another/model")
    moved = replace(LOCKED, commit="e" * 40)
    assert Lockfile().with_artifacts([LOCKED, other]).with_artifacts([moved]).artifacts == {
        "org/model": moved,
        "another/model": other,
    }


GOOD = Lockfile().with_artifacts([LOCKED]).text()
BAD = {
    "no version": (GOOD.replace("version = 1\n", ""), "version"),
    "a newer version": (GOOD.replace("version = 1\n", f"version = {FORMAT + 1}\n"), "newer"),
    "an unknown key": (GOOD.replace("tool =", "color ="), r"artifact\[0\].color: is not a known key"),
    "no target": (GOOD.replace('target = "org/model"', ""), r"artifact\[0\].target"),
    "the same target twice": (
        GOOD + GOOD[GOOD.index("[[artifact]]") :],
        r"artifact\[1\].target: org/model stands twice",
    ),
    "a short digest": (GOOD.replace(B, "b" * 63), r"artifact\[0\].files\[1\].sha256: must be 64"),
    "a digest in capitals": (GOOD.replace(B, B.upper()), "must be 64 lower-case"),
    "a short commit": (GOOD.replace(COMMIT, "d" * 7), "must be 40"),
    "a path that climbs out": (GOOD.replace('"config.json"', '"../config.json"'), r"files\[0\].path"),
    "an absolute path": (GOOD.replace('"config.json"', '"/config.json"'), r"files\[0\].path"),
    "a negative size": (GOOD.replace("size = 2,", "size = -2,"), "number of bytes"),
    "a size that is a truth value": (GOOD.replace("size = 2,", "size = true,"), "number of bytes"),
    "the same file twice": (GOOD.replace('"config.json"', '"model.safetensors"'), "stands twice"),
    "no files": (GOOD[: GOOD.index("files = [")] + "files = []\n", "nothing to lock"),
    "a text for a list": (
        GOOD.replace("signers = [", 'signers = "').replace('example)"]', 'example"'),
        "list of text|TOML",
    ),
    "files that are no tables": (GOOD[: GOOD.index("files = [")] + "files = [1]\n", "list of tables"),
    "no TOML": ("[[artifact", "not valid TOML"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_lockfile_is_refused_with_the_file_and_the_key(tmp_path: Path, content: str, reason: str) -> None:
    place = tmp_path / "aiverify.lock"
    place.write_text(content)
    with pytest.raises(LockError, match=reason) as caught:
        read_lockfile(place)
    assert str(place) in str(caught.value)


def test_a_lockfile_that_is_not_there_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LockError) as caught:
        read_lockfile(tmp_path / "aiverify.lock")
    assert "aiverify lock" in caught.value.diagnostics()


# comparison


def compared(
    found: list[ArtifactFile] = FILES, *, commit: str | None = COMMIT, left_out: tuple[str, ...] = ()
) -> list[tuple[str, str | None]]:
    return [(item.rule, item.file) for item in differences(LOCKED, commit=commit, files=found, left_out=left_out)]


def test_the_locked_artifact_has_no_differences() -> None:
    assert compared() == []


def test_another_commit_is_said() -> None:
    assert compared(commit="e" * 40) == [("AIV602", None)]
    assert compared(commit=None) == [("AIV602", None)]


@pytest.mark.parametrize("change", [{"sha256": A}, {"sha256": None}, {"size": 99}])
def test_other_bytes_are_said(change: dict[str, object]) -> None:
    assert compared([FILES[0], replace(FILES[1], **change)]) == [("AIV602", "model.safetensors")]


def test_a_file_more_or_less_is_said() -> None:
    assert compared(FILES[:1]) == [("AIV603", "model.safetensors")]
    assert compared([*FILES, replace(FILES[0], path="extra.py")]) == [("AIV603", "extra.py")]


def test_a_file_that_was_left_out_on_purpose_is_no_difference() -> None:
    assert compared(FILES[:1], left_out=("model.safetensors",)) == []


def test_a_signer_that_is_gone_is_said() -> None:
    assert signer_differences(LOCKED, LOCKED.signers) == []
    assert [item.rule for item in signer_differences(LOCKED, ["somebody else"])] == ["AIV604"]
    assert [item.rule for item in signer_differences(LOCKED, [])] == ["AIV604"]
    assert signer_differences(replace(LOCKED, signers=()), ["somebody"]) == []


def test_a_key_is_the_same_wherever_its_file_lies() -> None:
    said = [f"{name} (SHA-256 {'1' * 64})" for name in ("key /home/me/acme.pub", "key keys/acme.pub", "the key")]
    for one, other in itertools.product(said, said):
        assert signer_differences(replace(LOCKED, signers=(one,)), [other]) == []
    for other in (f"key keys/acme.pub (SHA-256 {'2' * 64})", f"{said[0]} (issuer https://issuer.test)"):
        assert [item.rule for item in signer_differences(replace(LOCKED, signers=(said[0],)), [other])] == ["AIV604"]
