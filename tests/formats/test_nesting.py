"""Files inside files inside files: every one is examined, to a bounded depth and at a bounded cost."""

import base64
import bz2
import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pickle_builder as b
import pytest
import skops.io
import torch
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from zip_builder import Member, archive

from aiverify.finding import Severity
from aiverify.formats import content as content_module
from aiverify.formats.config import examine_json
from aiverify.formats.content import Allowance
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.formats.nesting import MAX_DEPTH

RUN = b.stream(b.call("os.system", b.text("true")))
STRANGE = b.stream(b.call("my_package.make"))


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "a.zip", **options):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions(**options))

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as writer:
        writer.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as writer:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        writer.addfile(info, io.BytesIO(data))
    return file.getvalue()


def stored(name: str, data: bytes) -> bytes:
    return zipped(name, data, zipfile.ZIP_STORED)


def checkpoint(payload: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file)
    if payload:
        with zipfile.ZipFile(file, "a") as writer:
            writer.writestr("archive/extra", RUN)
    return file.getvalue()


def array(value) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


class Run:
    def __reduce__(self):
        import os

        return os.system, ("true",)


BOXES = {
    "a deflated zip": zipped,
    "a stored zip": stored,
    "a tar": tarred,
    "gzip": lambda name, data: gzip.compress(data),
    "bz2 in a zip": lambda name, data: stored(name + ".bz2", bz2.compress(data)),
    "gzip in a tar": lambda name, data: tarred(name + ".gz", gzip.compress(data)),
    "a zip in a zip": lambda name, data: zipped("inner.zip", zipped(name, data)),
    "a tar in a tar": lambda name, data: tarred("inner.tar", tarred(name, data)),
    "a zip in a tar in gzip": lambda name, data: gzip.compress(tarred("inner.zip", stored(name, data))),
}
CONTENTS = {
    "a pickle": ("model.pkl", RUN),
    "a pickle of protocol 0 under no name": ("data", b"cos\nsystem\n(S'true'\ntR."),
    "a checkpoint": ("model.pt", checkpoint(True)),
    "an array": ("a.npy", array(np.array([Run()], dtype=object))),
    "an archive of arrays": ("a.npz", zipped("a.npy", array(np.array([Run()], dtype=object)))),
    "a pickle called a picture": ("a.png", RUN),
}
NAMES = {"a zip in a tar in gzip": ".tgz", "a tar": ".tar", "gzip in a tar": ".tar", "a tar in a tar": ".tar"}


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_payload_is_found_wherever_it_lies(look, box, content):
    name, data = CONTENTS[content]
    raw = BOXES[box](name, data)
    examination = look(raw, name + ".gz" if box == "gzip" else "a" + NAMES.get(box, ".zip"))
    found = [item for item in examination.findings if item.rule == "AIV301"]
    assert found
    assert all(item.location.member and item.file for item in found)
    assert examination.checkpoint is None or examination.format is Format.NPZ


@pytest.mark.parametrize("box", BOXES)
def test_harmless_contents_are_silent_wherever_they_lie(look, box):
    for name, data in (
        ("model.pkl", pickle.dumps({"a": 1})),
        ("model.pt", checkpoint(False)),
        ("a.npy", array(np.ones(3))),
        ("README.md", b"# Model\n"),
    ):
        raw = BOXES[box](name, data)
        examination = look(raw, name + ".gz" if box == "gzip" else "noname")
        assert (examination.findings, examination.unexamined) == ([], []), (name, examination)


def test_the_place_of_a_finding_is_written_from_the_outside_in(look):
    raw = gzip.compress(tarred("d/inner.zip", stored("archive/data.pkl", RUN)))
    (found,) = look(raw, "all.tar.gz").findings
    assert (found.file, found.location.member) == ("all.tar.gz", "all.tar!d/inner.zip!archive/data.pkl")
    assert found.location.offset == RUN.index(b"cos")


def test_what_lies_too_deep_is_unexamined(look):
    raw = RUN
    for depth in range(MAX_DEPTH):
        raw = stored(f"level{depth}", raw)
    assert "AIV301" in rules(look(raw))
    examination = look(stored("outside", raw))
    assert "AIV301" not in rules(examination)
    assert f"more than {MAX_DEPTH} containers" in examination.unexamined[0].reason


def test_more_members_than_the_allowance_are_unexamined(look, monkeypatch):
    monkeypatch.setattr(Allowance.__init__, "__defaults__", (1 << 20, 5))
    examination = look(archive(*(Member(name=b"%d.txt" % number, data=b"x") for number in range(9))))
    assert len(examination.unexamined) == 4
    assert "more members" in examination.unexamined[0].reason


