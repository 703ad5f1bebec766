"""The files that deployment reads and writes, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reprune_onnx import unreadable
from reprune_onnx.activations.images import Images, calibration_images
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import ModelError
from reprune_onnx.model import load
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.settings import Settings
from reprune_onnx.types import Model

_ENGINES = {".engine", ".plan", ".trt"}
_TENSORRT = b"ptrt"  # the first bytes of a TensorRT engine


def read(path: Path) -> Model:
    """`load`, with a line of its own for a TensorRT engine, which is no model any more."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_TENSORRT))
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {unreadable.reason(error)}") from error
    if magic == _TENSORRT or path.suffix.lower() in _ENGINES:
        raise ModelError(
            f"'{path}' is a TensorRT engine, not an ONNX file: give the .onnx it was built from"
        )
    return load(path)


def calibrated(
    model: Model,
    calibration: str | None,
    calibration_size: int,
    how: Reading,
    shapes: Mapping[str, tuple[int, ...]],
) -> Images | None:
    """Return up to ``calibration_size`` images of ``calibration``; None where none are given."""
    if calibration is None:
        return None
    settings = Settings(
        sparsity=0.0,
        calibration=calibration,
        calibration_size=calibration_size,
        preprocess=how.preprocess,
        classes=how.classes,
        skip_broken=how.skip_broken,
        input_shapes=tuple(shapes.items()),
    )
    return calibration_images(head_of(model).proto, settings)
