"""int8 in the file: weights and activations between QuantizeLinear and DequantizeLinear.

ONNX Runtime's own static quantization does it, with ranges measured on calibration images.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.errors import ModelError
from reprune_onnx.model import load, save
from reprune_onnx.order import in_order
from reprune_onnx.targets import Builder
from reprune_onnx.types import Model

_OPSET = 13  # the first whose QuantizeLinear has a scale per channel
_IR = 7  # that of this opset; before 4 constants were inputs too
_TENSORRT = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool")


@dataclass(frozen=True)
class Quantizer:
    """A model that is ready to be quantized, and the ranges that its tensors have on images.

    ``ready`` computes the same as the model, with BatchNormalization in the layers before it.
    """

    ready: Model
    ranges: Any  # onnxruntime.quantization.calibrate.TensorsData
    builder: Builder

    def quantized(self, excluded: Collection[str] = ()) -> Model:
        """The model in int8: one scale per output channel of a weight, one per activation.

        Nodes of the names ``excluded`` stay in float. What TensorRT builds has symmetric
        activations and float biases, as it wants them. What a CPU runs has activations without a
        sign, for which its kernels are two to three times as fast, and weights of 7 bits: without
        VNNI its int8 products are added in 16 bits, which full weights overflow. Raises
        ModelError where ONNX Runtime cannot quantize the model.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        tensorrt = self.builder != "onnxruntime"
        options: dict[str, Any] = {"WeightSymmetric": True}
        if tensorrt:
            options |= {
                "ActivationSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": True,
            }
        proto = onnx.ModelProto()
        proto.CopyFrom(self.ready.proto)
        with _told():
            quantizer = QDQQuantizer(
                proto,
                True,  # a scale for each channel
                not tensorrt,
                QuantType.QInt8,
                QuantType.QInt8 if tensorrt else QuantType.QUInt8,
                self.ranges,
                [],
                list(excluded),
                _kinds(self.builder),
                options,
            )
            quantizer.quantize_model()
        return in_order(Model(quantizer.model.model, self.ready.path))


def calibrated(model: Model, images: Images, builder: Builder) -> Quantizer:
    """Return the quantizer of a model, with ranges measured on ``images``.

    Raises ModelError where ONNX Runtime cannot prepare or run the model for it.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="reprune-") as folder, _told():
        source, ready, augmented = (
            Path(folder) / f"{n}.onnx" for n in ("source", "ready", "augmented")
        )
        save(Model(_at_least(model.proto, _OPSET)), source)
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        prepared = load(ready)
        _name(prepared.proto)
        prepared.proto.ir_version = max(prepared.proto.ir_version, _IR)
        save(prepared, ready)
        calibrator = create_calibrator(
            ready,
            _kinds(builder),
            augmented_model_path=str(augmented),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(images))
        ranges = calibrator.compute_data()
        del calibrator
    return Quantizer(Model(prepared.proto, model.path), ranges, builder)


def _name(proto: onnx.ModelProto) -> None:
    """Give every node a name of its own: nodes that stay in float are told by it."""
    taken = set[str]()
    for k, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{k}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _kinds(builder: Builder) -> list[str]:
    """The ops that are quantized."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    if builder != "onnxruntime":
        return list(_TENSORRT)
    return sorted({*QLinearOpsRegistry, *QDQRegistry})


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
def _told() -> Iterator[None]:
    """ONNX Runtime's tools print, and log advice to the root logger; what fails is a ModelError."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:  # its exceptions share no base class
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"ONNX Runtime cannot quantize the model: {reason}") from error
    finally:
        logging.disable(level)
