"""The stage: twins, receipts and indexes, all of them or none, and only where they may be written."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder

from aiverify import __version__
from aiverify.convert.checkpoint import plan
from aiverify.convert.clearance import Clearance, Companion, WithheldError
from aiverify.convert.index import ShardIndex
from aiverify.convert.plan import ConversionError, SourceChangedError
from aiverify.convert.receipt import PREDICATE_TYPE, STATEMENT_TYPE, PickleFacts, pickle_facts
from aiverify.convert.stage import PlannedCheckpoint, convert_checkpoints
from aiverify.formats.safetensors import read_header
from aiverify.progress import Silent

FACTS = PickleFacts(sha256="ab" * 32, globals=("collections.OrderedDict",), opcodes=7)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    root = tmp_path / "artifact"
    root.mkdir()
    return root


def checkpoint(artifact: Path, path: str, names: str = "wb", numel: int = 6) -> PlannedCheckpoint:
    build = GraphBuilder()
    tied = build.tensor(build.storage("0", numel=numel), 0, (2, 3), (1, 2))
    tensors = {name: build.tensor(build.storage(name, numel=numel), 0, (numel,), (1,)) for name in names}
    root = build.dict({**tensors, f"{names}.tied": tied, f"{names}.head": tied, "epoch": 3})
    location = artifact / path
    location.parent.mkdir(parents=True, exist_ok=True)
    content = bytes(index * 7 % 256 for index in range(build.size))
    location.write_bytes(content)
    return PlannedCheckpoint(
        path=path,
        location=location,
        sha256=hashlib.sha256(content).hexdigest(),
        plan=plan(root, build.graph, build.storages, source_size=len(content)),
        pickle=FACTS,
    )


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_checkpoint_gives_a_twin_and_a_receipt(artifact, tmp_path):
    item = checkpoint(artifact, "sub/pytorch_model.bin")
    (conversion,) = convert_checkpoints([item], tmp_path / "a" / "out", Silent(), artifact_root=artifact)
    assert tree(tmp_path / "a" / "out") == ["sub/model.safetensors", "sub/model.safetensors.receipt.json"]
    assert conversion.source == "sub/pytorch_model.bin"
    assert conversion.output == "sub/model.safetensors"
    assert conversion.receipt == "sub/model.safetensors.receipt.json"
    assert conversion.tensors == 4
    assert [(entry.path, entry.type) for entry in conversion.dropped] == [("epoch", "int")]


def test_the_receipt_says_where_every_byte_came_from(artifact, tmp_path):
    item = checkpoint(artifact, "m.bin")
    convert_checkpoints([item], tmp_path / "out", Silent(), repo="org/m", revision="c" * 40)
    statement = json.loads((tmp_path / "out" / "m.safetensors.receipt.json").read_bytes())
    twin = (tmp_path / "out" / "m.safetensors").read_bytes()
    source = item.location.read_bytes()
    assert statement["_type"] == STATEMENT_TYPE
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["subject"] == [{"name": "m.safetensors", "digest": {"sha256": hashlib.sha256(twin).hexdigest()}}]
    predicate = statement["predicate"]
    assert predicate["format"] == 1
    assert predicate["converter"] == {"name": "aiverify-weights", "version": __version__}
    assert predicate["source"] == {
        "name": "m.bin",
        "size": len(source),
        "sha256": hashlib.sha256(source).hexdigest(),
        "repo": "org/m",
        "revision": "c" * 40,
    }
    assert predicate["pickle"] == {"sha256": "ab" * 32, "globals": ["collections.OrderedDict"], "opcodes": 7}
    assert predicate["aliases"] == {"wb.head": "wb.tied"}
    assert predicate["dropped"] == [{"path": "epoch", "type": "int"}]
    header = read_header((tmp_path / "out" / "m.safetensors").open("rb"), len(twin))
    stored = {entry.name: entry for entry in header.tensors}
    assert {tensor["name"] for tensor in predicate["tensors"]} == stored.keys() == {"w", "b", "wb.tied"}
    for tensor in predicate["tensors"]:
        entry = stored[tensor["name"]]
        start = predicate["twin"]["data_offset"] + entry.start
        data = twin[start : start + entry.end - entry.start]
        assert (tensor["dtype"], tuple(tensor["shape"]), tensor["offset"]) == (entry.dtype, entry.shape, entry.start)
        assert tensor["sha256"] == hashlib.sha256(data).hexdigest()
        origin = tensor["source"]
        taken = source[origin["offset"] : origin["offset"] + origin["length"]]
        if tensor["transform"] == "copy":
            assert taken == data
        else:
            assert tensor["transform"] == "gather"
            assert tensor["strides"] == {"size": [2, 3], "stride": [1, 2], "itemsize": 4}
            assert b"".join(taken[4 * (r + 2 * c) :][:4] for r in range(2) for c in range(3)) == data


def test_two_runs_give_the_same_bytes(artifact, tmp_path):
    item = checkpoint(artifact, "m.bin")
    for name in ("one", "two"):
        convert_checkpoints([item], tmp_path / name, Silent())
    for path in tree(tmp_path / "one"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_a_sharded_checkpoint_gets_an_index_of_what_was_written(artifact, tmp_path):
    names = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    items = [checkpoint(artifact, names[0], "ab"), checkpoint(artifact, names[1], "cd")]
    stated = {"a": names[0], "b": names[0], "gone": names[0], "c": names[1], "d": names[1]}
    index = ShardIndex(path="pytorch_model.bin.index.json", shards=stated)
    convert_checkpoints(items, tmp_path / "out", Silent(), indexes=[index])
    written = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_bytes())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert written == {
        "metadata": {"total_size": 6 * 24},
        "weight_map": {"a": first, "ab.tied": first, "b": first, "c": second, "cd.tied": second, "d": second},
    }
    assert {first, second} < set(tree(tmp_path / "out"))


def refuses(items, output: Path, error: type[BaseException] = ConversionError, **options) -> str:
    existed = output.exists()
    before = tree(output)
    with pytest.raises(error) as caught:
        convert_checkpoints(items, output, Silent(), **options)
    assert tree(output) == before
    assert output.exists() == existed
    return str(caught.value)


def test_an_index_with_a_shard_that_is_not_converted_is_refused(artifact, tmp_path):
    index = ShardIndex(path="i.json", shards={"a": "x.bin", "b": "missing.bin"})
    assert "missing.bin" in refuses([checkpoint(artifact, "x.bin")], tmp_path / "out", indexes=[index])


def test_a_tensor_in_two_shards_is_refused(artifact, tmp_path):
    items = [checkpoint(artifact, "x.bin"), checkpoint(artifact, "y.bin")]
    index = ShardIndex(path="i.json", shards={"a": "x.bin", "b": "y.bin"})
    assert "two shards" in refuses(items, tmp_path / "out", indexes=[index])


def test_if_one_checkpoint_fails_no_file_of_the_run_is_left(artifact, tmp_path):
    items = [checkpoint(artifact, "a/x.bin"), checkpoint(artifact, "b/y.bin")]
    content = items[1].location.read_bytes()
    items[1].location.write_bytes(content[:-1] + b"\xff")
    refuses(items, tmp_path / "new", SourceChangedError)
    existing = tmp_path / "existing"
    existing.mkdir()
    (existing / "mine.txt").write_text("x")
    refuses(items, existing, SourceChangedError)
    assert sorted(path.name for path in existing.iterdir()) == ["mine.txt"]


def test_a_file_that_is_there_already_is_kept(artifact, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.safetensors").write_text("mine")
    assert "exists already" in refuses([checkpoint(artifact, "a.bin"), checkpoint(artifact, "b.bin")], out)
    assert (out / "b.safetensors").read_text() == "mine"


def test_a_receipt_that_is_there_already_is_kept(artifact, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.safetensors.receipt.json").write_text("mine")
    assert "exists already" in refuses([checkpoint(artifact, "a.bin")], out)


@pytest.mark.parametrize("inside", [".", "converted", "../artifact/x", "../link"])
def test_nothing_is_written_into_the_artifact(artifact, tmp_path, inside):
    (tmp_path / "link").symlink_to(artifact)
    assert "inside the artifact" in refuses([checkpoint(artifact, "a.bin")], artifact / inside, artifact_root=artifact)


@pytest.mark.parametrize("mark", ["CACHEDIR.TAG", "models--org--m/snapshots/x", "models--org--m/blobs/x"])
def test_nothing_is_written_into_a_hub_cache_wherever_it_is(artifact, tmp_path, mark):
    place = tmp_path / "cache" / mark
    place.parent.mkdir(parents=True)
    place.write_text("x")
    output = tmp_path / "cache" / "models--org--m" / "snapshots" / "abc"
    assert "inside a Hub cache" in refuses([checkpoint(artifact, "a.bin")], output)


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HUB_CACHE", "."), ("HUGGINGFACE_HUB_CACHE", "."), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_nothing_is_written_into_the_hub_cache_in_use(artifact, tmp_path, monkeypatch, variable, below):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    output = tmp_path / "cache" / below / "mine"
    assert "inside the Hub cache" in refuses([checkpoint(artifact, "a.bin")], output)


def test_nothing_is_written_into_a_hub_cache_that_an_option_names(artifact, tmp_path):
    item = checkpoint(artifact, "a.bin")
    assert "inside the Hub cache" in refuses([item], tmp_path / "c" / "x", hub_cache=tmp_path / "c")


def test_a_folder_that_only_looks_like_a_cached_repository_may_be_used(artifact, tmp_path):
    output = tmp_path / "models--mine"
    assert len(convert_checkpoints([checkpoint(artifact, "a.bin")], output, Silent())) == 1


@pytest.mark.parametrize("path", ["../a.bin", "/tmp/a.bin"])
def test_a_path_that_leads_out_of_the_output_folder_is_refused(artifact, tmp_path, path):
    item = checkpoint(artifact, "a.bin")
    hostile = PlannedCheckpoint(path=path, location=item.location, sha256=item.sha256, plan=item.plan, pickle=FACTS)
    assert "not a path inside" in refuses([hostile], tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_an_error(artifact, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("mine")
    assert "could not be made" in refuses([checkpoint(artifact, "sub/deep/a.bin")], tmp_path / "out")


def test_an_index_of_other_files_leaves_a_single_checkpoint_out(artifact, tmp_path):
    items = [checkpoint(artifact, "x.bin", "ab"), checkpoint(artifact, "alone.bin", "ab")]
    convert_checkpoints(items, tmp_path / "out", Silent(), indexes=[ShardIndex(path="i.json", shards={"a": "x.bin"})])
    written = json.loads((tmp_path / "out" / "i.safetensors.index.json").read_bytes())
    assert set(written["weight_map"].values()) == {"x.safetensors"}


def test_an_output_that_is_a_file_is_refused(artifact, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ConversionError, match="not a folder"):
        convert_checkpoints([checkpoint(artifact, "a.bin")], tmp_path / "out", Silent())


def test_an_output_in_a_loop_of_links_is_an_error(artifact, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConversionError):
        convert_checkpoints([checkpoint(artifact, "a.bin")], tmp_path / "loop" / "x", Silent())


def test_progress_is_told_the_stage_its_size_and_each_file(artifact, tmp_path):
    class Listening(Silent):
        def __init__(self) -> None:
            self.stages: list[tuple[str, int | None]] = []
            self.details: list[str] = []
            self.done = 0

        def stage(self, name: str, total: int | None = None) -> None:
            self.stages.append((name, total))

        def advance(self, count: int) -> None:
            self.done += count

        def detail(self, text: str) -> None:
            self.details.append(text)

    items, progress = [checkpoint(artifact, "a.bin"), checkpoint(artifact, "b.bin")], Listening()
    convert_checkpoints(items, tmp_path / "out", progress)
    assert progress.stages == [("convert", progress.done)]
    assert progress.details == ["a.bin", "b.bin"]


def test_the_facts_of_a_pickle_are_those_of_its_graph():
    build = GraphBuilder()
    build.graph.globals += [build.name("b.C"), build.name("a.B"), build.name("b.C")]
    build.graph.opcodes = 5
    assert pickle_facts(build.graph, "00") == PickleFacts(sha256="00", globals=("a.B", "b.C"), opcodes=5)


def test_nothing_has_a_name_before_the_run_is_cleared_and_that_is_asked_once(artifact, tmp_path):
    seen = []

    def clear() -> Clearance:
        seen.append(tree(tmp_path / "out"))
        return Clearance(sha256={"a.bin": "ab" * 32})

    for items in ([checkpoint(artifact, "a.bin")], [checkpoint(artifact, "a.bin"), checkpoint(artifact, "b.bin")]):
        seen.clear()
        convert_checkpoints(items, tmp_path / "out", Silent(), clear=clear)
        assert seen == [[]]
        statement = json.loads((tmp_path / "out" / "a.safetensors.receipt.json").read_bytes())
        assert statement["predicate"]["source"]["sha256"] == "ab" * 32
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_is_not_cleared_leaves_nothing(artifact, tmp_path, count):
    def clear() -> Clearance:
        raise WithheldError("not now")

    items = [checkpoint(artifact, f"sub/{name}.bin") for name in "ab"[:count]]
    refuses(items, tmp_path / "deep" / "out", WithheldError, clear=clear)
    assert not (tmp_path / "deep").exists()


def test_the_work_on_a_single_checkpoint_is_done_before_the_run_is_cleared(artifact, tmp_path):
    class Counting(Silent):
        done = 0

        def advance(self, count: int) -> None:
            self.done += count

    progress, item = Counting(), checkpoint(artifact, "a.bin")

    def clear() -> Clearance:
        assert progress.done == item.plan.source_size + item.plan.output_size
        return Clearance()

    convert_checkpoints([item], tmp_path / "out", progress, clear=clear)


def test_a_companion_that_stands_in_the_way_leaves_no_twin(artifact, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    (artifact / "config.json").write_text("{}")
    companion = Companion(
        path="config.json", location=artifact / "config.json", sha256=hashlib.sha256(b"{}").hexdigest()
    )
    message = refuses(
        [checkpoint(artifact, "a.bin")], tmp_path / "out", clear=lambda: Clearance(companions=[companion])
    )
    assert "config.json exists already" in message


def test_a_companion_that_changed_leaves_no_twin(artifact, tmp_path):
    (artifact / "config.json").write_text("[]")
    companion = Companion(path="config.json", location=artifact / "config.json", sha256="00" * 32)
    item = checkpoint(artifact, "a.bin")
    refuses([item], tmp_path / "out", SourceChangedError, clear=lambda: Clearance(companions=[companion]))
