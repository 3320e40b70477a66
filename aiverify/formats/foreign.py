"""Formats that are recognised and not examined: what they are, and what their loaders do with hostile bytes.

Nothing of them is ever clean; the sentence tells whoever reads the report what a load would risk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

from aiverify.formats.messages import CAFFE, COREML, PADDLE

_NATIVE = "its loader is native code that trusts the numbers in the file"
_BOOSTER = "a trained booster is data, but its loader is native code that does not check it"
_ENGINE = "it is compiled code for a device, and is run as such"

_BY_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"CBM1", f"a CatBoost model; {_BOOSTER}"),
    (0, b"tree\nversion=", f"a LightGBM model; {_BOOSTER}"),
    (0, b"binf", f"an XGBoost model; {_BOOSTER}"),
    (0, b"ftrt", f"a TensorRT engine; {_ENGINE}"),
    (0, b"ptrt", f"a TensorRT engine; {_ENGINE}"),
    (0, b"RKNN", f"an RKNN model; {_ENGINE}"),
    (0, b"RDX2\n", "saved objects of R, which hold code, and promises that run when they are touched"),
    (0, b"RDX3\n", "saved objects of R, which hold code, and promises that run when they are touched"),
    (0, b"RDA2\n", "saved objects of R, which hold code, and promises that run when they are touched"),
    (0, b"X\n\x00\x00\x00", "a saved object of R, which may hold code, and promises that run when they are touched"),
    (0, b"lmgg", f"a GGML model, older than GGUF; {_NATIVE}"),
    (0, b"fmgg", f"a GGML model, older than GGUF; {_NATIVE}"),
    (0, b"tjgg", f"a GGML model, older than GGUF; {_NATIVE}"),
    (0, b"algg", f"a GGML adapter, older than GGUF; {_NATIVE}"),
    (0, b"\xba\x16\x4f\x2f", f"a fastText model; {_NATIVE}"),
    (0, b"\x12\x01" + bytes(14), f"parameters of MXNet; {_NATIVE}"),
    (0, b"7767517\n", f"an ncnn model; {_NATIVE}"),
    (0, b"\x0c\xdb\x3a\x2a", f"a checkpoint of JAX (Orbax, OCDBT); {_NATIVE}"),
    (0, b"GPT-OSS v1.0\0", f"a model of gpt-oss for Metal; {_NATIVE}"),
    (0, b"PAR1", "a Parquet table; it is no model"),
    (0, b"ARROW1", "an Arrow table; it is no model"),
    (0, b"SQLite format 3\0", "an SQLite database; it is no model"),
    (0, b"MATLAB 5.0", f"a MATLAB file; {_NATIVE}"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE document, which may hold macros or installers"),
    (4, b"ET12", f"a program for ExecuTorch; {_NATIVE}"),
    (4, b"ORTM", f"a model of ONNX Runtime (ORT); {_NATIVE}"),
    (4, b"CIRC", f"a Circle model; {_NATIVE}"),
    (64, b"\xef\xbe\xad\xde", f"weights of {COREML}; {_NATIVE}"),
)
_MESSAGES = {COREML: _NATIVE, PADDLE: "an operator of it may be Python code of the process", CAFFE: _NATIVE}
_XGBOOST_JSON = re.compile(rb'\s*\{\s*"(?:version"\s*:\s*\[[\d,\s]{1,20}\]\s*,\s*")?learner"\s*:\s*\{')
_XGBOOST_UBJ = re.compile(rb"\{(?:L.{8}|l.{4}|[iU].)(?:learner\{|version)", re.DOTALL)
_TORCH7 = re.compile(rb"[\x03\x04]\0\0\0.{0,200}?V 1.{4}(?:torch|nn|cudnn|cunn)\.", re.DOTALL)
_PADDLE_TENSOR = re.compile(rb"\0{16}[\x04-\x40]\0\0\0\x08[\0-\x20]\x10", re.DOTALL)
_CTRANSLATE = re.compile(rb"[\x01-\x0f]\0\0\0[\x05-\x60]\0\w{1,80}Spec\0")
_FAISS = re.compile(rb"I\w\w\w.{12}(?:\0\0\x10\0\0\0\0\0){2}[\0\1]", re.DOTALL)
_BY_NAME = {
    ".mlmodel": f"{COREML}; {_NATIVE}",
    ".pdmodel": f"{PADDLE}; {_MESSAGES[PADDLE]}",
    ".pdiparams": f"parameters of PaddlePaddle; {_NATIVE}",
    ".caffemodel": f"{CAFFE}; {_NATIVE}",
    ".engine": f"a TensorRT engine; {_ENGINE}",
    ".plan": f"a TensorRT engine; {_ENGINE}",
    ".trt": f"a TensorRT engine; {_ENGINE}",
    ".faiss": f"an index of FAISS; {_NATIVE}",
    ".mnn": f"an MNN model; {_NATIVE}",
    ".pte": f"a program for ExecuTorch; {_NATIVE}",
    ".t7": "objects of Torch7, which hold functions of Lua",
    ".cbm": f"a CatBoost model; {_BOOSTER}",
    ".ubj": f"an XGBoost model; {_BOOSTER}",
    ".rds": "a saved object of R, which may hold code, and promises that run when they are touched",
    ".rknn": f"an RKNN model; {_ENGINE}",
    ".orbax": f"a checkpoint of JAX (Orbax); {_NATIVE}",
}
_BY_PATTERN: tuple[tuple[Callable[[bytes], object], str], ...] = (
    (_XGBOOST_JSON.match, f"an XGBoost model; {_BOOSTER}"),
    (_XGBOOST_UBJ.match, f"an XGBoost model; {_BOOSTER}"),
    (_TORCH7.match, "objects of Torch7, which hold functions of Lua"),
    (_CTRANSLATE.match, f"a CTranslate2 model; {_NATIVE}"),
    (_FAISS.match, f"an index of FAISS; {_NATIVE}"),
    (_PADDLE_TENSOR.match, f"parameters of PaddlePaddle; {_NATIVE}"),
)


def by_content(head: bytes) -> str | None:
    """What a file that begins with ``head`` is, if it is one of these by its content."""
    for offset, magic, what in _BY_MAGIC:
        if head.startswith(magic, offset):
            return what
    return next((what for matches, what in _BY_PATTERN if matches(head)), None)


def is_booster(text: bytes) -> bool:
    """Whether ``text`` is JSON as XGBoost writes a model, and nothing else that a loader could look for in it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.keys() <= {"learner", "version"}


def by_message(kind: str) -> str:
    """The sentence for a protocol buffer of ``kind``."""
    return f"{kind}; {_MESSAGES[kind]}"


def by_name(path: str) -> str | None:
    """What a file called ``path`` is to be, where the content does not say it."""
    return _BY_NAME.get(PurePosixPath(path.lower()).suffix)
