"""Makes the sample repositories of ``aiverify demo`` (``make demo-data``): real files, written by the real libraries.

Four stories, each a repository under ``aiverify/demo/repositories/demo/``:

- ``signed``: a small GPT-2 in safetensors, signed keyless by a Sigstore that exists only while this script runs.
- ``checkpoint``: the same architecture as a sharded PyTorch checkpoint with its index.
- ``payload``: a checkpoint whose pickle would run a command. Nothing here loads it.
- ``tampered``: a copy of ``signed`` that was signed with a key, and one byte of it changed after that.

The weights are reproducible; signatures are not, because their keys are thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
import transformers
from cryptography.hazmat.primitives.asymmetric import ec
from local_sigstore import LocalSigstore
from signed_models import payload_of, pem, sign_keyless, sign_with_key, write_bundle
from tokenizers import Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).parent.parent / "aiverify" / "demo"
REPOSITORIES = ROOT / "repositories" / "demo"
TRUST = ROOT / "trust"
IDENTITY = "https://github.com/demo/models/.github/workflows/release.yml@refs/tags/v1"
ISSUER = "https://token.actions.githubusercontent.com"
COMMAND = "echo this would have run on your machine"


class Payload:
    """Its pickle asks the loader to run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (COMMAND,)


def model() -> transformers.GPT2LMHeadModel:
    torch.manual_seed(7)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=64, vocab_size=259, bos_token_id=256)
    return transformers.GPT2LMHeadModel(config)


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer: one token for each byte, and three special ones."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: number for number, letter in enumerate(sorted(letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|user|>", "<|assistant|>"])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    wrapped.chat_template = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    wrapped.save_pretrained(folder)


def new(name: str, text: str) -> Path:
    folder = REPOSITORIES / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"---\nlicense: apache-2.0\n---\n# demo/{name}\n\n{text}\n")
    return folder


def write_signed() -> None:
    folder = new("signed", "A small language model with random weights, signed by its publisher.")
    model().save_pretrained(folder)
    write_tokenizer(folder)
    with LocalSigstore() as sigstore:
        bundle = sign_keyless(payload_of(folder), sigstore, IDENTITY, issuer=ISSUER, timestamps=False)
        TRUST.mkdir(exist_ok=True)
        (TRUST / "trusted_root.json").write_text(json.dumps(sigstore.trusted_root(), indent=1) + "\n")
    write_bundle(bundle, folder / "model.sig")


def write_checkpoint() -> None:
    folder = new("checkpoint", "The same small language model as a sharded PyTorch checkpoint.")
    network = model()
    network.config.architectures = ["GPT2LMHeadModel"]
    network.config.save_pretrained(folder)
    network.generation_config.save_pretrained(folder)
    write_tokenizer(folder)
    state = network.state_dict()
    names = list(state)
    shards = [names[: len(names) // 2], names[len(names) // 2 :]]
    places: dict[str, str] = {}
    for number, members in enumerate(shards, 1):
        file = f"pytorch_model-{number:05}-of-{len(shards):05}.bin"
        # Cloned, so that the shard holds the tied embedding once and not the storage of the other shard.
        torch.save({name: state[name].clone() for name in members}, folder / file)
        places |= dict.fromkeys(members, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_payload() -> None:
    folder = new("payload", "A model that was tampered with by its publisher.")
    network = model()
    network.config.save_pretrained(folder)
    write_tokenizer(folder)
    torch.save({**network.state_dict(), "_extra": Payload()}, folder / "pytorch_model.bin")


def write_tampered() -> None:
    folder = new("tampered", "A signed model, changed by somebody on its way.")
    model().save_pretrained(folder)
    write_tokenizer(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    write_bundle(sign_with_key(payload_of(folder), key), folder / "model.sig")
    (TRUST / "publisher.pub").write_bytes(pem(key))
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 0x01
    weights.write_bytes(data)


if __name__ == "__main__":
    write_signed()
    write_checkpoint()
    write_payload()
    write_tampered()
    for path in sorted(ROOT.rglob("*.md")):
        print(path.parent.relative_to(ROOT))
