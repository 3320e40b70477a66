"""What the real libraries write is judged as it should be: nearly all of it in silence."""

import pickletools
from collections import Counter
from pathlib import Path

import pytest
from benign.corpus import BLOCK, PASS, REVIEW, Sample

from aiverify.formats.examine import examine
from aiverify.formats.interface import Examination, ScanOptions
from aiverify.policy import DEFAULT_POLICY
from aiverify.report import Outcome, worst
from aiverify.verdict import effect

# The samples that are not silent, by what they are; each says why itself.
NOT_SILENT = {
    "torch-modules/source.bin": REVIEW,
    "torch-modules/hook.pt": REVIEW,
    "by-value/dill_function.pkl": BLOCK,
    "by-value/dill_class.pkl": BLOCK,
    "by-value/cloudpickle_function.pkl": BLOCK,
    "by-value/cloudpickle_class.pkl": BLOCK,
}


@pytest.fixture(scope="session")
def examined(corpus) -> dict[str, Examination]:
    return {sample.name: examine(sample.path, sample.name, ScanOptions()) for sample in corpus}


def outcome(examination: Examination) -> Outcome:
    effects = [effect(item, DEFAULT_POLICY) for item in examination.findings]
    return worst([Outcome.PASS, *effects, *(Outcome.ERROR for _ in examination.unexamined)])


def reasons(examination: Examination) -> list[str]:
    told = [f"{item.rule} {item.message}" for item in examination.findings if effect(item, DEFAULT_POLICY) != "pass"]
    return [*told, *(item.reason for item in examination.unexamined)]


def test_every_sample_comes_out_as_it_should(corpus, examined):
    wrong = {
        sample.name: (outcome(examined[sample.name]), reasons(examined[sample.name])[:3])
        for sample in corpus
        if outcome(examined[sample.name]) != sample.outcome
    }
    assert wrong == {}


def test_nearly_all_samples_are_silent_and_the_others_are_known(corpus):
    assert {sample.name: sample.outcome for sample in corpus if sample.outcome != PASS} == NOT_SILENT
    assert all(bool(sample.reason) == (sample.outcome != PASS) for sample in corpus)


def test_what_native_code_reads_is_said_of_every_tree_and_booster(corpus, examined):
    native = {name for name, item in examined.items() if any(finding.rule == "AIV314" for finding in item.findings)}
    for sample in corpus:
        if sample.library in ("xgboost", "lightgbm") or sample.name.startswith(
            ("sklearn/RandomForest", "sklearn/Decision")
        ):
            assert sample.name in native
    assert not {sample.name for sample in corpus if sample.library in ("python", "numpy", "transformers")} & native


def test_the_corpus_is_as_large_and_as_varied_as_it_claims(corpus):
    assert len(corpus) >= 500
    assert len({sample.name for sample in corpus}) == len(corpus)
    assert len({sample.library for sample in corpus}) >= 14
    estimators = {sample.mechanism for sample in corpus if sample.name.startswith("sklearn/") and ".pkl" in sample.name}
    assert len(estimators) >= 45
    assert len({names_in(sample) for sample in corpus}) >= 120
    assert max(Counter(sample.library for sample in corpus).values()) < len(corpus) / 2


def names_in(sample: Sample) -> frozenset[str]:
    """The names that an uncompressed sample holds, as the standard library reads them; of archives, of every member."""
    import io
    import zipfile

    raw = sample.path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            streams = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    else:
        streams = [raw]
    return frozenset(name for stream in streams for name in _names(stream))


def _names(stream: bytes) -> set[str]:
    names, texts = set(), []
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(texts[-2:]))
            elif "UNICODE" in opcode.name:
                texts.append(str(argument))
    except Exception:  # noqa: BLE001 - raw arrays stand in the stream, or it is no pickle at all
        return names
    return names


def test_files_of_training_are_said_to_be_left_alone_by_a_load(corpus):
    from aiverify.formats.interface import Format
    from aiverify.variants import TRAINING, Member, group

    folder = [sample for sample in corpus if sample.library in ("transformers", "accelerate")]
    grouped = group([Member(sample.name, Format.TORCH_ZIP) for sample in folder])
    loaded = {path for family, paths in grouped.items() if family != TRAINING for path in paths}
    assert {Path(path).name for path in loaded} <= {"pytorch_model.bin"}
    assert len(grouped[TRAINING]) >= 10
