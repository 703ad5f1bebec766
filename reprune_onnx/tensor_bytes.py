"""The number of bytes of a tensor, by its type and shape."""

from __future__ import annotations

import math

import onnx

BITS: dict[int, int] = {
    type_: bits
    for bits, names in (
        (2, "INT2 UINT2"),
        (4, "INT4 UINT4 FLOAT4E2M1"),
        (8, "INT8 UINT8 BOOL FLOAT8E4M3FN FLOAT8E4M3FNUZ FLOAT8E5M2 FLOAT8E5M2FNUZ FLOAT8E8M0"),
        (16, "INT16 UINT16 FLOAT16 BFLOAT16"),
        (32, "INT32 UINT32 FLOAT"),
        (64, "INT64 UINT64 DOUBLE COMPLEX64"),
        (128, "COMPLEX128"),
    )
    for name in names.split()
    if (type_ := getattr(onnx.TensorProto, name, None)) is not None  # newer than this onnx
}
"""Of one value of each type; text has no size."""


def stated_bytes(tensor: onnx.TensorProto) -> int | None:
    """The bytes that a tensor's type and shape ask for; None where these are none.

    >>> stated_bytes(onnx.TensorProto(data_type=onnx.TensorProto.INT4, dims=[3, 3]))
    5
    """
    bits = BITS.get(tensor.data_type)
    if bits is None or min(tensor.dims, default=1) < 0:
        return None
    n = math.prod(int(d) for d in tensor.dims)
    return -(-n * bits // 8)