def test_a_bomb_in_an_archive_is_a_finding(look, monkeypatch):
    monkeypatch.setattr(content_module, "_LEAST_LIMIT", 1 << 20)
    bomb = zipped("a.pkl", RUN + bytes(30 << 20))
    examination = look(bomb)
    assert {"AIV301", "AIV416"} <= rules(examination)
    examination = look(stored("inner.zip", bomb))
    assert {"AIV301", "AIV416"} <= rules(examination)


def test_members_that_share_their_bytes_do_not_multiply_the_work(look):
    """Entries that overlap are a finding, and each of them counts."""
    shared = Member(name=b"a", data=RUN)
    again = [Member(name=b"b%d" % n, data=RUN, central={"header": 0, "name": b"b%d" % n}) for n in range(20)]
    examination = look(archive(shared, *again))
    assert "AIV402" in rules(examination)


def test_other_archives_inside_are_unexamined(look):
    for raw in (b"7z\xbc\xaf\x27\x1c" + bytes(30), b"Rar!\x1a\x07\x01\0" + bytes(30), b"(\xb5/\xfd" + bytes(30)):
        examination = look(stored("inner", raw))
        assert [gap.member for gap in examination.unexamined] == ["inner"]


def test_an_encrypted_archive_is_unexamined(look):
    assert look(archive(Member(name=b"a", flags=1))).unexamined


def test_bytes_before_an_archive_are_unexamined_and_a_finding(look):
    raw = archive(Member(name=b"a.txt", data=b"x"), prefix=b"PK\x03\x04" + b"x" * 40, shift=True)
    examination = look(raw)
    assert "AIV402" in rules(examination)
    assert "do not belong to the archive" in examination.unexamined[0].reason


# TorchServe


def served(manifest: object) -> bytes:
    return archive(
        Member(name=b"MAR-INF/MANIFEST.json", data=json.dumps(manifest).encode()),
        Member(name=b"handler.py", data=b"import os\n"),
        Member(name=b"model.pt", data=checkpoint(False)),
    )


def test_the_code_that_torchserve_would_run_is_a_finding(look):
    examination = look(served({"model": {"handler": "handler.py", "serializedFile": "model.pt"}}), "m.mar")
    assert rules(examination) == {"AIV501", "AIV502"}
    assert not examination.unexamined
    assert look(served({"model": 3}), "m.mar").unexamined
    raw = archive(Member(name=b"MAR-INF/MANIFEST.json", data=b"{"))
    assert look(raw, "m.mar").unexamined


def packaged(mark: str = "net/.data/extern_modules", **members: bytes) -> bytes:
    return archive(*(Member(name=name.encode(), data=data) for name, data in {mark: b"", **members}.items()))


@pytest.mark.parametrize("mark", ["net/.data/extern_modules", "net/.Data/Extern_Modules"])
def test_modules_of_a_torch_package_are_code_that_a_load_runs(look, mark):
    examination = look(
        packaged(mark, **{"net/model.py": b"import os\n", "net/m/m.pkl": pickle.dumps({"a": 1})}), "n.pt"
    )
    (found,) = [item for item in examination.findings if item.rule == "AIV411"]
    assert found.severity is Severity.MEDIUM
    assert "net/model.py" in found.message


def test_a_torch_package_without_modules_and_modules_without_a_package_are_none(look):
    assert "AIV411" not in rules(look(packaged(**{"net/m/m.pkl": pickle.dumps({"a": 1})}), "n.pt"))
    assert "AIV411" not in rules(look(packaged("net/other", **{"net/model.py": b"import os\n"}), "n.zip"))


def test_a_real_torch_package_asks_for_review(look, tmp_path):
    with torch.package.PackageExporter(tmp_path / "p.pt") as exporter:
        exporter.save_source_string("model", "x = 1")
        exporter.save_pickle("weights", "w.pkl", {"a": torch.ones(2)})
    assert "AIV411" in rules(look((tmp_path / "p.pt").read_bytes(), "p.pt"))


def test_a_checkpoint_that_is_a_package_too_is_judged_as_one(look):
    raw = checkpoint(False)
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        held = {name: source.read(name) for name in source.namelist()}
    root = next(iter(held)).partition("/")[0]
    more = {f"{root}/.data/extern_modules": b"", f"{root}/evil.py": b"import os\n"}
    members = [Member(name=name.encode(), data=data) for name, data in {**held, **more}.items()]
    assert "AIV411" in rules(look(archive(*members), "m.pt"))


