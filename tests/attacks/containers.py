"""The files that a payload travels in, each with the loader that opens it.

A container takes a whole pickle stream and gives the bytes of a file. It says which styles its stream may have.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from attacks.mechanism import BLOCK, REVIEW
from attacks.packing import (
    MAGIC,
    SYSTEM,
    TEXT_MAGIC,
    array_file,
    cut,
    in_tensor_file,
    joblib_array,
    joblib_zfile,
    lz4_file,
    mar,
    nemo,
    old_tar,
    tarred,
    text_tar,
    torch_file,
    torch_first,
    torn,
    two,
    zipped,
    zipped_model,
)
from zip_builder import Member, archive, checkpoint

_BINARY = ("2", "3", "4", "5", "OBJ", "INST", "GLOBAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """``pack`` makes the file called ``file`` that ``loader`` opens; ``styles`` are those whose streams fit."""

    title: str
    family: str
    file: str
    loader: str
    pack: Callable[[bytes], bytes]
    styles: tuple[str, ...] = ()
    at_least: str = BLOCK


def _all(
    title: str, family: str, file: str, loader: str, pack: Callable[[bytes], bytes], *styles: str, **more
) -> Container:
    return Container(title=title, family=family, file=file, loader=loader, pack=pack, styles=styles, **more)


_S, _D, _T, _Z, _O, _N, _J, _C, _A = (
    "bare or surrounded pickle",
    "pickle in disguise",
    "torch archive",
    "tampered torch archive",
    "old torch file",
    "numpy file",
    "joblib file",
    "compressed pickle",
    "nested archive",
)

CONTAINERS = (
    # What stands around the stream
    _all("read from memory", _S, "a.pkl", "pickle in memory", lambda s: s),
    _all("read by Python's own unpickler", _S, "a.pkl", "pickle in Python", lambda s: s),
    _all("read by pandas", _S, "a.pkl", "pandas", lambda s: s),
    _all("read by dill", _S, "a.dill", "dill", lambda s: s),
    _all("read by joblib", _S, "a.joblib", "joblib", lambda s: s),
    _all("read by numpy", _S, "a.npy", "numpy", lambda s: s, "2", "3", "4", "5"),
    _all("read by torch", _S, "a.pth", "torch", lambda s: s, *_BINARY),
    _all("the second stream", _S, "a.pkl", "pickle, every stream", lambda s: b"\x80\x04}." + s),
    _all("the third stream, text", _S, "a.pkl", "pickle, every stream", lambda s: b"N.(d." + s, "0"),
    _all("the hundredth stream", _S, "a.pkl", "pickle, every stream", lambda s: b"K\x01." * 99 + s),
    _all(
        "after frames and protocols",
        _S,
        "a.pkl",
        "pickle",
        lambda s: (b"\x80\x04\x95" + bytes(8)) * 9 + s,
        "4",
        "GLOBAL",
    ),
    _all("before trailing zeros", _S, "a.pkl", "pickle", lambda s: s + bytes(4096)),
    _all("before trailing text", _S, "a.pkl", "pickle", lambda s: s + b"\n# End of file\n"),
    _all("before an archive", _S, "a.pkl", "pickle", lambda s: s + zipped(("a.txt", b"harmless"))),
    _all("before a torch archive", _S, "a.pt", "pickle", lambda s: s + torch_file(SYSTEM)),
    _all("cut before STOP", _S, "a.pkl", "pickle", cut, "0", "2", "GLOBAL"),
    _all("before a byte that is no opcode", _S, "a.pkl", "pickle", lambda s: cut(s) + b"\xff"),
    _all("before an argument that is too long", _S, "a.pkl", "pickle", lambda s: cut(s) + b"X\xff\xff\xff\x7f"),
    _all("before an empty stack", _S, "a.pkl", "pickle", lambda s: cut(s) + b"00000"),
    _all("a string across the end of a frame", _S, "a.pkl", "pickle in memory", torn, "0"),
    # Names and first bytes that say something else
    _all("called weights.bin", _D, "weights.bin", "pickle", lambda s: s),
    _all("called config.json", _D, "config.json", "pickle", lambda s: s),
    _all("called model.safetensors", _D, "model.safetensors", "pickle", lambda s: s),
    _all("called model.onnx", _D, "model.onnx", "pickle", lambda s: s),
    _all("called model.h5", _D, "model.h5", "pickle", lambda s: s),
    _all("called a.png", _D, "a.png", "pickle", lambda s: s),
    _all("called a.py", _D, "a.py", "pickle", lambda s: s, "0"),
    _all("called README.md", _D, "README.md", "pickle", lambda s: s, "0"),
    _all("called tokenizer.model", _D, "tokenizer.model", "pickle", lambda s: s),
    _all("called notes", _D, "notes", "pickle", lambda s: s),
    _all("called .hidden", _D, ".hidden", "pickle", lambda s: s, "0", "1", "4"),
    _all("called in capitals", _D, "MODEL.PKL", "pickle", lambda s: s),
    _all("called with a space at the end", _D, "model.pkl ", "pickle", lambda s: s),
    _all("called with letters of other scripts", _D, "m\u03bfdel.\uff50kl", "pickle", lambda s: s),
    _all("in a folder of a cache", _D, "__pycache__/m.pyc", "pickle", lambda s: s),
    _all("text, far behind", _D, "notes.txt", "pickle", lambda s: b"V" + b"word " * 3000 + b"\n0" + s, "0"),
    _all("text, behind many lines", _D, "notes.txt", "pickle", lambda s: b"Vword\n0" * 3000 + s, "0"),
    _all("text, with a text behind it", _D, "notes.txt", "pickle", lambda s: s[:-1] + b"\n# Notes\n", "0"),
    _all("text, the second stream", _D, "notes.txt", "pickle, every stream", lambda s: b"Vword\n." + s, "0"),
    _all("begins like a GIF", _D, "a.gif", "pickle", lambda s: b"GIF89a\0\0\0B\0\x20\0\0" + bytes(8192) + s, "0", "1"),
    _all("begins like a GGUF", _D, "model.gguf", "pickle", lambda s: b"GGUF\x03\0\0\0\0" + s, "0", "1"),
    _all("begins like a video", _D, "a.mp4", "pickle", lambda s: b"N0U\x04ftyp" + s, "0", "1"),
    _all("begins like a flat buffer", _D, "a.tflite", "pickle", lambda s: b"N0U\x04TFL3" + s, "0", "1"),
    _all("begins like bzip2", _D, "a.bz2", "pickle", lambda s: b"BZh\0\0" + b"x" * 0x685A + s, "0", "1"),
    _all("begins like a program", _D, "a.bin", "pickle", lambda s: b"MZ\0" + s, "0", "1"),
    _all(
        "is a tar archive, too",
        _D,
        "a.tar",
        "pickle",
        lambda s: b"T\x10\x01\0\0" + (b"x" * 252 + b"ustar").ljust(272, b"x") + s,
        "0",
        "1",
    ),
    _all("is a valid tensor file, too", _D, "model.bin", "pickle", in_tensor_file, "0", "1"),
    _all("is a valid tensor file, too, for torch", _D, "pytorch_model.bin", "torch", in_tensor_file, "0", "1"),
    # torch
    _all("data.pkl", _T, "m.pt", "torch", torch_file, "2", "3", "4", "INST"),
    _all("data.pkl, from memory", _T, "pytorch_model.bin", "torch in memory", torch_file, "2", "3"),
    _all(
        "data.pkl, deflated",
        _T,
        "m.ckpt",
        "torch",
        lambda s: archive(*(Member(name=m.name, data=m.data, method=8) for m in checkpoint(s))),
        "2",
        "3",
    ),
    _all(
        "data.pkl in another folder",
        _T,
        "m.pt",
        "torch",
        lambda s: archive(*checkpoint(s, prefix="ünïcode".encode())),
        "2",
    ),
    _all(
        "data.pkl behind many entries",
        _T,
        "m.pt",
        "torch",
        lambda s: archive(*(Member(name=b"archive/data/%d" % i, data=b"x") for i in range(300)), *checkpoint(s)),
        "2",
    ),
    _all("called weights.th", _T, "weights.th", "torch", torch_file, "2"),
    _all("called model.json", _T, "model.json", "torch", torch_file, "2"),
    _all("two streams in data.pkl", _T, "m.pt", "torch", lambda s: torch_file(s + b"\x80\x02}."), "2"),
    _all("a string across the end of a frame, torch", _T, "m.pt", "torch", lambda s: torch_file(torn(s)), "0"),
    _all(
        "another name in the local header",
        _Z,
        "m.pt",
        "torch",
        lambda s: torch_first(s, local={"name": b"archive/safe.txt"}),
        "2",
        "3",
    ),
    _all(
        "an encryption flag in the local header",
        _Z,
        "m.pt",
        "torch",
        lambda s: torch_first(s, local={"flags": 1}),
        "2",
        "3",
    ),
    _all(
        "a wrong checksum",
        _Z,
        "m.pt",
        "torch",
        lambda s: torch_first(s, local={"crc": 1}, central={"crc": 1}),
        "2",
        "3",
    ),
    _all("another method in the local header", _Z, "m.pt", "torch", lambda s: torch_first(s, local={"method": 8}), "2"),
    _all(
        "another size in the local header",
        _Z,
        "m.pt",
        "torch",
        lambda s: torch_first(s, local={"size": 1, "compressed": 1}),
        "2",
    ),
    _all("two data.pkl, the first", _Z, "m.pt", "torch in memory", lambda s: two(s), "2"),
    _all(
        "two data.pkl, the second",
        _Z,
        "m.pt",
        "torch",
        lambda s: archive(
            Member(name=b"archive/data.pkl", data=SYSTEM),
            *checkpoint(s, storages={str(n): bytes(16) for n in range(4)}),
        ),
        "2",
    ),
    _all(
        "capital letters",
        _Z,
        "m.pt",
        "torch",
        lambda s: archive(*checkpoint(b"")[1:], Member(name=b"archive/DATA.PKL", data=s)),
        "2",
    ),
    _all("a comment at the end", _Z, "m.pt", "torch", lambda s: torch_file(s, comment=b"x" * 40), "2"),
    _all("hidden data between the entries", _Z, "m.pt", "torch", lambda s: torch_file(s, between=b"x" * 64), "2"),
    # torch before 1.6
    _all("instead of everything", _O, "m.pth", "torch", lambda s: s, "2", "3"),
    _all("the system facts", _O, "m.pth", "torch", lambda s: MAGIC + s, "2", "3"),
    _all("the object", _O, "m.pth", "torch", lambda s: MAGIC + SYSTEM + s, "2", "3"),
    _all("the storage keys", _O, "m.pth", "torch", lambda s: MAGIC + SYSTEM * 2 + s, "2", "3"),
    _all("the object, called m.dat", _O, "m.dat", "torch", lambda s: MAGIC + SYSTEM + s, "2"),
    _all("the object, all of it text", _O, "weights", "torch", lambda s: TEXT_MAGIC + b"(d." + s, "0"),
    _all(
        "the object, all of it text, called README.md",
        _O,
        "README.md",
        "torch",
        lambda s: TEXT_MAGIC + b"(d." + s,
        "0",
    ),
    _all("an old file that begins like a GIF", _O, "m.bin", "torch", lambda s: b"GIF89a\0\0\0" + s, "0"),
    _all("a tar archive: storages", _O, "m.tar", "torch", old_tar("storages"), "2", "3"),
    _all("a tar archive: tensors", _O, "m.tar", "torch", old_tar("tensors"), "2"),
    _all("a tar archive: pickle", _O, "m.pt", "torch", old_tar("pickle"), "2", "3"),
    _all("a tar archive that reads like a text", _O, "notes.txt", "torch", text_tar, "0"),
    # numpy
    _all("an array of objects", _N, "a.npy", "numpy", array_file),
    _all("an array of objects, version 2", _N, "a.npy", "numpy", lambda s: array_file(s, (2, 0))),
    _all("an array of objects, version 3", _N, "a.npy", "numpy", lambda s: array_file(s, (3, 0)), "2", "4"),
    _all(
        "an array of records with an object",
        _N,
        "a.npy",
        "numpy",
        lambda s: array_file(s, descr=[("a", "<f8"), ("b", "|O")]),
        "2",
        "4",
    ),
    _all(
        "an array of records in records",
        _N,
        "a.npy",
        "numpy",
        lambda s: array_file(s, descr=[("a", [("c", "|O", (2,))])]),
        "2",
        "4",
    ),
    _all("an array under another name", _N, "weights.dat", "numpy", array_file, "2", "4"),
    _all("an array in an archive", _N, "a.npz", "numpy archive", lambda s: zipped(("a.npy", array_file(s)))),
    _all(
        "an array in an archive, deflated",
        _N,
        "a.npz",
        "numpy archive",
        lambda s: zipped(("a.npy", array_file(s)), deflate=True),
        "2",
        "4",
    ),
    _all(
        "an array in an archive, no suffix",
        _N,
        "a.npz",
        "numpy archive",
        lambda s: zipped(("x", array_file(s))),
        "2",
        "4",
    ),
    _all(
        "an array in an archive called a.zip",
        _N,
        "a.zip",
        "numpy archive",
        lambda s: zipped(("a.npy", array_file(s))),
        "2",
    ),
    _all(
        "the second array in an archive",
        _N,
        "a.npz",
        "numpy archive",
        lambda s: zipped(("n.npy", array_file(b"\x80\x02]K\x01a.")), ("a.npy", array_file(s))),
        "2",
    ),
    _all(
        "an array behind an array",
        _N,
        "a.npy",
        "numpy, twice",
        lambda s: array_file(b"\x80\x02]K\x01a.") + array_file(s),
        "2",
        "4",
        at_least=REVIEW,
    ),
    # joblib
    _all("joblib, zlib", _J, "a.joblib", "joblib", zlib.compress),
    _all("joblib, gzip", _J, "a.joblib", "joblib", gzip.compress),
    _all("joblib, bz2", _J, "a.joblib", "joblib", bz2.compress),
    _all("joblib, xz", _J, "a.joblib", "joblib", lzma.compress),
    _all("joblib, lzma", _J, "a.joblib", "joblib", lambda s: lzma.compress(s, lzma.FORMAT_ALONE)),
    _all("joblib, lz4", _J, "a.joblib", "joblib", lz4_file),
    _all("joblib, zlib without compression", _J, "a.joblib", "joblib", lambda s: zlib.compress(s, 0), "2", "4"),
    _all("joblib, an element of an array", _J, "a.joblib", "joblib", joblib_array, "2", "4", "5"),
    _all(
        "joblib, an element of an array, zlib",
        _J,
        "a.joblib",
        "joblib",
        lambda s: zlib.compress(joblib_array(s)),
        "2",
        "4",
    ),
    _all("joblib, the form before 0.10", _J, "a.pkl", "joblib", joblib_zfile, "2", "4"),
    _all("joblib, zlib, called model.bin", _J, "model.bin", "joblib", zlib.compress, "2", "4"),
    _all(
        "joblib, lzma, called model.onnx",
        _J,
        "model.onnx",
        "joblib",
        lambda s: lzma.compress(s, lzma.FORMAT_ALONE),
        "2",
    ),
    # compressed
    _all("gzip", _C, "a.pkl.gz", "pandas", gzip.compress),
    _all("bz2", _C, "a.pkl.bz2", "pandas", bz2.compress),
    _all("xz", _C, "a.pkl.xz", "pandas", lzma.compress),
    _all("gzip, opened by gzip", _C, "a.gz", "gzip", gzip.compress, "2", "4"),
    _all("gzip in two members", _C, "a.gz", "gzip", lambda s: gzip.compress(s[:7]) + gzip.compress(s[7:]), "2", "4"),
    _all(
        "gzip with a name and a comment",
        _C,
        "a.gz",
        "gzip",
        lambda s: b"\x1f\x8b\x08\x18" + bytes(6) + b"n\0c\0" + gzip.compress(s, mtime=0)[10:],
        "2",
    ),
    _all(
        "gzip behind an empty member",
        _C,
        "a.pkl.gz",
        "pandas",
        lambda s: gzip.compress(b"") * 3 + gzip.compress(s),
        "2",
    ),
    _all("bz2 in two streams", _C, "a.pkl.bz2", "pandas", lambda s: bz2.compress(s[:7]) + bz2.compress(s[7:]), "2"),
    _all("gzip, called model.pkl", _C, "model.pkl", "gzip", gzip.compress, "2", "4"),
    _all("a torch archive in gzip", _C, "m.pt.gz", "torch in gzip", lambda s: gzip.compress(torch_file(s)), "2"),
    _all("an array in gzip", _C, "a.npy.gz", "numpy in gzip", lambda s: gzip.compress(array_file(s)), "2"),
    _all("gzip in gzip", _C, "a.gz", "gzip in gzip", lambda s: gzip.compress(gzip.compress(s)), "2", "4"),
    # nested
    _all("a zip archive", _A, "a.zip", "pandas", zipped_model, "2", "4", "5"),
    _all(
        "a zip archive behind a text",
        _A,
        "a.zip",
        "pandas",
        lambda s: b"Read me.\n" * 1000 + zipped_model(s),
        "2",
        "4",
        at_least=REVIEW,
    ),
    _all(
        "a zip archive behind a picture",
        _A,
        "a.zip",
        "pandas",
        lambda s: b"\x89PNG\r\n\x1a\n" + bytes(5000) + zipped_model(s),
        "2",
        at_least=REVIEW,
    ),
    _all("a tar archive", _A, "a.tar", "pandas", lambda s: tarred(("model.pkl", s)), "2", "4"),
    _all("a tar archive in gzip", _A, "a.tar.gz", "pandas", lambda s: tarred(("model.pkl", s), mode="w:gz"), "2", "4"),
    _all("a tar archive in bz2", _A, "a.tar.bz2", "pandas", lambda s: tarred(("model.pkl", s), mode="w:bz2"), "2"),
    _all("a tar archive in xz", _A, "a.tar.xz", "pandas", lambda s: tarred(("model.pkl", s), mode="w:xz"), "2"),
    _all(
        "a tar archive of POSIX 2001",
        _A,
        "a.tar",
        "pandas",
        lambda s: tarred(("mödel" * 30 + ".pkl", s), form=tarfile.PAX_FORMAT),
        "2",
    ),
    _all("NeMo", _A, "m.nemo", "nemo", nemo, "2", "3"),
    _all("NeMo in gzip", _A, "m.nemo", "nemo", lambda s: nemo(s, "w:gz"), "2", "3"),
    _all("MAR", _A, "m.mar", "mar", mar, "2", "3"),
    _all(
        "a zip archive in a zip archive",
        _A,
        "a.zip",
        "zip in zip",
        lambda s: zipped(("inner.zip", zipped_model(s))),
        "2",
        "4",
    ),
    _all(
        "a tar archive in a zip archive",
        _A,
        "a.zip",
        "tar in zip",
        lambda s: zipped(("inner.tar", tarred(("model.pkl", s)))),
        "2",
    ),
    _all(
        "a torch archive in a zip archive",
        _A,
        "a.zip",
        "torch in zip",
        lambda s: zipped(("m.pt", torch_file(s)), deflate=True),
        "2",
    ),
    _all(
        "a pickle under any name in a zip archive", _A, "a.zip", "pandas", lambda s: zipped(("notes.txt", s)), "0", "4"
    ),
)
