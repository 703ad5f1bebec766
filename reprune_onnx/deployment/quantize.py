"""int8 for a target, and by how much it changes the output."""

from __future__ import annotations

import numpy as np
import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.int8.quantizer import calibrated
from reprune_onnx.runtime.ort import Session
from reprune_onnx.targets import Builder
from reprune_onnx.types import Model


def quantize(model: Model, images: Images, builder: Builder) -> Model:
    """Return ``model`` in int8, with ranges measured on ``images``; see `int8.quantizer`.

    Raises ModelError where ONNX Runtime cannot quantize the model.
    """
    proto = calibrated(model, images, builder).quantized().proto
    return Model(proto, model.path, model.sha256, model.bytes, model.files)


def output_error(
    original: onnx.ModelProto, converted: onnx.ModelProto, images: Images, builder: Builder
) -> float:
    """Return the error of the first output on ``images``, relative to the output's own size.

    Both are root mean squares; 0 is exact, and 1 means that nothing is left of the output. Where
    ONNX Runtime is not what will run the file, it computes it as written, not with its own kernels.
    """
    optimize = builder == "onnxruntime"
    sessions = [Session(proto, optimize=optimize) for proto in (original, converted)]
    name = sessions[0].outputs[0].name
    error = size = 0.0
    for feeds in images.batches:
        expected, results = (s.run(feeds, [name])[name].astype(np.float64) for s in sessions)
        error += float(((expected - results) ** 2).sum())
        size += float((expected**2).sum())
    return float(np.sqrt(error / size)) if size else 0.0