# skops


def test_the_types_that_skops_names_are_those_that_are_judged(look):
    model = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    raw = skops.io.dumps({"model": model, "numbers": np.arange(3), "more": [1, "x", None, (2.5, {True})]})
    examination = look(raw, "m.skops")
    assert not examination.unexamined
    assert "AIV301" not in rules(examination)
    named = " ".join(item.message for item in examination.findings if item.rule == "AIV302")
    assert not named or "sklearn" in named
    assert rules(look(raw, "m.skops", trust=frozenset(("sklearn.linear_model._logistic.LogisticRegression",)))) == set()


def schema(**node: object) -> bytes:
    return archive(Member(name=b"schema.json", data=json.dumps({"__loader__": "ObjectNode", **node}).encode()))


def test_what_a_schema_of_skops_names_is_judged_like_the_names_of_a_pickle(look):
    inner = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}
    examination = look(schema(__class__="dict", __module__="builtins", content=[{"a": inner}]), "m.skops")
    assert rules(examination) == {"AIV301", "AIV303"}
    assert rules(look(schema(__class__="make", __module__="my_package"), "m.skops")) == {"AIV302"}
    many = [{"__module__": "mine", "__class__": f"a{number}"} for number in range(2000)]
    behind = [{"__module__": "os", "__class__": "system"}, *many]
    assert "AIV301" in rules(look(schema(__class__="dict", __module__="builtins", content=behind), "m.skops"))
    assert rules(look(schema(__class__=3, __module__="my_package"), "m.skops")) == {"AIV302"}
    assert look(archive(Member(name=b"schema.json", data=b"{")), "m.skops").unexamined


# Alterations


def wrapped(data: bytes) -> bytes:
    return zipped("b.tar", tarred("c.pkl.gz", gzip.compress(data)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(150))
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4), st.integers(0, 30))
def test_no_alteration_makes_the_examination_raise_or_silent(look, changes, cut):
    raw = bytearray(tarred("a.zip", stored("model.pkl", RUN)) + wrapped(RUN))
    for place, value in changes:
        raw[place % len(raw)] = value
    examination = look(bytes(raw[: len(raw) - cut]), "a.tar")
    assert examination.findings or examination.unexamined
    assert examination.format in Format


# An archive behind something else


@pytest.mark.parametrize(
    ("front", "name"),
    [
        (b"# Model\n" * 100, "README.md"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5000), "a.png"),
        (b"GGUF" + bytes(100), "m.gguf"),
        (b.stream(b"N"), "m.pkl"),
    ],
)
@pytest.mark.parametrize("tail", [b"", b"some more"])
def test_an_archive_at_the_end_of_another_file_is_a_finding_and_examined(look, front, name, tail):
    examination = look(front + stored("a.pkl", RUN) + tail, name)
    assert {"AIV301", "AIV402"} <= rules(examination)
    assert "zip archive at the end!a.pkl" in {item.location.member for item in examination.findings}


def test_an_archive_that_is_a_value_of_a_pickle_is_none_at_its_end(look):
    assert look(b.stream(b.blob(stored("a.txt", b"x"))), "m.pkl").findings == []
    assert look(tarred("a.zip", stored("a.txt", b"x")), "m.tar").findings == []


def reinforced(payload: bytes) -> bytes:
    """How Stable-Baselines3 saves an agent: JSON whose values are pickles, without a suffix."""
    value = {"policy_class": {":type:": "<class 'type'>", ":serialized:": base64.b64encode(payload).decode()}}
    return json.dumps({**value, "doc": "x" * 5_000}).encode()


@pytest.mark.parametrize("boxed", [True, False])
def test_pickles_in_the_json_of_an_agent_are_examined_as_they_are_loaded(look, boxed):
    def examined(raw: bytes):
        return look(archive(Member(name=b"data", data=raw)), "agent.zip") if boxed else look(raw, "data")

    assert not examined(reinforced(pickle.dumps({"a": [1, 2]}))).findings
    examination = examined(reinforced(RUN))
    (found,) = [item for item in examination.findings if item.rule == "AIV301"]
    assert found.location.member.endswith("policy_class.:serialized:")
    escaped = examined(reinforced(RUN).replace(b":serialized:", b"\\u003aserialized:"))
    assert "AIV301" in rules(escaped)
    broken = examined(reinforced(RUN).replace(b'serialized:": "', b'serialized:": "a'))
    assert broken.unexamined


def test_pickles_in_json_that_nobody_examines_are_said_not_to_be():
    assert examine_json(reinforced(RUN), "data").unexamined
