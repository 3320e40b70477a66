"""``aiverify.ensure``: what passed is what is loaded, at once when it is known, and never what did not pass."""

from __future__ import annotations

import datetime
import json
import pickle
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from end_to_end import SAMPLES, checkpoint_of_unknown_class, sample, save_with_torch, weights
from huggingface_hub import _tree_cache, constants
from lying_hub import LyingHub

import aiverify
from aiverify import api, ensuring, pipeline, questions
from aiverify.advisories.snapshot import cache_path, written
from aiverify.finding import Severity
from aiverify.guard.interface import LoadRefused
from aiverify.pipeline import Options, run
from aiverify.policy import Policy, Waiver
from aiverify.progress import Silent
from aiverify.sources.interface import HubOptions, Selection
from aiverify.store.store import Store


@pytest.fixture(autouse=True)
def no_traces_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AIVERIFY_STORE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets that were examined, and not just recalled."""
    examined: list[str] = []

    def counted(target: str, *more: object) -> object:
        examined.append(target)
        return run(target, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(ensuring, "run", counted)
    return examined


def paths(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# what is sealed, and that loaders take it


def test_a_folder_is_sealed_and_then_recalled(tmp_path: Path, store: Path, runs: list[str]) -> None:
    model = weights(tmp_path / "model")
    first = aiverify.ensure(model, store=store)
    assert (paths(first), len(runs)) == (["model.safetensors"], 1)
    assert first.is_relative_to(store)
    assert (first / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert aiverify.ensure(str(model), store=store) == first
    assert len(runs) == 1


def test_the_same_content_elsewhere_is_known(tmp_path: Path, store: Path, runs: list[str]) -> None:
    first = aiverify.ensure(weights(tmp_path / "model"), store=store)
    assert aiverify.ensure(weights(tmp_path / "copy"), store=store) == first
    assert len(runs) == 1


def test_transformers_loads_the_twin_of_a_checkpoint_that_is_not_there_any_more(tmp_path: Path, store: Path) -> None:
    import torch
    from transformers import AutoModel

    model = sample("checkpoint", tmp_path)
    before = AutoModel.from_pretrained(model).state_dict()
    sealed = aiverify.ensure(model, store=store)
    shutil.rmtree(model)
    assert not [path for path in paths(sealed) if path.endswith((".bin", ".bin.index.json"))]
    assert {"model.safetensors.index.json", "config.json", "model-00001-of-00002.safetensors"} <= set(paths(sealed))
    after = AutoModel.from_pretrained(sealed, use_safetensors=True).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_single_checkpoint_becomes_the_file_that_from_pretrained_looks_for(tmp_path: Path, store: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=16)
    made = BertModel(config)
    folder = tmp_path / "model"
    config.save_pretrained(folder)
    save_with_torch(made.state_dict(), folder / "pytorch_model.bin")
    sealed = aiverify.ensure(folder, store=store)
    assert paths(sealed) == ["config.json", "model.safetensors", "model.safetensors.receipt.json"]
    loaded = BertModel.from_pretrained(sealed)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in made.state_dict().items())


def test_safetensors_beside_a_pickle_are_sealed_without_it_and_nothing_is_converted(
    tmp_path: Path, store: Path
) -> None:
    import torch

    model = weights(tmp_path / "model")
    save_with_torch({"weight": torch.ones(2)}, model / "pytorch_model.bin")
    save_with_torch({"step": 1}, model / "optimizer.pt")
    (model / "model.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(16))
    assert paths(aiverify.ensure(model, store=store)) == ["model.safetensors"]


def test_parts_in_folders_of_their_own_are_all_there(tmp_path: Path, store: Path) -> None:
    import torch

    model = tmp_path / "model"
    weights(model / "unet", "diffusion_pytorch_model.safetensors")
    save_with_torch({"weight": torch.ones(2)}, model / "text_encoder" / "pytorch_model.bin")
    (model / "model_index.json").write_text("{}")
    assert paths(aiverify.ensure(model, store=store)) == [
        "model_index.json",
        "text_encoder/model.safetensors",
        "text_encoder/model.safetensors.receipt.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]


def test_joblib_loads_the_sealed_file(tmp_path: Path, store: Path) -> None:
    import joblib
    import numpy

    place = tmp_path / "weights.joblib"
    joblib.dump({"weights": numpy.arange(6)}, place)
    sealed = aiverify.ensure(place, store=store)
    assert sealed.is_relative_to(store)
    assert joblib.load(sealed)["weights"].tolist() == list(range(6))


def test_numpy_arrays_stay_what_they_are(tmp_path: Path, store: Path) -> None:
    import numpy

    (tmp_path / "model").mkdir()
    numpy.save(tmp_path / "model" / "weights.npy", numpy.arange(6))
    sealed = aiverify.ensure(tmp_path / "model", store=store)
    assert numpy.load(sealed / "weights.npy").tolist() == list(range(6))


def test_of_a_single_file_the_file_itself_or_its_twin_is_returned(tmp_path: Path, store: Path) -> None:
    import torch
    from safetensors.torch import load_file

    whole = aiverify.ensure(weights(tmp_path / "model") / "model.safetensors", store=store)
    assert (whole.name, whole.is_file()) == ("model.safetensors", True)
    place = save_with_torch({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    for _ in range(2):
        twin = aiverify.ensure(place, store=store)
        assert twin.name == "weights.safetensors"
        assert load_file(twin)["weight"].tolist() == [1, 1]


def test_a_large_file_is_hashed_once_on_its_way_in(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiverify.store import blobs

    model = weights(tmp_path / "model")
    large(model / "large.safetensors")
    read: list[Path] = []
    monkeypatch.setattr(blobs.Blobs, "put", lambda _, source, *__: read.append(source))
    sealed = aiverify.ensure(model / "large.safetensors", store=store)
    assert sealed.read_bytes() == (model / "large.safetensors").read_bytes()
    assert read == []


def large(place: Path, size: int = 3 << 20) -> Path:
    table = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(len(table).to_bytes(8, "little") + table + bytes(size))
    return place


# what is refused


def test_a_blocked_model_is_refused_with_file_finding_policy_and_the_way_to_more(tmp_path: Path, store: Path) -> None:
    model = sample("payload", tmp_path)
    with pytest.raises(LoadRefused) as caught:
        aiverify.ensure(model, store=store)
    refusal = caught.value
    assert (refusal.outcome, refusal.file, refusal.rules[0]) == ("block", "pytorch_model.bin", "AIV301")
    text = refusal.diagnostics()
    for words in ("pytorch_model.bin", "AIV301", "default policy", "block_at = high", f"aiverify verify {model}"):
        assert words in text
    assert "\n" not in str(refusal)
    assert isinstance(pickle.loads(pickle.dumps(refusal)), LoadRefused)
    assert Store(store).snapshots() == []
    assert list((store / "blobs").rglob("*")) == list((store / "temporary").iterdir()) == []


def test_what_asks_for_review_is_refused_unless_the_policy_trusts_it(tmp_path: Path, store: Path) -> None:
    place = checkpoint_of_unknown_class(tmp_path / "weights.pkl")
    place.write_bytes(pickle.dumps(datetime.timezone(datetime.timedelta(hours=1))).replace(b"datetime", b"mytimelb"))
    with pytest.raises(LoadRefused) as caught:
        aiverify.ensure(place, store=store)
    assert caught.value.outcome == "review"
    assert "review_at = medium" in str(caught.value)
    trusting = Policy(trusted_globals=frozenset(("mytimelb.timezone", "mytimelb.timedelta")))
    assert aiverify.ensure(place, store=store, policy=trusting).read_bytes() == place.read_bytes()
    with pytest.raises(LoadRefused):
        aiverify.ensure(place, store=store)


def test_the_twin_of_a_checkpoint_to_be_reviewed_is_sealed_without_what_is_unknown(tmp_path: Path, store: Path) -> None:
    twin = aiverify.ensure(checkpoint_of_unknown_class(tmp_path / "model.pt"), store=store)
    assert twin.suffix == ".safetensors"


def test_what_could_not_be_examined_is_refused(tmp_path: Path, store: Path) -> None:
    (weights(tmp_path / "model") / "model2.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(LoadRefused):
        aiverify.ensure(tmp_path / "model", store=store)


def test_what_is_not_there_is_an_error_and_no_refusal(store: Path) -> None:
    with pytest.raises(aiverify.AiverifyError) as caught:
        aiverify.ensure("nowhere", store=store)
    assert not isinstance(caught.value, LoadRefused)


def test_the_command_of_a_refusal_names_the_policy_file(tmp_path: Path, store: Path) -> None:
    policy = tmp_path / "strict policy.toml"
    policy.write_text("require_signature = true\n")
    with pytest.raises(LoadRefused) as caught:
        aiverify.ensure(weights(tmp_path / "model"), store=store, policy=policy)
    assert caught.value.command == f"aiverify verify {tmp_path / 'model'} --policy '{policy}'"


# what asks anew


def test_another_policy_asks_anew(tmp_path: Path, store: Path, runs: list[str]) -> None:
    model = weights(tmp_path / "model")
    aiverify.ensure(model, store=store)
    aiverify.ensure(model, store=store, policy=Policy(block_at=Severity.MEDIUM))
    with pytest.raises(LoadRefused):
        aiverify.ensure(model, store=store, policy=Policy(require_signature=True))
    assert len(runs) == 3


@pytest.mark.parametrize("change", ["rule_data", "_version", "_loaders", "__version__"])
def test_other_rule_data_engines_loaders_or_tools_ask_anew(
    tmp_path: Path, store: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    model = weights(tmp_path / "model")
    aiverify.ensure(model, store=store)
    monkeypatch.setattr(questions, change, "other" if change == "__version__" else lambda *_: "other")
    aiverify.ensure(model, store=store)
    aiverify.ensure(model, store=store)
    assert len(runs) == 2


def test_the_rule_data_are_those_of_every_table(tmp_path: Path) -> None:
    package = Path(aiverify.__file__).parent
    # How a page looks is no table.
    others = shutil.ignore_patterns("*.py", "*.pyc", "demo", "*.html", "*.css", "*.js")
    copy = Path(shutil.copytree(package, tmp_path / "aiverify", ignore=others))
    assert questions._rule_data(package) == questions.rule_data() == questions._rule_data(copy)
    tables = [path for path in copy.rglob("*") if path.is_file() and path.name != "py.typed"]
    assert len(tables) > 5
    for table in tables:
        text = table.read_text("utf-8")
        table.write_text(f"{text}\n", "utf-8")
        assert questions._rule_data.__wrapped__(copy) != questions.rule_data(), table
        table.write_text(text, "utf-8")


def test_the_version_of_an_engine_is_that_of_its_distribution() -> None:
    from importlib.metadata import version

    assert questions._version("fickling") == version("fickling")
    assert questions._version("no-such-distribution") == "unknown"
    assert f"torch {version('torch')}" in questions._loaders()
    assert f"scikit-learn {version('scikit-learn')}" == f"scikit-learn {questions._version('scikit_learn')}"


def test_a_waiver_that_runs_out_asks_anew() -> None:
    day = datetime.date(2027, 1, 31)
    policy = Policy(waivers=(Waiver(rule="AIV301", sha256="a" * 64, reason="known", expires=day),))
    question = questions.asked("a", policy, ("fickling",), day)
    assert question == questions.asked("a", policy, ("fickling",), day - datetime.timedelta(days=9))
    assert question != questions.asked("a", policy, ("fickling",), day + datetime.timedelta(days=1))


class _Meanwhile(Silent):
    """Does something while the files are examined."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def stage(self, name: str, total: int | None = None) -> None:
        if name == "scan":
            self._change()


