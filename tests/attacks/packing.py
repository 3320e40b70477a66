"""How the bytes of a file are put around a pickle stream."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable

from zip_builder import Member, archive, checkpoint


def cut(stream: bytes) -> bytes:
    return stream[:-1]


def tarred(*members: tuple[str, bytes], mode: str = "w", form: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zipped(*members: tuple[str, bytes], deflate: bool = False) -> bytes:
    return archive(*(Member(name=name.encode(), data=data, method=8 if deflate else 0) for name, data in members))


def array_file(stream: bytes, version: tuple[int, int] = (1, 0), descr: object = "|O") -> bytes:
    import numpy as np

    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": (1,)}
    writer = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    writer(file, header)
    raw = file.getvalue()
    if version == (3, 0):
        raw = raw[:6] + b"\x03\x00" + raw[8:]
    return raw + stream


def torch_file(stream: bytes, *more: Member, **options) -> bytes:
    return archive(*checkpoint(stream, *more), **options)


def torch_first(stream: bytes, **options) -> bytes:
    return archive(Member(name=b"archive/data.pkl", data=stream, **options), *checkpoint(b"")[1:])


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}."
TEXT_MAGIC = b"L119547037146038801333356L\n.I1001\n."


def old_tar(part: str) -> Callable[[bytes], bytes]:
    def pack(stream: bytes) -> bytes:
        zero = b"\x80\x02K\x00."
        parts = {"sys_info": SYSTEM, "storages": zero + b"\x80\x02].", "tensors": zero, "pickle": SYSTEM}
        parts[part] = stream
        return tarred(*parts.items())

    return pack


def joblib_array(stream: bytes) -> bytes:
    """An array of objects, whose elements follow the wrapper as a pickle of their own, inside the outer stream."""
    import joblib
    import numpy as np

    file = io.BytesIO()
    joblib.dump(np.array([b"here"], dtype=object), file)
    outer = file.getvalue()
    start = outer.index(b"here")
    begin = outer.rindex(b"\x80", 0, start)
    end = outer.index(b".", start) + 1
    return outer[:begin] + stream + outer[end:]


def joblib_zfile(stream: bytes) -> bytes:
    """joblib's own compressed form from before 0.10."""
    length = hex(len(stream)).encode()
    return b"ZF" + length.ljust(19) + zlib.compress(stream)


def lz4_file(stream: bytes) -> bytes:
    import lz4.frame

    return lz4.frame.compress(stream)


def in_tensor_file(stream: bytes) -> bytes:
    """A valid tensor file whose length begins with V: to a pickle it is a line of text, up to the first line feed."""
    body = b"\n0" + stream
    size = -(-len(body) // 8) * 8
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    length = 0x56 + 256 * (len(header) // 256 + 1)
    return struct.pack("<Q", length) + header.ljust(length) + body.ljust(size)


def nemo(stream: bytes, mode: str = "w") -> bytes:
    return tarred(("./model_config.yaml", b"target: x\n"), ("./model_weights.ckpt", torch_file(stream)), mode=mode)


def mar(stream: bytes) -> bytes:
    manifest = b'{"runtime": "python", "model": {"modelName": "m", "serializedFile": "m.pt"}, "archiverVersion": "0.9"}'
    return zipped(("MAR-INF/MANIFEST.json", manifest), ("m.pt", torch_file(stream)), deflate=True)


def torn(payload: bytes) -> bytes:
    """A string begins in a frame and ends behind it: one reader then finds bytes where another finds code."""
    while len(payload) & 0x80:  # the length is read as text
        payload = b"N0" + payload
    inside = b"B" + struct.pack("<I", len(payload))
    text = b"X" + struct.pack("<I", 20)
    frame = b"\x95" + struct.pack("<Q", len(text) + len(inside)) + text + b"a" * len(inside)
    return b"\x80\x04" + frame + b"a" * (20 - len(inside)) + inside + payload + b"00}."


def text_tar(stream: bytes) -> bytes:
    """A tar archive without a zero byte and without the word that marks one: to a person, a text."""

    def header(kind: bytes, size: int) -> bytes:
        fields = [b"notes ".ljust(100, b"-"), b"0000644 ", b"0000000 ", b"0000000 ", b"%011o " % size, b"00000000000 "]
        rest = kind + b"-" * 172 + b"0000000 0000000 " + b"-" * 167
        total = sum(b"".join(fields)) + 8 * 32 + sum(rest)
        return b"".join(fields) + b"%06o  " % total + rest

    def member(name: str, data: bytes) -> bytes:
        record = f"path={name}\n"
        length = len(record) + 3
        extended = f"{length} {record}".encode()
        return (
            header(b"x", len(extended))
            + extended.ljust(512, b"\n")
            + header(b"0", len(data))
            + data
            + b"\n" * (-len(data) % 512)
        )

    return member("sys_info", b"(d.") + member("storages", stream) + b"The end.\n" * 100


def zipped_model(stream: bytes) -> bytes:
    return zipped(("model.pkl", stream), deflate=True)


def two(stream: bytes) -> bytes:
    """With many entries, the reader takes the first of two that have one name."""
    filler = (Member(name=b"archive/data/%d" % number, data=b"x" * 8) for number in range(40))
    return archive(*checkpoint(stream), *filler, Member(name=b"archive/data.pkl", data=SYSTEM))
