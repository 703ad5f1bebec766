"""Repair of a pruned model's accuracy without labels, gradients or a training framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.measurable import measurable, measured_names
from reprune_onnx.activations.workers import workers
from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.hoist import hoisted
from reprune_onnx.choices import Recover, RecoveryMethod
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.precision import as_float32
from reprune_onnx.recovery.constants import constants
from reprune_onnx.recovery.methods import METHODS, check_method
from reprune_onnx.recovery.output_error import output_errors
from reprune_onnx.recovery.plan import plan
from reprune_onnx.recovery.values import with_values
from reprune_onnx.recovery.work import Work
from reprune_onnx.results import CutNetwork, Recovery
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

Array = NDArray[Any]


def recover(
    network: CutNetwork,
    method: Recover | RecoveryMethod,
    images: Images | None = None,
    progress: Progress | None = None,
    epochs: int = 0,
) -> Recovery:
    """Give the layers of a pruned model values that bring it nearer to its original.

    ``auto`` is least-squares with images and data-free without; ``epochs`` are those of distill.
    The structure of the pruned model does not change. Raises UsageError where the method needs
    images and there are none, DataError where the images do not do, or a method of the user's
    returns values that do not fit, and what `check_method` raises.
    """
    if method == "auto":
        method = "data-free" if images is None else "least-squares"
    row = method if isinstance(method, RecoveryMethod) else METHODS[method]
    if method == "none" or network.keep.all():
        return Recovery(network.pruned, "none", 0, 0)
    check_method(row, network.pruned)
    if images is None and row.needs_images:
        raise UsageError(
            f"--recover {method} needs images: give some hundreds, without labels, with"
            " --calibration"
        )
    if not row.needs_images:  # what runs on no image is repaired too
        images = None
    graph, channels, keep = network.graph, network.channels, network.keep
    seen = graph.model
    if images is not None:
        images.check()
        seen = measurable(graph.model, images.batches)
    left = hoisted(network.pruned) if seen is graph.model else network.pruned
    original, pruned = (Model(as_float32(model.proto), model.path) for model in (seen, left))
    names = measured_names(pruned.proto)
    seen_graph = Graph(pruned)
    steps = [s for s in plan(graph, channels, keep, seen_graph) if names.issuperset(s.tensors)]
    fixed = [c for c in constants(graph, channels, keep, seen_graph) if names.issuperset(c.tensors)]
    with workers() as pool:
        work = Work(original, pruned, graph, channels, keep, steps, fixed, images, pool, progress)
        values = _checked(row.values(work), row, pruned)
    repaired, distillation = _back(with_values(left, values)), None
    if row.distills and images is not None:
        from reprune_onnx.training.distilled import distilled  # imports PyTorch

        repaired, distillation = distilled(_back(original), repaired, images, epochs, progress)
    layers = sum(step.weight in values for step in steps)
    if images is None:
        return Recovery(repaired, str(method) if values else "none", 0, layers)
    original, pruned = _back(original), _back(pruned)
    ends = (pruned, Model(as_float32(repaired.proto)))
    before, after = output_errors(original, ends, images)
    written = images.room.written
    errors = before, after
    return Recovery(repaired, str(method), images.n, layers, *errors, written, distillation)


def _checked(values: Mapping[str, Any], row: RecoveryMethod, pruned: Model) -> dict[str, Array]:
    """New values as arrays; DataError for those that have no place in the pruned model."""
    graph = Graph(pruned)
    arrays = {name: np.asarray(value) for name, value in values.items()}
    for name, array in arrays.items():
        shape = tuple(graph.shape(name)) if graph.is_constant(name) else None
        if array.shape != shape:
            raise DataError(
                f"the recovery method {row} gives '{name}' the shape {array.shape}, but in the"
                f" pruned model {'it is no constant' if shape is None else f'it has {shape}'}"
            )
    return arrays


def _back(model: Model) -> Model:
    """The model with branches of If in their bodies."""
    return Model(folded(model.proto), model.path)
