"""What ``torch.save`` writes: weights in every form, whole modules, and the state that lies beside them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benign.corpus import REVIEW, Writer, Written


def _tensors() -> Mapping[str, Callable[[], object]]:
    import torch
    from torch import nn

    def model() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.LSTM(3, 2))

    def noted() -> nn.Parameter:
        parameter = nn.Parameter(torch.ones(2))
        parameter.note = "kept"  # type: ignore[attr-defined]
        return parameter

    def state() -> object:
        return model().state_dict()

    return {
        "state dict": state,
        "half": lambda: model().half().state_dict(),
        "bfloat16": lambda: model().bfloat16().state_dict(),
        "all numbers": lambda: {
            str(kind): torch.ones(2, dtype=kind) for kind in (torch.int8, torch.uint8, torch.int32)
        },
        "unsigned": lambda: {"w": torch.ones(2, dtype=torch.uint16), "v": torch.ones(2, dtype=torch.uint32)},
        "float8": lambda: {"w": torch.ones(2).to(torch.float8_e4m3fn)},
        "complex": lambda: {"c": torch.ones(2, dtype=torch.complex64).conj()},
        "parameters": lambda: {"p": nn.Parameter(torch.ones(2))},
        "parameter with attribute": lambda: {"p": noted()},
        "views": lambda: (lambda base: {"a": base, "b": base[1:], "c": base.T})(torch.ones(3, 3)),
        "quantised": lambda: {"q": torch.quantize_per_tensor(torch.ones(3), 0.1, 1, torch.qint8)},
        "quantised by channel": lambda: {
            "q": torch.quantize_per_channel(torch.ones(2, 3), torch.ones(2), torch.zeros(2), 0, torch.quint8)
        },
        "sparse": lambda: {"s": torch.eye(3).to_sparse()},
        "sparse rows": lambda: {"s": torch.eye(3).to_sparse_csr()},
        "nested": lambda: {"n": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])},
        "meta": lambda: {"m": torch.empty(3, device="meta")},
        "sizes": lambda: {"size": torch.Size([1, 2]), "device": torch.device("cpu"), "type": torch.float16},
        "storage": lambda: {"s": torch.ones(2).untyped_storage(), "t": torch.ones(2).storage()},
        "generator": lambda: {"rng": torch.get_rng_state()},
        "version": lambda: {"version": torch.torch_version.TorchVersion("2.13.0"), "state": state()},
        "epoch and metrics": lambda: {"epoch": 3, "best": torch.tensor(1.0), "model": state(), "history": [0.1, 0.2]},
        "a generator": lambda: {"g": torch.Generator()},
        **_optimisers(),
    }


def _optimisers() -> Mapping[str, Callable[[], object]]:
    import torch
    from torch import nn

    def stepped(kind: str) -> Callable[[], object]:
        def make() -> object:
            parameter = nn.Parameter(torch.ones(2))
            optimiser = getattr(torch.optim, kind)([parameter], lr=0.1)
            parameter.sum().backward()
            optimiser.step()
            return optimiser.state_dict()

        return make

    def schedule(kind: str, **options: object) -> Callable[[], object]:
        def make() -> object:
            optimiser = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
            return getattr(torch.optim.lr_scheduler, kind)(optimiser, **options).state_dict()

        return make

    return {
        **{f"optimiser {kind}": stepped(kind) for kind in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")},
        "schedule StepLR": schedule("StepLR", step_size=2),
        "schedule Cosine": schedule("CosineAnnealingLR", T_max=3),
        "schedule OneCycle": schedule("OneCycleLR", max_lr=1.0, total_steps=3),
        "schedule Multi": schedule("MultiStepLR", milestones=[1, 2]),
        "scaler": lambda: torch.amp.GradScaler("cpu").state_dict(),
    }


def _modules() -> Mapping[str, Callable[[], object]]:
    import torch
    from torch import nn

    return {
        "Sequential": lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(3)),
        "convolutions": lambda: nn.ModuleList([nn.Conv1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 2), nn.MaxPool2d(2)]),
        "recurrent": lambda: nn.ModuleDict({"lstm": nn.LSTM(2, 3), "gru": nn.GRU(2, 3), "rnn": nn.RNN(2, 3)}),
        "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 1),
        "attention": lambda: nn.MultiheadAttention(4, 2),
        "embedding": lambda: nn.Sequential(nn.Embedding(4, 2), nn.EmbeddingBag(4, 2)),
        "losses": lambda: nn.ModuleList([nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()]),
        "norms": lambda: nn.ModuleList([nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), nn.RMSNorm(2), nn.BatchNorm1d(2)]),
        "activations": lambda: nn.ModuleList([nn.GELU(), nn.SiLU(), nn.Softmax(dim=1), nn.LeakyReLU(), nn.PReLU()]),
        "upsampling": lambda: nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Identity(), nn.Tanh()),
        "parameters": lambda: nn.ParameterList([nn.Parameter(torch.ones(2))]),
    }


def _write(folder: Path) -> Iterator[Written]:
    import torch

    for name, make in _tensors().items():
        stem = name.replace(" ", "_")
        value = make()
        for suffix, options in {
            "pt": {},
            "4.pth": {"pickle_protocol": 4},
            "legacy.bin": {"_use_new_zipfile_serialization": False},
        }.items():
            path = f"{stem}.{suffix}"
            if suffix == "legacy.bin" and name in _NOT_IN_THE_OLD_FORM:
                continue
            torch.save(value, folder / path, **options)
            yield Written(path, f"{name}, old form" if suffix == "legacy.bin" else name)


# torch cannot write these in the form from before version 1.6, or cannot read what it wrote
_NOT_IN_THE_OLD_FORM = frozenset({"unsigned", "float8", "storage", "meta"})


def _write_plain(folder: Path) -> Iterator[Written]:
    """Tensors that were given to Python's own pickler: each brings its storage as a file of torch inside."""
    import torch

    values = {"tensor": torch.ones(2), "parameter": torch.nn.Parameter(torch.ones(2)), "module": torch.nn.Linear(2, 3)}
    for name, value in values.items():
        for protocol in (2, 4, 5):
            (folder / f"{name}.{protocol}.pkl").write_bytes(pickle.dumps({"value": value}, protocol))
            yield Written(f"{name}.{protocol}.pkl", f"{name}, plain pickle")


def _write_modules(folder: Path) -> Iterator[Written]:
    import torch

    for name, make in _modules().items():
        torch.save(make(), folder / f"{name}.pt")
        yield Written(f"{name}.pt", f"module {name}")
    model = torch.nn.Linear(2, 3)
    torch.save(model, folder / "source.bin", _use_new_zipfile_serialization=False)
    yield Written(
        "source.bin", "module, old form", REVIEW, "the old form carries the source of classes in persistent ids"
    )
    model.register_forward_hook(print)  # type: ignore[arg-type]
    torch.save(model, folder / "hook.pt")
    yield Written("hook.pt", "module with a hook", REVIEW, "a hook is a function that runs with the model")


WRITERS: Mapping[str, Writer] = {"torch": _write, "torch-plain": _write_plain, "torch-modules": _write_modules}
