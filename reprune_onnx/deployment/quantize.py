"""int8 in the file: weights and activations between QuantizeLinear and DequantizeLinear.

ONNX Runtime's own static quantization does it, with ranges measured on calibration images.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.errors import ModelError
from reprune_onnx.model import load, save
from reprune_onnx.runtime.ort import Session
from reprune_onnx.targets import Builder
from reprune_onnx.types import Model

_OPSET = 13  # the first whose QuantizeLinear has a scale per channel
_TENSORRT = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool")


def quantize(model: Model, images: Images, builder: Builder) -> Model:
    """Return ``model`` in int8: one scale per output channel of a weight, one per activation.

    What TensorRT builds has symmetric activations and float biases, as it wants them. What a CPU
    runs has weights of 7 bits: without VNNI its int8 products are added in 16 bits, which full
    weights overflow. Raises ModelError where ONNX Runtime cannot quantize the model.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    tensorrt = builder != "onnxruntime"
    options: dict[str, Any] = {"WeightSymmetric": True}
    if tensorrt:
        options |= {"ActivationSymmetric": True, "QuantizeBias": False, "AddQDQPairToWeight": True}
    with tempfile.TemporaryDirectory(prefix="reprune-") as folder, _silent():
        source, ready, out = (Path(folder) / f"{n}.onnx" for n in ("source", "ready", "int8"))
        try:
            save(Model(_at_least(model.proto, _OPSET)), source)
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                out,
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_TENSORRT) if tensorrt else None,
                per_channel=True,
                reduce_range=not tensorrt,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options=options,
            )
        except Exception as error:  # its exceptions share no base class
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"ONNX Runtime cannot quantize the model: {reason}") from error
        proto = load(out).proto
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


class _Reader:
    """The images, in the order and the form that ONNX Runtime asks for."""

    def __init__(self, images: Images) -> None:
        self._batches = iter(images.batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)


def _at_least(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    now = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    return onnx.version_converter.convert_version(proto, opset) if now < opset else proto


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """ONNX Runtime's tools log advice to the root logger, and print."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
