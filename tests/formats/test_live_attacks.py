"""Attacks that work: each one runs in its real loader, and none of them passes here.

A payload makes an empty folder in the test's own directory. It runs in a child process, never in this one.
"""

import io
import json
import marshal
import struct
import subprocess
import sys
from pathlib import Path

import joblib
import loading_child
import numpy as np
import pickle_builder as b
import pytest
from zip_builder import Member, archive, checkpoint

from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.policy import Policy
from aiverify.report import Outcome
from aiverify.verdict import effect

MAGIC = b.stream(b.number(0x1950A86A20F9469CFC6C), 2)


class Once:
    """Reduces to a call that makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


def make(path: str) -> bytes:
    return b.call("os.mkdir", b.text(path))


def source(path: str) -> str:
    return f"__import__('os').mkdir({path!r})"


def plain(path: str) -> bytes:
    """Protocol 0, printable."""
    return b"cos\nmkdir\n(V" + path.encode() + b"\ntR"


def packed(raw: bytes, *more: Member) -> bytes:
    return archive(*checkpoint(raw, *more))


def npy(raw: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + raw


def npz(raw: bytes) -> bytes:
    return archive(Member(name=b"a.npy", data=npy(raw)))


def joblib_file(path: str, **options) -> bytes:
    file = io.BytesIO()
    joblib.dump(Once(path), file, **options)
    return file.getvalue()


def function(path: str) -> bytes:
    code = b.call("marshal.loads", b.blob(marshal.dumps(compile(source(path), "x", "eval"))))
    return b.call(b.call("types.FunctionType", code, b.dct((b.text("__builtins__"), b.named("builtins.__dict__")))))


def in_a_valid_tensor_file(path: str) -> bytes:
    """A tensor file whose length begins with V: to a pickle it is a line of text, up to the first line feed."""
    body = b"\n0" + plain(path) + b"."
    size = -(-len(body) // 8) * 8
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    length = 0x56 + 256 * (len(header) // 256 + 1)
    return struct.pack("<Q", length) + header.ljust(length) + body.ljust(size)


PICKLES = {
    "REDUCE": make,
    "STACK_GLOBAL": lambda path: b.call(b.stack_named("os.mkdir"), b.text(path)),
    "INST": lambda path: b.inst("os.mkdir", b.text(path)),
    "OBJ": lambda path: b.obj("os.mkdir", b.text(path)),
    "NEWOBJ of a class that acts": lambda path: b.new_ex("pathlib.Path", b.tup(b.text(path)), b"}") + b"0" + make(path),
    "names from the memo": lambda path: (
        b.text("os") + b"\x940" + b.text("mkdir") + b"\x940h\x00h\x01\x93" + b.tup(b.text(path)) + b"R"
    ),
    "a name swapped in the memo": lambda path: (
        b.text("os") + b.text("mkdir") + b"\x86\x940" + b.text("json") + b"\x940" + make(path)
    ),
    "Python 2 names": lambda path: b"\x80\x02" + b.call("__builtin__.eval", b.text(source(path))),
    "evaluated source": lambda path: b.call("builtins.exec", b.text(source(path))),
    "a dotted name": lambda path: b.call(b.stack_named("logging:os.mkdir"), b.text(path)),
    "a chain of attributes": lambda path: b.call(
        b.call("builtins.getattr", b.call("builtins.__import__", b.text("os")), b.text("mkdir")), b.text(path)
    ),
    "a computed module": lambda path: b.call(
        b.call("builtins.str", b.text("os")) + b.text("mkdir") + b"\x93", b.text(path)
    ),
    "a module from a call on text": lambda path: b.call(
        b.call(b.stack_named("builtins:str.lower"), b.text("OS")) + b.text("mkdir") + b"\x93", b.text(path)
    ),
    "a map that is consumed": lambda path: b.call(
        "builtins.list", b.call("builtins.map", b.named("os.mkdir"), b.lst(b.text(path)))
    ),
    "a partial": lambda path: b.call(b.call("functools.partial", b.named("os.mkdir"), b.text(path))),
    "a method caller": lambda path: b.call(
        b.call("operator.methodcaller", b.text("mkdir"), b.text(path)), b.call("builtins.__import__", b.text("os"))
    ),
    "a default factory": lambda path: b.call(
        "operator.getitem",
        b.call("collections.defaultdict", b.call("functools.partial", b.named("os.mkdir"), b.text(path))),
        b.number(1),
    ),
    "a fold": lambda path: b.call("functools.reduce", b.named("os.mkdir"), b.lst(b.text(path), b.number(0o777))),
    "a nested pickle": lambda path: b.call("_pickle.loads", b.blob(b.stream(make(path)))),
    "code from bytes": function,
    "a statement that is timed": lambda path: b.call(
        "timeit.timeit", b.text(source(path)), b.text("pass"), b.named("timeit.default_timer"), b.number(1)
    ),
    "a profiler": lambda path: b.call("cProfile.run", b.text(source(path))),
    "an interpreter": lambda path: b.call(
        b.stack_named("code:InteractiveInterpreter.runsource"),
        b.call("code.InteractiveInterpreter"),
        b.text(source(path)),
    ),
    "a process": lambda path: b.call("subprocess.check_call", b.lst(b.text("mkdir"), b.text(path))),
    "a shell": lambda path: b.call("os.system", b.text(f"mkdir {path}")),
    "a payload as a key": lambda path: b.dct((make(path), b"N")),
    "a payload in a set": lambda path: b.members(make(path)),
    "a payload in a tuple that is dropped": lambda path: make(path) + b"0N",
    "a payload under a mark": lambda path: b"(" + make(path) + b"1N",
    "a payload in state": lambda path: b.build(b.call("argparse.Namespace"), b.dct((b.text("a"), make(path)))),
    "a payload in slots": lambda path: b.build(
        b.call("argparse.Namespace"), b.tup(b"N", b.dct((b.text("a"), make(path))))
    ),
    "a state setter that is set": lambda path: b.build(
        b.build(b.call("argparse.Namespace"), b.dct((b.text("__setstate__"), b.named("os.mkdir")))), b.text(path)
    ),
    "an extension code": lambda path: b.call(b"\x82\x70", b.text(path)),
    "a payload behind a number in another base": lambda path: b"I010\n0" + make(path),
    "a payload behind a float line": lambda path: b"F1.5\n0" + make(path),
    "a payload behind a long run": lambda path: b"N0" * 50_000 + make(path),
    "a payload behind many streams' worth of frames": lambda path: (b"\x95" + b"\0" * 8) * 100 + make(path),
    "a payload behind repeated protocols": lambda path: b"\x80\x04" * 100 + make(path),
}


def bad(path: str) -> bytes:
    return b.stream(make(path), 2)


def old(*parts: bytes) -> bytes:
    """A file of the old format: magic number, version, and what follows."""
    return MAGIC + b.stream(b.number(1001), 2) + b"".join(parts)


def first(raw: bytes, **options) -> bytes:
    """A checkpoint whose pickle's headers are changed."""
    return archive(Member(name=b"archive/data.pkl", data=raw, **options), *checkpoint(b"")[1:])


