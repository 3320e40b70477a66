"""The one way through: its order, what it hands on, and what happens when the ground moves under it."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from end_to_end import SAMPLES, files_below, save_with_torch, weights
from lying_hub import LyingHub

from aiverify.artifact import FileClass, SourceKind
from aiverify.demo.hub import LocalHub
from aiverify.errors import AiverifyError
from aiverify.options import Conversions
from aiverify.pipeline import Options, run
from aiverify.policy import Policy, Waiver
from aiverify.report import Outcome
from aiverify.sources.interface import HubOptions, Selection


class Watcher:
    """Remembers the stages, and does something when one begins."""

    def __init__(self, **actions: Callable[[], object]) -> None:
        self.stages: list[str] = []
        self.done: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}
        self._actions = actions

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)
        self.totals[name] = total
        action = self._actions.get(name)
        if action is not None:
            action()

    def advance(self, count: int) -> None:
        self.done[self.stages[-1]] = self.done.get(self.stages[-1], 0) + count

    def detail(self, text: str) -> None:
        assert self.stages


def test_the_stages_come_in_their_order_and_count_every_byte(tmp_path: Path) -> None:
    watcher = Watcher()
    run(str(SAMPLES / "checkpoint"), Options(convert_to=tmp_path / "converted"), watcher)
    assert watcher.stages == ["fetch", "scan", "digest", "authenticate", "convert"]  # two shards: digests come first
    size = sum(path.stat().st_size for path in (SAMPLES / "checkpoint").iterdir())
    for stage in ("digest", "scan"):
        assert watcher.totals[stage] == watcher.done[stage] == size
    assert watcher.totals["convert"] == watcher.done["convert"]


def test_stages_can_be_left_out() -> None:
    watcher = Watcher()
    report = run(str(SAMPLES / "checkpoint"), Options(authenticate=False, convert=False), watcher)
    assert watcher.stages == ["fetch", "scan", "digest"]
    assert (report.signatures, report.conversions) == ((), ())


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "checkpoint", tmp_path / "model")
    before = files_below(tmp_path)
    run(str(tmp_path / "model"), Options())
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("stage", ["scan", "digest", "authenticate"])
def test_a_target_that_vanishes_is_an_error_or_a_block_and_never_a_pass(tmp_path: Path, stage: str) -> None:
    model = weights(tmp_path / "model")
    watcher = Watcher(**{stage: lambda: shutil.rmtree(model)})
    said = ""
    try:
        report = run(str(model), Options(), watcher)
    except AiverifyError as error:
        said = str(error)
    if said or stage == "scan":  # at "digest" the files may have been read already, or not
        assert "cannot be read" in said
        assert stage != "authenticate"
        return
    assert report.verdict.outcome is Outcome.BLOCK
    assert {finding.rule for finding in report.findings} >= {"AIV103"}


@pytest.mark.parametrize("stage", ["authenticate", "scan", "convert"])
def test_a_file_that_changes_during_the_run_blocks(tmp_path: Path, stage: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(SAMPLES / "checkpoint", model)

    def change() -> None:
        with (model / "config.json").open("a") as file:
            file.write(" ")

    report = run(str(model), Options(convert_to=tmp_path / "converted"), Watcher(**{stage: change}))
    assert report.verdict.outcome is Outcome.BLOCK
    assert "AIV103" in {finding.rule for finding in report.findings}
    assert stage == "convert" or not (tmp_path / "converted").exists()


@pytest.mark.parametrize("convert", [False, True])
def test_a_folder_that_is_exchanged_while_it_is_scanned_blocks_though_it_is_back_at_the_end(
    tmp_path: Path, convert: bool
) -> None:
    """The digest is that of a payload, which is there before and after; what is scanned is another file."""
    model, other, away = tmp_path / "model", tmp_path / "other", tmp_path / "away"
    for folder, content in ((model, b"cos\nsystem\n(S'true'\ntR."), (other, pickle.dumps({"a": 1}))):
        folder.mkdir()
        (folder / "model.pkl").write_bytes(content)

    def exchange() -> None:
        time.sleep(0.5)  # until the digest has been taken
        model.rename(away)
        other.rename(model)

    def give_back() -> None:
        model.rename(other)
        away.rename(model)

    report = run(str(model), Options(convert=convert), Watcher(scan=exchange, digest=give_back))
    assert report.verdict.outcome is Outcome.BLOCK
    assert [(item.rule, item.file) for item in report.findings if item.rule == "AIV103"] == [("AIV103", "model.pkl")]


def test_a_file_that_is_swapped_for_another_of_the_same_size_and_time_blocks(tmp_path: Path) -> None:
    model = weights(tmp_path / "model")
    path = model / "model.safetensors"
    status = path.stat()

    def swap() -> None:
        (tmp_path / "other").write_bytes(path.read_bytes())
        os.utime(tmp_path / "other", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "other").replace(path)

    report = run(str(model), Options(), Watcher(scan=swap))
    assert report.verdict.outcome is Outcome.BLOCK


def test_a_checkpoint_that_is_swapped_before_its_conversion_gives_no_twin(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = save_with_torch({"weight": torch.zeros(100)}, tmp_path / "model" / "pytorch_model.bin")
    other = save_with_torch({"weight": torch.ones(100)}, tmp_path / "other" / "pytorch_model.bin")
    assert path.stat().st_size == other.stat().st_size
    options = Options(convert_to=tmp_path / "converted")
    with pytest.raises(AiverifyError):
        run(str(path.parent), options, Watcher(convert=lambda: shutil.copy(other, path)))
    assert not (tmp_path / "converted").exists()


def lone_checkpoint(folder: Path) -> Path:
    """A model of one checkpoint, whose conversion begins while its digest is taken."""
    torch = pytest.importorskip("torch")
    return save_with_torch({"weight": torch.zeros(100)}, folder / "pytorch_model.bin")


def test_a_lone_checkpoint_is_converted_while_its_digest_is_taken_and_published_after_it(tmp_path: Path) -> None:
    path, out = lone_checkpoint(tmp_path / "model"), tmp_path / "out"
    seen: dict[str, bool] = {}

    def look(stage: str) -> Callable[[], object]:
        return lambda: seen.update({stage: any(out.glob("*")) if out.exists() else False})

    watcher = Watcher(digest=look("digest"), authenticate=look("authenticate"))
    report = run(str(path.parent), Options(convert_to=out), watcher)
    assert watcher.stages == ["fetch", "scan", "convert", "digest", "authenticate"]
    assert {stage: watcher.totals[stage] for stage in watcher.done} == watcher.done
    assert seen == {"digest": False, "authenticate": False}
    assert report.verdict.outcome is Outcome.PASS
    record = json.loads((out / "model.safetensors.receipt.json").read_bytes())
    assert record["predicate"]["source"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("stage", ["digest", "authenticate"])
def test_a_file_that_changes_while_the_digest_is_awaited_leaves_no_twin(
    tmp_path: Path, stage: str, salvage: bool
) -> None:
    path = lone_checkpoint(tmp_path / "model")
    options = Options(convert_to=tmp_path / "out", conversion=Conversions(salvage=salvage))
    report = run(str(path.parent), options, Watcher(**{stage: lambda: path.write_bytes(path.read_bytes())}))
    assert report.verdict.outcome is Outcome.BLOCK
    assert "AIV103" in {finding.rule for finding in report.findings}
    assert not (tmp_path / "out").exists()


def test_a_signature_that_fails_leaves_no_twin_though_the_work_was_done(tmp_path: Path) -> None:
    path = lone_checkpoint(tmp_path / "model")
    shutil.copy(SAMPLES / "signed" / "model.sig", path.parent)
    watcher = Watcher()
    report = run(str(path.parent), Options(convert_to=tmp_path / "out"), watcher)
    assert watcher.stages.index("convert") < watcher.stages.index("authenticate")
    assert report.verdict.outcome is Outcome.BLOCK
    assert not (tmp_path / "out").exists()


def test_salvaged_tensors_say_so_when_only_the_signature_speaks_against_them(tmp_path: Path) -> None:
    path = lone_checkpoint(tmp_path / "model")
    shutil.copy(SAMPLES / "signed" / "model.sig", path.parent)
    options = Options(convert_to=tmp_path / "out", conversion=Conversions(salvage=True))
    assert run(str(path.parent), options).verdict.outcome is Outcome.BLOCK
    record = json.loads((tmp_path / "out" / "model.safetensors.receipt.json").read_bytes())
    assert record["predicate"]["salvaged"] is True


def test_without_digests_a_local_checkpoint_is_not_hashed(tmp_path: Path) -> None:
    path = lone_checkpoint(tmp_path / "model")
    (path.parent / "config.json").write_text("{}")
    options = Options(convert_to=tmp_path / "out", conversion=Conversions(digests=False))
    watcher = Watcher()
    report = run(str(path.parent), options, watcher)
    assert report.verdict.outcome is Outcome.PASS
    assert {file.path: file.sha256 is None for file in report.artifact.files} == {
        "config.json": False,
        "pytorch_model.bin": True,
    }
    assert watcher.totals["digest"] == watcher.done["digest"] == 2


@pytest.mark.parametrize("reason", ["signature", "waiver", "required"])
def test_without_digests_a_checkpoint_is_hashed_all_the_same_where_somebody_needs_it(
    tmp_path: Path, reason: str
) -> None:
    path = lone_checkpoint(tmp_path / "model")
    policy = Policy()
    if reason == "signature":
        shutil.copy(SAMPLES / "signed" / "model.sig", path.parent)
    elif reason == "waiver":
        expires = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
        policy = Policy(waivers=(Waiver(rule="AIV201", sha256="0" * 64, reason="why", expires=expires),))
    else:
        policy = Policy(require_signature=True)
    options = Options(policy=policy, convert_to=tmp_path / "out", conversion=Conversions(digests=False))
    assert all(file.sha256 for file in run(str(path.parent), options).artifact.files)


def test_without_digests_a_hub_repository_is_hashed_all_the_same(tmp_path: Path) -> None:
    with LocalHub(SAMPLES.parent) as hub:
        options = Options(
            hub=HubOptions(endpoint=hub.endpoint, cache_dir=tmp_path / "cache"),
            convert_to=tmp_path / "out",
            conversion=Conversions(digests=False),
        )
        assert all(file.sha256 for file in run("demo/checkpoint", options).artifact.files)


def test_a_server_that_would_steer_the_client_blocks_with_a_report(tmp_path: Path) -> None:
    entry = {"type": "file", "path": "../../evil.bin", "size": 1, "oid": "0" * 40}
    with LyingHub(SAMPLES.parent, extra=[entry]) as hub:
        options = Options(hub=HubOptions(endpoint=hub.endpoint, cache_dir=tmp_path / "some" / "where" / "cache"))
        report = run("hf://demo/signed@main", options)
    assert report.verdict.outcome is Outcome.BLOCK
    assert (report.artifact.source, report.artifact.repo) == (SourceKind.HUB, "demo/signed")
    assert [finding.rule for finding in report.findings] == ["AIV102"]
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("evil.bin"))


def test_a_cached_file_that_was_changed_after_its_download_blocks(tmp_path: Path) -> None:
    with LocalHub(SAMPLES.parent) as hub:
        options = HubOptions(endpoint=hub.endpoint, cache_dir=tmp_path / "cache")
        assert run("demo/checkpoint", Options(hub=options)).verdict.outcome is Outcome.PASS
    offline = Options(hub=replace(options, offline=True))
    assert run("demo/checkpoint", offline).verdict.outcome is Outcome.PASS
    for name in ("pytorch_model-00001-of-00002.bin", "config.json"):
        (path,) = (tmp_path / "cache").rglob(f"snapshots/*/{name}")
        content = path.read_bytes()
        path.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        report = run("demo/checkpoint", offline)
        assert report.verdict.outcome is Outcome.BLOCK
        assert ("AIV101", name) in {(finding.rule, finding.file) for finding in report.findings}
        path.resolve().write_bytes(content)


def test_a_folder_of_nothing_but_links_that_lead_out_blocks_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to("/etc/hostname")
    report = run(str(tmp_path / "model"), Options())
    assert report.verdict.outcome is Outcome.BLOCK
    assert (report.artifact.source, report.artifact.repo) == (SourceKind.FOLDER, None)


def test_the_signature_is_fetched_whatever_the_selection() -> None:
    report = run(str(SAMPLES / "tampered"), Options(selection=Selection(include=("*.safetensors",))))
    assert {file.path for file in report.artifact.files} == {"model.safetensors", "model.sig"}
    assert report.verdict.outcome is Outcome.BLOCK
    report = run(str(SAMPLES / "tampered"), Options(selection=Selection(exclude=("model.sig",))))
    assert report.signatures[0].outcome == "absent"


def test_a_selection_makes_every_file_count(tmp_path: Path) -> None:
    (weights(tmp_path) / "model.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(64))
    everything = run(str(tmp_path), Options())
    selected = run(str(tmp_path), Options(selection=Selection(include=("*",))))
    classes = [
        {file.path: file.file_class for file in report.artifact.files}["model.gguf"]
        for report in (everything, selected)
    ]
    assert classes == [FileClass.OTHER_FRAMEWORK, FileClass.WEIGHTS]
    assert everything.verdict.outcome is Outcome.PASS
    accepting = Options(selection=Selection(include=("*",)), policy=Policy(accept_unexamined=("*.gguf",)))
    assert run(str(tmp_path), accepting).verdict.outcome is Outcome.PASS


def test_one_shard_that_cannot_be_converted_leaves_no_twin_of_the_others(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(SAMPLES / "checkpoint", model)
    (model / "pytorch_model.bin.index.json").unlink()
    save_with_torch({"epoch": 3}, model / "pytorch_model-00003-of-00003.bin")
    report = run(str(model), Options(convert_to=tmp_path / "converted"))
    assert report.verdict.outcome is Outcome.ERROR
    assert not (tmp_path / "converted").exists()
    assert all(conversion.output is None for conversion in report.conversions)


def test_the_report_speaks_of_this_run(tmp_path: Path) -> None:
    report = run(str(weights(tmp_path)), Options())
    assert report.tool.startswith("aiverify ")
    assert report.started_at.endswith("Z")
    assert report.duration_s >= 0
    assert report.target == str(tmp_path)


# digests of earlier runs


class Memory:
    """Remembers in a table, and what it was asked."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int, int], str] = {}
        self.kept = 0

    def digest(self, state: os.stat_result) -> str | None:
        return self.known.get((state.st_ino, state.st_size, state.st_ctime_ns))

    def keep_digest(self, state: os.stat_result, sha256: str, *, hashed_at: float) -> bool:
        assert hashed_at > 1e9
        self.kept += 1
        self.known[state.st_ino, state.st_size, state.st_ctime_ns] = sha256
        return True