def test_what_comes_in_during_an_examination_asks_anew(tmp_path: Path, store: Path, runs: list[str]) -> None:
    brought = cache_path()
    brought.parent.mkdir(parents=True)
    model, news = weights(tmp_path / "model"), written([], "2099-01-01")
    aiverify.ensure(model, store=store, progress=_Meanwhile(lambda: brought.write_bytes(news)))
    aiverify.ensure(model, store=store)
    assert len(runs) == 2


def test_a_link_that_leads_out_now_is_not_hidden_by_what_passed_before(tmp_path: Path, store: Path) -> None:
    model = weights(tmp_path / "model")
    aiverify.ensure(model, store=store)
    (tmp_path / "outside").write_text("{}")
    (model / "config.json").symlink_to(tmp_path / "outside")
    with pytest.raises(LoadRefused):
        aiverify.ensure(model, store=store)


@pytest.mark.parametrize("tamper", ["change", "add", "loosen"])
def test_a_damaged_snapshot_is_made_anew(tmp_path: Path, store: Path, runs: list[str], tamper: str) -> None:
    model = weights(tmp_path / "model")
    sealed = aiverify.ensure(model, store=store)
    place = sealed / "model.safetensors"
    if tamper == "change":
        place.chmod(0o644)
        place.write_bytes(bytes(place.stat().st_size))
        place.chmod(0o444)
    else:
        sealed.chmod(0o755)
        if tamper == "add":
            (sealed / "modeling.py").write_text("print('surprise')")
            sealed.chmod(0o555)
    assert aiverify.ensure(model, store=store) == sealed
    assert len(runs) == 2
    assert paths(sealed) == ["model.safetensors"]
    assert place.read_bytes() == (model / "model.safetensors").read_bytes()
    assert list(Store(store).faults()) == []


