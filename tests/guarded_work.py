"""Honest work, with the guard or without: what comes out must be the same. Prints one JSON object.

Processes that are spawned run the first lines of this script again, and so are guarded, too.

Usage: guarded_work.py guarded|plain FOLDER STORE, and guarded_work.py make FOLDER once before.
"""

from __future__ import annotations

import sys
from pathlib import Path

how, folder = sys.argv[1], Path(sys.argv[2])
if how == "guarded":
    import aiverify

    aiverify.protect(store=sys.argv[3])

import asyncio  # noqa: E402
import json  # noqa: E402
import multiprocessing  # noqa: E402
import tempfile  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor  # noqa: E402


def square(number: int) -> dict[str, object]:
    import torch

    return {"square": number * number, "tensor": torch.full((2,), float(number)), "path": Path("x")}


def guards() -> bool:
    """Whether this process is guarded."""
    module = sys.modules.get("aiverify.guard.session")
    return module is not None and module.is_active()


def make() -> None:
    import joblib
    import numpy as np
    import pandas as pd
    import torch
    from sklearn.ensemble import RandomForestClassifier
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    model = BertModel(config)
    model.save_pretrained(folder / "safe")
    model.save_pretrained(folder / "sharded", max_shard_size="4KB")
    (folder / "bin").mkdir()
    config.save_pretrained(folder / "bin")
    torch.save(model.state_dict(), folder / "bin" / "pytorch_model.bin")
    torch.save(model.state_dict(), folder / "state.pt")
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_pickle(folder / "frame.pkl")
    joblib.dump(RandomForestClassifier(3, random_state=0).fit(np.eye(4), [0, 1, 0, 1]), folder / "forest.joblib")
    np.savez(folder / "arrays.npz", a=np.arange(5), b=np.eye(2))
    np.save(folder / "array.npy", np.arange(3))


def transformers_models() -> dict[str, object]:
    import torch
    from transformers import BertModel

    found: dict[str, object] = {}
    for name in ("safe", "sharded", "bin"):
        model = BertModel.from_pretrained(folder / name).eval()
        with torch.no_grad():
            found[name] = model(torch.arange(6).reshape(1, 6)).last_hidden_state.sum(-1).tolist()
    return found


def loaders() -> dict[str, object]:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.arange(8.0))
    found: dict[str, object] = {}
    for method in ("fork", "spawn"):
        loader = DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context=method)
        found[method] = [batch[0].tolist() for batch in loader]
    return found


def pools() -> dict[str, object]:
    """Pools of each kind. They are sent functions of this script, and the load functions themselves."""
    import joblib
    import numpy as np
    import pandas as pd
    import torch

    def worked(executor: ProcessPoolExecutor) -> list[object]:
        results = list(executor.map(square, range(3)))
        (forest,) = executor.map(joblib.load, [folder / "forest.joblib"])
        (array,) = executor.map(np.load, [folder / "array.npy"])
        (state,) = executor.map(torch.load, [folder / "state.pt"])
        (frame,) = executor.map(pd.read_pickle, [folder / "frame.pkl"])
        return [str(results), forest.predict(np.eye(4)).tolist(), array.tolist(), sorted(state), frame.to_dict()]

    found: dict[str, object] = {}
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
            found[method] = [*worked(executor), executor.submit(guards).result() == (how == "guarded")]
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        found["forkserver"] = [pool.map(abs, [-1]), pool.apply(guards) == (how == "guarded")]
    return found


def threads_and_tasks() -> dict[str, object]:
    import torch

    def total(_: int) -> float:
        return float(sum(tensor.double().sum() for tensor in torch.load(folder / "state.pt").values()))

    async def tasks() -> list[float]:
        return await asyncio.gather(*(asyncio.to_thread(total, number) for number in range(4)))

    with ThreadPoolExecutor(4) as threads:
        return {"threads": list(threads.map(total, range(8))), "tasks": asyncio.run(tasks())}


def training() -> dict[str, object]:
    """A training run that keeps checkpoints, and takes one up again."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    with tempfile.TemporaryDirectory() as place:
        for step in range(2):
            loss = model(torch.eye(4)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(kept, f"{place}/last.ckpt")
            for weights_only in (True, False):
                found = torch.load(f"{place}/last.ckpt", weights_only=weights_only)
                model.load_state_dict(found["model"])
                optimizer.load_state_dict(found["optimizer"])
                losses.append(found["step"])
    return {"losses": losses}


def caches() -> dict[str, object]:
    """What joblib keeps of its own: results of functions, and large arrays that processes share."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    large = np.arange(1 << 18, dtype=float)
    with tempfile.TemporaryDirectory() as place:
        remembered = joblib.Memory(place, verbose=0).cache(np.cumsum)
        sums = [float(remembered(large[:1000])[-1]) for _ in range(2)]
    shared = joblib.Parallel(n_jobs=2, max_nbytes="1M")(joblib.delayed(np.sum)(large) for _ in range(2))
    inputs = np.random.default_rng(0).normal(size=(40, 3))
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_jobs=2).fit(inputs, inputs[:, 0] > 0)
    return {"memory": sums, "shared": [float(item) for item in shared], "search": search.best_score_}


def estimators() -> dict[str, object]:
    import joblib
    import numpy as np

    arrays = np.load(folder / "arrays.npz")
    forest = joblib.load(folder / "forest.joblib")
    return {
        "forest": forest.predict_proba(np.eye(4)).tolist(),
        "npz": {name: arrays[name].tolist() for name in arrays},
    }


PARTS = (transformers_models, loaders, pools, threads_and_tasks, training, caches, estimators)

if __name__ == "__main__":
    if how == "make":
        make()
    else:
        print(json.dumps({part.__name__: part() for part in PARTS}))
