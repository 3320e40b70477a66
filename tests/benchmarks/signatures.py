"""The verification of a signed folder, beside the digests that it cannot do without."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measuring import Case, Cost, measure_all, show

TESTS = Path(__file__).parents[1]
# A digest that is remembered would be no digest that is taken.
VERIFY = [sys.executable, "-m", "aiverify", "verify", "-q", "--no-cache"]
HASHED = """
import hashlib, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
def digest(path):
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(digest, [path for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file()]))
"""
IDENTITY = "release@example.test"
SHARDS = 6
ALLOWED = {"key": 0.3, "keyless": 0.7}
SHARE = 1.15


def signatures(work: Path, megabytes: int, repeat: int) -> None:
    """Measure, and print a table and what remains of the time that is allowed."""
    folder, trust = work / "model", work / "trust"
    # In a process of its own: a child's peak memory would count that of a large parent.
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(folder, trust, megabytes))
    writer.start()
    writer.join()
    base = f"hashlib in two threads, {megabytes} MB"
    signers = {
        "key": ["--key", str(trust / "key.pub"), "--bundle", str(trust / "key.sig")],
        "keyless": [
            *("--cert-identity", IDENTITY, "--cert-oidc-issuer", (trust / "issuer").read_text()),
            *("--trusted-root", str(trust / "root.json"), "--bundle", str(trust / "keyless.sig")),
        ],
    }
    cases = [
        Case(base, [sys.executable, "-c", HASHED, str(folder)], base),
        *(Case(f"aiverify verify, {kind}", [*VERIFY, str(folder), *how], base) for kind, how in signers.items()),
    ]
    results = measure_all(cases, repeat)
    show(cases, results)
    _say_what_is_left(results, results[base], list(signers))


def _say_what_is_left(results: dict[str, Cost], base: Cost, kinds: Sequence[str]) -> None:
    for kind in kinds:
        cost = results[f"aiverify verify, {kind}"]
        extra = cost.wall - SHARE * base.wall
        allowed = ALLOWED[kind]
        print(
            f"{kind}: {extra:+.2f} s beyond {SHARE} of hashlib (allowed {allowed} s), {cost.peak:.0f} MB (allowed 100)"
        )
    print(flush=True)


def _write(folder: Path, trust: Path, megabytes: int) -> None:
    """A model in safetensors shards, with signatures beside it, and what to trust them by."""
    sys.path.insert(0, str(TESTS))
    from cryptography.hazmat.primitives.asymmetric import ec
    from local_sigstore import ISSUER, LocalSigstore
    from signed_models import payload_of, pem, sign_keyless, sign_with_key, write_bundle

    folder.mkdir()
    trust.mkdir()
    piece, count = os.urandom(1 << 20), max(1, megabytes // SHARDS)
    for number in range(1, SHARDS + 1):
        table = {f"weights.{number}": {"dtype": "U8", "shape": [count << 20], "data_offsets": [0, count << 20]}}
        header = json.dumps(table).encode()
        with (folder / f"model-{number:05}-of-{SHARDS:05}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.writelines(piece for _ in range(count))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    key = ec.generate_private_key(ec.SECP256R1())
    (trust / "key.pub").write_bytes(pem(key))
    write_bundle(sign_with_key(payload_of(folder), key), trust / "key.sig")
    with LocalSigstore() as sigstore:
        write_bundle(sign_keyless(payload_of(folder), sigstore, IDENTITY), trust / "keyless.sig")
        (trust / "root.json").write_text(json.dumps(sigstore.trusted_root()))
    (trust / "issuer").write_text(ISSUER)
