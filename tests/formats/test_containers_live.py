"""Containers against the readers of their loaders: what NumPy and torch look up in an altered file is never silent."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pickle_builder as b
import pytest
import torch
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naming import Naming
from zip_builder import archive, checkpoint

from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions

TRUSTED = frozenset(("numpy.ndarray",))
HARMLESS = {
    *(("numpy", "ndarray"), ("numpy", "dtype"), ("numpy._core.multiarray", "_reconstruct")),
    *(("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage"), ("collections", "OrderedDict")),
}
PAYLOAD = b.stream(b.call("my_package.make", b.text("x")), 2)


@pytest.fixture(scope="module")
def loaders():
    naming = Naming()
    yield naming
    naming.close()


def npy(value) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def objects() -> bytes:
    """An array of objects whose pickle is a payload."""
    header = npy(np.array([None], dtype=object))
    return header[: header.index(b"\x80")] + PAYLOAD


def npz(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as writer:
        writer.writestr("a.npy", npy(np.ones(3)))
        writer.writestr("b.npy", objects())
    return file.getvalue()


def legacy() -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(2), "more": {"a": 1}}, file, _use_new_zipfile_serialization=False)
    return file.getvalue().replace(b"collections\nOrderedDict\n", b"my_package.s\nordereddict\n")


def tar() -> bytes:
    file = io.BytesIO()
    parts = {"sys_info": b.stream(b"}", 2), "storages": PAYLOAD, "tensors": PAYLOAD, "pickle": PAYLOAD}
    with tarfile.open(fileobj=file, mode="w") as writer:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return file.getvalue()


BASES = {
    "npy": ("numpy", objects()),
    "npz": ("numpy archive", npz(zipfile.ZIP_STORED)),
    "deflated npz": ("numpy archive", npz(zipfile.ZIP_DEFLATED)),
    "torch zip": ("torch", archive(*checkpoint(PAYLOAD, storages={"0": bytes(16)}))),
    "torch legacy": ("torch", legacy()),
    "torch tar": ("torch", tar()),
    "pickle": ("pickle", pickle.dumps([1, "x"]) + PAYLOAD),
}


@pytest.mark.parametrize("base", [name for name in BASES if name != "pickle"])
def test_the_loader_looks_up_the_payload_and_the_scan_reports_it(tmp_path, loaders, base):
    loader, raw = BASES[base]
    path = tmp_path / "a.bin"
    path.write_bytes(raw)
    asked, outcome = loaders.names(loader, path)
    assert any(module.startswith("my_package") for module, _ in asked), outcome
    examination = examine(path, path.name, ScanOptions(trust=TRUSTED))
    assert any("my_package" in item.message for item in examination.findings)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(200))
@given(
    st.sampled_from(sorted(BASES)),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=3),
    st.integers(0, 8),
)
def test_no_alteration_hides_a_name_that_a_loader_looks_up(tmp_path, loaders, base, changes, cut):
    loader, raw = BASES[base]
    altered = bytearray(raw)
    for place, value in changes:
        altered[place % len(altered)] = value
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(altered[: len(altered) - cut]))
    asked, _ = loaders.names(loader, path)
    if asked - HARMLESS:
        examination = examine(path, path.name, ScanOptions(trust=TRUSTED))
        assert examination.findings or examination.unexamined, asked
