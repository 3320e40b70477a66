"""The element types of torch, and what each is called in a safetensors file.

Types that torch has and safetensors has not are listed too: a checkpoint that holds one is refused by name.

Source: ``torch/storage.py`` of torch 2.13 for the storage classes, ``safetensors/torch.py`` of safetensors 0.8 for the
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dtype:
    """``size`` is the bytes of one element, ``swap`` the width that another byte order reverses (complex: each half).

    ``packed`` is how many elements of the safetensors type one element of torch's holds. ``safetensors`` is ``None``
    for a type that safetensors does not know.
    """

    torch: str
    safetensors: str | None
    size: int
    swap: int
    packed: int = 1


def _table() -> Mapping[str, Dtype]:
    known = [
        *(Dtype(name, code, 1, 1) for name, code in (("bool", "BOOL"), ("uint8", "U8"), ("int8", "I8"))),
        *(Dtype(name, code, 2, 2) for name, code in (("int16", "I16"), ("uint16", "U16"))),
        *(Dtype(name, code, 2, 2) for name, code in (("float16", "F16"), ("bfloat16", "BF16"))),
        *(Dtype(name, code, 4, 4) for name, code in (("int32", "I32"), ("uint32", "U32"), ("float32", "F32"))),
        *(Dtype(name, code, 8, 8) for name, code in (("int64", "I64"), ("uint64", "U64"), ("float64", "F64"))),
        Dtype("complex64", "C64", 8, 4),
        Dtype("float8_e4m3fn", "F8_E4M3", 1, 1),
        Dtype("float8_e5m2", "F8_E5M2", 1, 1),
        Dtype("float8_e4m3fnuz", "F8_E4M3FNUZ", 1, 1),
        Dtype("float8_e5m2fnuz", "F8_E5M2FNUZ", 1, 1),
        Dtype("float8_e8m0fnu", "F8_E8M0", 1, 1),
        Dtype("float4_e2m1fn_x2", "F4", 1, 1, packed=2),
        Dtype("complex128", None, 16, 8),
        Dtype("complex32", None, 4, 2),
        *(Dtype(name, None, 1, 1) for name in ("qint8", "quint8", "quint4x2", "quint2x4", "bits8")),
        *(Dtype(name, None, 1, 1) for name in ("bits1x8", "bits2x4", "bits4x2")),
        Dtype("bits16", None, 2, 2),
        Dtype("qint32", None, 4, 4),
    ]
    return {dtype.torch: dtype for dtype in known}


DTYPES: Mapping[str, Dtype] = _table()

STORAGES: Mapping[str, Dtype] = {
    storage: DTYPES[name]
    for storage, name in {
        "BoolStorage": "bool",
        "ByteStorage": "uint8",
        "CharStorage": "int8",
        "ShortStorage": "int16",
        "IntStorage": "int32",
        "LongStorage": "int64",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "FloatStorage": "float32",
        "DoubleStorage": "float64",
        "ComplexFloatStorage": "complex64",
        "ComplexDoubleStorage": "complex128",
        "QInt8Storage": "qint8",
        "QInt32Storage": "qint32",
        "QUInt8Storage": "quint8",
        "QUInt4x2Storage": "quint4x2",
        "QUInt2x4Storage": "quint2x4",
    }.items()
}
