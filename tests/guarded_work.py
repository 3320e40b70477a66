"""Honest work, with the guard or without: what comes out must be the same. Prints one JSON object.

Usage: guarded_work.py guarded|plain FOLDER STORE, and guarded_work.py make FOLDER once before.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

how, folder = sys.argv[1], Path(sys.argv[2])


def square(number: int) -> dict[str, object]:
    import torch

    return {"square": number * number, "tensor": torch.full((2,), float(number)), "path": Path("x")}


def make() -> None:
    import joblib
    import numpy as np
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
    joblib.dump(RandomForestClassifier(3, random_state=0).fit(np.eye(4), [0, 1, 0, 1]), folder / "forest.joblib")
    np.savez(folder / "arrays.npz", a=np.arange(5), b=np.eye(2))


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
    import joblib

    def shown(results: list[dict[str, object]]) -> list[str]:
        return [f"{item['square']} {item['tensor'].tolist()} {item['path']}" for item in results]  # type: ignore[attr-defined]

    found: dict[str, object] = {}
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[f"Pool {method}"] = shown(pool.map(square, range(3)))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        found["ProcessPoolExecutor"] = shown(list(executor.map(square, range(3))))
    found["joblib"] = shown(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(number) for number in range(3)))
    return found


def estimators() -> dict[str, object]:
    import joblib
    import numpy as np

    arrays = np.load(folder / "arrays.npz")
    forest = joblib.load(folder / "forest.joblib")
    return {
        "forest": forest.predict_proba(np.eye(4)).tolist(),
        "npz": {name: arrays[name].tolist() for name in arrays},
    }


if __name__ == "__main__":
    if how == "make":
        make()
        raise SystemExit
    if how == "guarded":
        import aiverify

        aiverify.protect(store=sys.argv[3])
    print(json.dumps({part.__name__: part() for part in (transformers_models, loaders, pools, estimators)}))
