"""What training leaves behind: transformers' Trainer, accelerate, Lightning; and code by value: dill, cloudpickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benign.corpus import BLOCK, Writer, Written

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def _pickles_below(folder: Path, prefix: str) -> Iterator[Written]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _PICKLED:
            yield Written(str(path.relative_to(folder)), f"{prefix} {path.stem}")


def _transformers(folder: Path) -> Iterator[Written]:
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Seq2SeqTrainingArguments,
        Trainer,
        TrainingArguments,
    )

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10, num_labels=2
    )
    rows = [{"input_ids": torch.tensor([1, 2]), "labels": torch.tensor(0)} for _ in range(2)]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        save_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
    )
    trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows)
    trainer.train()
    trainer.save_model(str(folder))
    (folder / "seq2seq").mkdir()
    torch.save(Seq2SeqTrainingArguments(output_dir="out", use_cpu=True), folder / "seq2seq" / "training_args.bin")
    yield from _pickles_below(folder, "trainer")


def _accelerate(folder: Path) -> Iterator[Written]:
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1)
    model, optimiser, schedule = accelerator.prepare(model, optimiser, schedule)
    accelerator.save_state(str(folder / "safe"))
    accelerator.save_state(str(folder / "pickled"), safe_serialization=False)
    yield from _pickles_below(folder, "accelerate")


def _lightning(folder: Path) -> Iterator[Written]:
    import logging

    import lightning
    import torch

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self, width: int = 2, *, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, 1)

        def training_step(self, batch: torch.Tensor) -> torch.Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=self.hparams["rate"])

    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=folder,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(2, 2)))
    trainer.save_checkpoint(folder / "whole.ckpt")
    trainer.save_checkpoint(folder / "weights.ckpt", weights_only=True)
    yield from _pickles_below(folder, "lightning")


def _by_value(folder: Path) -> Iterator[Written]:
    import cloudpickle
    import dill

    def closure(number: int) -> int:
        return number + 1

    class Local:
        value = 3

    reason = "carries code that was written down with the value"
    for name, dumps in {
        "dill": lambda value: dill.dumps(value, recurse=True),
        "cloudpickle": cloudpickle.dumps,
    }.items():
        (folder / f"{name}_values.pkl").write_bytes(dumps({"a": [1, "x"]}))
        yield Written(f"{name}_values.pkl", "literals")
        (folder / f"{name}_function.pkl").write_bytes(dumps(closure))
        yield Written(f"{name}_function.pkl", f"{name} function", BLOCK, reason)
        (folder / f"{name}_class.pkl").write_bytes(dumps(Local))
        yield Written(f"{name}_class.pkl", f"{name} class", BLOCK, reason)


WRITERS: Mapping[str, Writer] = {
    "transformers": _transformers,
    "accelerate": _accelerate,
    "lightning": _lightning,
    "by-value": _by_value,
}
