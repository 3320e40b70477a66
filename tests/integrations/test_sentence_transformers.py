"""sentence-transformers: embeddings are what they are without the guard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine
from integration_pages import examples, found, waive

from aiverify.demo.hub import LocalHub

(EXAMPLE,) = examples("sentence-transformers.md")
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
CODE = """
from sentence_transformers.sentence_transformer.modules import Pooling

open(r"{marker}", "a").write("{name}\\n")

class Tiny(Pooling):
    pass
"""
SENTENCES = ["a model", "is verified"]


@pytest.fixture(scope="module")
def expected(served: Path) -> list[list[float]]:
    """A model of three modules, and its embeddings; one whose last module is evil."""
    import torch
    from guarded_files import Payload
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, BertTokenizer

    parts, words = served / "parts", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "model", "is", "verified"]
    parts.mkdir()
    (parts / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(parts / "vocab.txt")).save_pretrained(parts)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(parts)
    reading = modules.Transformer(str(parts))
    made = SentenceTransformer(modules=[reading, modules.Pooling(8), modules.Dense(8, 4)], device="cpu")
    made.save(str(served / "org" / "embedder"))
    evil = Path(shutil.copytree(served / "org" / "embedder", served / "org" / "evil"))
    (evil / "2_Dense" / "model.safetensors").unlink()
    torch.save({**made[2].state_dict(), "x": Payload(served / "marker")}, evil / "2_Dense" / "pytorch_model.bin")
    for name in ("unread", "read"):
        folder = Path(shutil.copytree(served / "org" / "embedder", served / "org" / name))
        (folder / "tiny_module.py").write_text(CODE.format(marker=served / "marker", name=name))
        listed = (folder / "modules.json").read_text()
        assert POOLING in listed
        (folder / "modules.json").write_text(listed.replace(POOLING, "tiny_module.Tiny"))
    embeddings: list[list[float]] = made.encode(SENTENCES).tolist()
    return embeddings


@pytest.fixture(scope="module")
def hub(served: Path, expected: list[list[float]]) -> Iterator[LocalHub]:
    with LocalHub(served) as hub:
        yield hub


@pytest.fixture(scope="module")
def loaded(machine: Machine, hub: LocalHub, served: Path) -> dict[str, Any]:
    waive(machine.here / "aiverify.toml", [served / "org" / "read" / "tiny_module.py"])
    more = f"""
say(embeddings=model.encode({SENTENCES!r}).tolist())
say(evil=attempt(lambda: SentenceTransformer("org/evil")))
for name in ("unread", "read"):
    say(**{{name: attempt(lambda: SentenceTransformer(f"org/{{name}}", trust_remote_code=True))}})
"""
    return found(machine, EXAMPLE, more, HF_ENDPOINT=hub.endpoint)


def test_the_embeddings_are_the_same(loaded: dict[str, Any], expected: list[list[float]]) -> None:
    assert loaded["embeddings"] == expected


def test_an_evil_module_is_refused(loaded: dict[str, Any], served: Path) -> None:
    assert loaded["evil"] == "refused"


def test_code_of_a_module_runs_only_if_somebody_read_it(loaded: dict[str, Any], served: Path) -> None:
    assert (loaded["unread"], loaded["read"]) == ("refused", "loaded")
    assert set((served / "marker").read_text().split()) == {"read"}