# the Hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LyingHub]:
    shutil.copytree(SAMPLES / "checkpoint", tmp_path / "served" / "org" / "model")
    with LyingHub(tmp_path / "served") as hub:
        yield hub


@pytest.fixture
def ensured(hub: LyingHub, tmp_path: Path, store: Path) -> Callable[..., Path]:
    """``ensure`` for the repository on the local Hub, with the real client."""

    def ensure(target: str = "org/model", **options: object) -> Path:
        settings = HubOptions(**{"cache_dir": tmp_path / "hub", "endpoint": hub.endpoint, **options})
        with Store(store) as opened:
            return ensuring.ensure(target, Options(hub=settings, selection=Selection(lean=True)), opened)

    return ensure


def commit(store: Path) -> str:
    report = json.loads(Store(store).index.reports(Store(store).snapshots()[0].id)[0])
    return str(report["artifact"]["revision"])


def test_a_branch_that_is_known_costs_one_request_and_a_commit_none(
    hub: LyingHub, store: Path, ensured: Callable[..., Path], runs: list[str]
) -> None:
    first = ensured()
    assert "model.safetensors.index.json" in paths(first)
    hub.requests.clear()
    assert ensured() == first
    assert [request.path for request in hub.requests] == ["/api/models/org/model/revision/main"]
    hub.requests.clear()
    assert ensured(revision=commit(store)) == ensured(f"hf://org/model@{commit(store)}") == first
    assert hub.requests == []
    assert len(runs) == 1