def torn(payload: bytes) -> bytes:
    """A string begins in a frame and ends behind it: one reader then finds bytes where another finds code."""
    inside = b"B" + struct.pack("<I", len(payload))
    text = b"X" + struct.pack("<I", 20)
    frame = b"\x95" + struct.pack("<Q", len(text) + len(inside)) + text + b"a" * len(inside)
    return b"\x80\x04" + frame + b"a" * (20 - len(inside)) + inside + payload + b"00}."


class Attack:
    def __init__(self, name: str, loader: str, build) -> None:
        self.name, self.loader, self.build = name, loader, build


ATTACKS = {
    **{
        f"pickle: {name}": Attack("a.pkl", "pickle", lambda path, value=value: b.stream(value(path)))
        for name, value in PICKLES.items()
    },
    "pickle: before a broken tail": Attack("a.pkl", "pickle", lambda path: b"\x80\x04" + make(path) + b"\xff"),
    "pickle: cut before STOP": Attack("a.pkl", "pickle", lambda path: b"\x80\x04" + make(path)),
    "pickle: in the third stream": Attack(
        "a.pkl", "pickle, every stream", lambda path: b.stream(b"N") * 2 + b.stream(make(path))
    ),
    "pickle: in a persistent id": Attack("a.pkl", "pickle", lambda path: b.stream(b.persistent(make(path)))),
    "pickle: a module from a persistent id": Attack(
        "a.pkl",
        "pickle with persistent ids",
        lambda path: b.stream(b.call(b.persistent(b.text("os")) + b.text("mkdir") + b"\x93", b.text(path))),
    ),
    "pickle: INST without a line feed": Attack(
        "a.pkl", "pickle in Python", lambda path: b"(V" + path.encode() + b"\nios\nmkdirX"
    ),
    "pickle: called weights.bin": Attack("weights.bin", "pickle", lambda path: b.stream(make(path))),
    "pickle: called config.json": Attack("config.json", "pickle", lambda path: b.stream(make(path))),
    "pickle: called model.safetensors": Attack("model.safetensors", "pickle", lambda path: b.stream(make(path))),
    "pickle: printable, called notes.txt": Attack("notes.txt", "pickle", lambda path: plain(path) + b"."),
    "pickle: printable, README.md, far behind": Attack(
        "README.md", "pickle", lambda path: b"V" + b"word " * 3000 + b"\n0" + plain(path) + b"."
    ),
    "pickle: printable, many lines, far behind": Attack(
        "a.txt", "pickle", lambda path: b"Vword\n0" * 3000 + plain(path) + b"."
    ),
    "pickle: printable, broken tail": Attack("notes.txt", "pickle", lambda path: plain(path) + b"\n# Notes\n"),
    "pickle: printable, called a.py": Attack("a.py", "pickle", lambda path: plain(path) + b"."),
    "pickle: begins like a GIF": Attack("weights.bin", "pickle", lambda path: b"GIF89a\0\0\0" + plain(path) + b"."),
    "pickle: begins like a GIF, padded": Attack(
        "a.gif", "pickle", lambda path: b"GIF89a\0\0\0B\0\x20\0\0" + bytes(8192) + plain(path) + b"."
    ),
    "pickle: begins like a GGUF": Attack("model.gguf", "pickle", lambda path: b"GGUF\x03\0\0\0\0" + plain(path) + b"."),
    "pickle: begins like a video": Attack("a.mp4", "pickle", lambda path: b"N0U\x04ftyp" + plain(path) + b"."),
    "pickle: begins like a flat buffer": Attack("a.tflite", "pickle", lambda path: b"N0U\x04TFL3" + plain(path) + b"."),
    "pickle: begins like bzip2": Attack(
        "a.bz2", "pickle", lambda path: b"BZh\0\0" + b"x" * 0x685A + plain(path) + b"."
    ),
    "pickle: begins like a program": Attack("a.bin", "pickle", lambda path: b"MZ\0" + plain(path) + b"."),
    "pickle: is a tar archive, too": Attack(
        "a.tar", "pickle", lambda path: b"T\x10\x01\0\0" + (b"x" * 252 + b"ustar").ljust(272, b"x") + plain(path) + b"."
    ),
    "pickle: is a valid tensor file, too": Attack("pytorch_model.bin", "pickle", in_a_valid_tensor_file),
    "torch: an old file that is a valid tensor file, too": Attack("pytorch_model.bin", "torch", in_a_valid_tensor_file),
    "torch: a new file": Attack("m.pt", "torch", lambda path: packed(bad(path))),
    "torch: a new file beside tensors": Attack(
        "m.pt", "torch", lambda path: packed(b.stream(b.dct((b.text("x"), make(path)), (b.text("w"), b.tensor())), 2))
    ),
    "torch: a new file in memory": Attack("pytorch_model.bin", "torch in memory", lambda path: packed(bad(path))),
    "torch: a string across the end of a frame": Attack("m.pt", "torch", lambda path: packed(torn(make(path) + b"."))),
    "pickle: a string across the end of a frame": Attack(
        "a.pkl", "pickle in memory", lambda path: torn(make(path) + b".")
    ),
    "torch: a deflated new file": Attack(
        "m.pt",
        "torch",
        lambda path: archive(*(Member(name=m.name, data=m.data, method=8) for m in checkpoint(bad(path)))),
    ),
    "torch: another name in the local header": Attack(
        "m.pt", "torch", lambda path: first(bad(path), local={"name": b"archive/safe.txt"})
    ),
    "torch: an encryption flag in the local header": Attack(
        "m.pt", "torch", lambda path: first(bad(path), local={"flags": 1})
    ),
    "torch: a wrong checksum": Attack(
        "m.pt", "torch", lambda path: first(bad(path), local={"crc": 1}, central={"crc": 1})
    ),
    "torch: two data.pkl": Attack(
        "m.pt", "torch", lambda path: packed(bad(path), Member(name=b"archive/data.pkl", data=b.stream(b"}", 2)))
    ),
    "torch: capital letters": Attack(
        "m.pt", "torch", lambda path: archive(*checkpoint(b"")[1:], Member(name=b"archive/DATA.PKL", data=bad(path)))
    ),
    "torch: an old file": Attack("m.pth", "torch", lambda path: old(b.stream(b"}", 2), bad(path))),
    "torch: an old file, before everything": Attack("m.pth", "torch", lambda path: bad(path)),
    "torch: an old file, in the system facts": Attack("m.pth", "torch", lambda path: old(bad(path))),
    "torch: an old file, in the storage keys": Attack(
        "m.pth", "torch", lambda path: old(b.stream(b"}", 2), b.stream(b"}", 2), bad(path))
    ),
    "torch: an old file that begins like a GIF": Attack(
        "pytorch_model.bin", "torch", lambda path: b"GIF89a\0\0\0" + plain(path) + b"."
    ),
    "torch: from_type with another function": Attack(
        "m.pt",
        "torch",
        lambda path: packed(
            b.stream(
                b.call(
                    "torch._tensor._rebuild_from_type_v2",
                    b.named("os.mkdir"),
                    b.named("torch.Tensor"),
                    b.tup(b.text(path)),
                    b"}",
                ),
                2,
            )
        ),
    ),
    "torch: in a storage's persistent id": Attack(
        "m.pt",
        "torch",
        lambda path: packed(
            b.stream(
                b.persistent(
                    b.tup(b.text("storage"), b.named("torch.FloatStorage"), b.text("0"), make(path), b.number(1))
                ),
                2,
            )
        ),
    ),
    "numpy: an array of objects": Attack("a.npy", "numpy", lambda path: npy(b.stream(make(path)))),
    "numpy: an array in an archive": Attack("a.npz", "numpy archive", lambda path: npz(b.stream(make(path)))),
    "numpy: a pickle without array": Attack("a.npy", "numpy", lambda path: b.stream(make(path))),
    "numpy: an entry without suffix": Attack(
        "a.npz", "numpy archive", lambda path: archive(Member(name=b"x", data=npy(b.stream(make(path)))))
    ),
    "joblib: plain": Attack("a.joblib", "joblib", joblib_file),
    "joblib: an instance without a line feed": Attack(
        "a.joblib", "joblib", lambda path: b"(V" + path.encode() + b"\nios\nmkdirX"
    ),
    **{
        f"joblib: {codec}": Attack(
            "a.joblib", "joblib", lambda path, codec=codec: joblib_file(path, compress=(codec, 3))
        )
        for codec in ("zlib", "gzip", "bz2", "lzma", "xz")
    },
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Every attack on disk, and the folder that each of them is to make; all were loaded once, in one child."""
    root = tmp_path_factory.mktemp("attacks")
    files, work = {}, []
    for number, (name, attack) in enumerate(ATTACKS.items()):
        folder = root / f"file{number}"
        folder.mkdir()
        marker = root / f"m{number}"
        path = folder / attack.name
        path.write_bytes(attack.build(str(marker)))
        files[name] = (path, marker)
        work.append([str(path), attack.loader])
    subprocess.run(
        [sys.executable, loading_child.__file__, json.dumps(work)], capture_output=True, timeout=120, check=False
    )
    return files


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_works_never_passes(staged, name):
    path, marker = staged[name]
    assert marker.is_dir(), "the attack does not run in its loader: it proves nothing"
    examination = examine(path, path.name, ScanOptions())
    effects = {effect(item, Policy()) for item in examination.findings}
    assert effects & {Outcome.REVIEW, Outcome.BLOCK} or examination.unexamined


@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith("pickle: ")])
def test_an_attack_in_a_bare_pickle_is_seen_and_not_only_distrusted(staged, name):
    examination = examine(staged[name][0], staged[name][0].name, ScanOptions())
    rules = {item.rule for item in examination.findings}
    assert rules & {"AIV301", "AIV303", "AIV304", "AIV305"} or "end of a frame" in examination.unexamined[0].reason


def test_there_are_many_attacks():
    assert len(ATTACKS) > 60
    assert Path(loading_child.__file__).parent.name == "tests"
