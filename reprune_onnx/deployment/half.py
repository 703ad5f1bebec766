"""float16 inside the file, for what computes in the types that the file states."""

from __future__ import annotations

import warnings

import onnx

from reprune_onnx.types import Model

ALLOWED = 2e-2
"""Of an output's scale: a deep network rounds to eleven bits at every layer."""


def half(model: Model) -> Model:
    """Return a copy that computes in float16; its inputs and outputs stay float32.

    Values beyond the range of float16 become its largest, so the result has to be compared.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every weight that is rounded to 0
        proto = convert_float_to_float16(copy, keep_io_types=True)
    return Model(proto, model.path, model.sha256, model.bytes, model.files)