def _large(folder: Path) -> Path:
    table = json.dumps({"w": {"dtype": "U8", "shape": [2 << 20], "data_offsets": [0, 2 << 20]}}).encode()
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(len(table).to_bytes(8, "little") + table + bytes(2 << 20))
    return folder


def test_digests_of_large_files_are_remembered_and_believed(tmp_path: Path) -> None:
    memory, model = Memory(), _large(tmp_path / "model")
    first = run(str(model), Options(memory=memory))
    assert memory.kept == 1
    watcher = Watcher()
    again = run(str(model), Options(memory=memory), watcher)
    assert again.artifact.files == first.artifact.files
    assert watcher.totals["digest"] == 2  # the configuration, which is small
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    run(str(model), Options(memory=memory))
    assert memory.kept == 2


def test_a_remembered_digest_is_compared_with_what_the_hub_states(tmp_path: Path) -> None:
    _large(tmp_path / "org").rename(tmp_path / "moved")
    (tmp_path / "served" / "org").mkdir(parents=True)
    (tmp_path / "moved").rename(tmp_path / "served" / "org" / "model")
    with LyingHub(tmp_path / "served") as hub:
        options = Options(hub=HubOptions(cache_dir=tmp_path / "cache", endpoint=hub.endpoint))
        assert run("org/model", options).verdict.outcome is Outcome.PASS
        (place,) = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
        memory = Memory()
        state = place.stat()
        memory.known[state.st_ino, state.st_size, state.st_ctime_ns] = "a" * 64
        offline = replace(options, memory=memory, hub=replace(options.hub, offline=True))
        assert "AIV101" in {item.rule for item in run("org/model", offline).findings}
