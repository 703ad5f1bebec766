"""The table of recovery methods; what they import is imported when one is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprune_onnx.choices import Recover, RecoveryMethod
from reprune_onnx.recovery.work import Work


def _data_free(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.data_free import correct

    return correct(work.pruned, work.graph, work.channels, work.keep, work.steps)


def _batch_norm(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.batch_norm import reestimate

    return reestimate(work.models, work.steps, work.images, work.workers, work.progress)


def _least_squares(work: Work) -> Mapping[str, Any]:
    from reprune_onnx.recovery.combined import combined
    from reprune_onnx.recovery.least_squares import refit

    steps = combined(work)
    return refit(work.models, steps, work.images, work.workers, work.progress)


METHODS: dict[Recover, RecoveryMethod] = {
    "none": RecoveryMethod(lambda work: {}),
    "data-free": RecoveryMethod(_data_free),
    "batch-norm": RecoveryMethod(_batch_norm, needs_images=True),
    "least-squares": RecoveryMethod(_least_squares, needs_images=True),
}