def test_offline_a_branch_is_the_commit_that_it_was(
    hub: LyingHub, tmp_path: Path, ensured: Callable[..., Path], runs: list[str]
) -> None:
    first = ensured()
    hub.requests.clear()
    assert ensured(offline=True) == first
    shutil.rmtree(tmp_path / "hub")
    assert ensured(offline=True) == first
    assert (hub.requests, len(runs)) == ([], 1)


def test_a_branch_that_moved_is_verified_again(
    tmp_path: Path, hub: LyingHub, ensured: Callable[..., Path], runs: list[str]
) -> None:
    first = ensured()
    (tmp_path / "served" / "org" / "model" / "notes.md").write_text("new")
    assert ensured() != first
    assert len(runs) == 2


def test_what_passed_on_the_word_of_the_cache_alone_is_not_believed_online(
    tmp_path: Path, ensured: Callable[..., Path], store: Path, runs: list[str]
) -> None:
    ensured()
    for listing in (tmp_path / "hub").rglob("trees/*.json"):
        listing.unlink()
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    Store(store).prune(lambda _: False)
    try:
        ensured(offline=True)
        ensured(offline=True)
    except LoadRefused:  # where a policy minds that no digest is stated
        pytest.skip("nothing passes offline without a listing")
    assert len(runs) == 2
    ensured()
    assert len(runs) == 3


def test_the_store_answers_for_one_hub_only(tmp_path: Path, hub: LyingHub, ensured: Callable[..., Path]) -> None:
    ensured()
    with LyingHub(tmp_path / "other") as other, pytest.raises(aiverify.AiverifyError):
        ensured(endpoint=other.endpoint)


# the face


def test_the_function_takes_the_arguments_of_verify(tmp_path: Path, store: Path) -> None:
    import inspect

    mine = set(inspect.signature(api.ensure).parameters)
    assert mine - set(inspect.signature(api.verify).parameters) == {"store"}
    key = SAMPLES.parent.parent / "trust" / "publisher.pub"
    with pytest.raises(LoadRefused, match="AIV2"):
        aiverify.ensure(sample("tampered", tmp_path), store=store, key=key)


def test_the_store_may_be_named_by_text(tmp_path: Path) -> None:
    assert aiverify.ensure(weights(tmp_path / "model"), store=str(tmp_path / "mine")).is_relative_to(tmp_path / "mine")


