"""The table of recovery methods; what they import is imported when one is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reprune_onnx.analyzer.ends import before_suppression
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Recover, RecoveryMethod
from reprune_onnx.recovery.work import Work
from reprune_onnx.types import Model


def _data_free(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.data_free import correct

    return correct(work.pruned, work.graph, work.channels, work.keep, work.steps)


def _batch_norm(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.batch_norm import reestimate

    return reestimate(work.models, work.steps, work.images, work.workers, work.progress)


def _least_squares(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.combined import combined
    from reprune_onnx.recovery.constants import Constant
    from reprune_onnx.recovery.least_squares import refit
    from reprune_onnx.recovery.plan import Step

    steps: list[Step | Constant] = [*combined(work), *work.constants]
    return refit(work.models, steps, work.images, work.workers, work.progress)


def check_method(method: Recover | RecoveryMethod, model: Model) -> None:
    """Raise, before anything is measured, where a method cannot train ``model``.

    TrainingError without PyTorch, ModelError where the bridge lacks an op, or where the outputs
    cannot be taught.
    """
    row = method if isinstance(method, RecoveryMethod) else METHODS.get(method)
    if row is None or not row.distills:
        return
    from reprune_onnx.training.needs_torch import require

    require("--recover distill")
    from reprune_onnx.training.bridge import torch_module  # imports PyTorch

    torch_module(model, before_suppression(Graph(written_out(model))) or None)


def untrained(method: Recover | RecoveryMethod) -> Recover | RecoveryMethod:
    """Return the method without the training that follows, to judge attempts by."""
    row = method if isinstance(method, RecoveryMethod) else METHODS.get(method)
    return method if row is None or not row.distills else replace(row, distills=False)


METHODS: dict[Recover, RecoveryMethod] = {
    "none": RecoveryMethod(lambda work: {}),
    "data-free": RecoveryMethod(_data_free),
    "batch-norm": RecoveryMethod(_batch_norm, needs_images=True),
    "least-squares": RecoveryMethod(_least_squares, needs_images=True),
    "distill": RecoveryMethod(_least_squares, needs_images=True, distills=True),
}