def test_the_store_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIVERIFY_STORE", str(tmp_path / "mine"))
    assert aiverify.ensure(weights(tmp_path / "model")).is_relative_to(tmp_path / "mine")


def test_a_user_without_a_home_needs_only_a_store(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as for the numbered users of containers
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError):
        Path("~").expanduser()
    sealed = aiverify.ensure(sample("checkpoint", tmp_path), store=store)
    assert (sealed / "model.safetensors.index.json").is_file()


def test_what_is_known_is_returned_without_what_only_examining_needs(tmp_path: Path, store: Path) -> None:
    model = weights(tmp_path / "model")
    aiverify.ensure(model, store=store)
    program = (
        f"import sys, aiverify, pathlib; aiverify.ensure({str(model)!r}, store=pathlib.Path({str(store)!r}));"
        "print(sorted({'sigstore', 'huggingface_hub', 'numpy', 'torch', 'rich', 'aiverify.formats.many'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# many at once, and killed

RACE = """
import sys, pathlib
sys.path[:0] = sys.argv[3:]
import aiverify
print("ready", flush=True)
sys.stdin.readline()
print(aiverify.ensure(sys.argv[1], store=pathlib.Path(sys.argv[2])))
"""


def racers(model: Path, store: Path, count: int) -> list[subprocess.Popen[str]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(model), str(store), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for racer in started:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in started:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    return started


def test_eight_processes_at_once_get_one_snapshot(tmp_path: Path, store: Path) -> None:
    model = sample("checkpoint", tmp_path)
    large(model / "vision" / "large.safetensors")
    outputs = [racer.communicate(timeout=120)[0] for racer in racers(model, store, 8)]
    assert len(set(outputs)) == 1
    assert Path(outputs[0].strip()).is_dir()
    with Store(store) as opened:
        assert list(opened.faults()) == []
        assert len(opened.snapshots()) == 1
    assert list((store / "temporary").iterdir()) == []


@pytest.mark.parametrize("after", [0.01, 0.2, 0.4])
def test_a_call_that_is_killed_leaves_the_store_whole(tmp_path: Path, store: Path, after: float) -> None:
    model = sample("checkpoint", tmp_path)
    large(model / "vision" / "large.safetensors", 64 << 20)
    (racer,) = racers(model, store, 1)
    time.sleep(after)
    racer.send_signal(signal.SIGKILL)
    racer.communicate()
    with Store(store) as opened:
        assert list(opened.faults()) == []
    sealed = aiverify.ensure(model, store=store)
    assert (sealed / "vision" / "large.safetensors").stat().st_size > 64 << 20
    assert list((store / "temporary").iterdir()) == []
    with Store(store) as opened:
        assert list(opened.faults()) == []


def test_a_full_disk_is_an_error_and_leaves_no_half_of_anything(tmp_path: Path, store: Path) -> None:
    place = large(tmp_path / "large.safetensors", 8 << 20)
    program = (
        "import resource, sys, signal, pathlib; sys.path[:0] = sys.argv[3:]; import aiverify\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))\n"
        "try:\n    aiverify.ensure(sys.argv[1], store=pathlib.Path(sys.argv[2]))\n"
        "except aiverify.AiverifyError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(place), str(store), *sys.path], capture_output=True, text=True, check=True
    )
    assert "StoreError" in done.stdout
    assert "cannot be sealed" in done.stdout
    with Store(store) as opened:
        assert (opened.snapshots(), opened.blob_bytes()) == ([], 0)
    assert list((store / "temporary").iterdir()) == []


def test_the_pipeline_seals_nothing_by_itself(tmp_path: Path) -> None:
    seen: list[object] = []
    model = weights(tmp_path / "model")
    report = pipeline.run(str(model), Options(seal=lambda report, fetched: seen.append((report, fetched.root))))
    assert seen == [(report, model.resolve())]
    assert list(tmp_path.iterdir()) == [model]


def test_what_was_not_examined_is_sealed_only_if_the_policy_accepts_it_by_name(tmp_path: Path, store: Path) -> None:
    (tmp_path / "weights.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + bytes(64))
    with pytest.raises(LoadRefused) as caught:
        aiverify.ensure(tmp_path / "weights.7z", store=store)
    assert caught.value.outcome == "error"
    accepting = Policy(accept_unexamined=("*.7z",))
    assert aiverify.ensure(tmp_path / "weights.7z", store=store, policy=accepting).name == "weights.7z"
