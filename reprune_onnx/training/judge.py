"""The judge of networks: how good each is on images that it is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from reprune_onnx.data.source import rows
from reprune_onnx.errors import DataError
from reprune_onnx.tasks.kinds import Pair
from reprune_onnx.tasks.tally import Measure, Tally
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.examples import Examples
from reprune_onnx.training.inputs import Inputs, on
from reprune_onnx.training.objective import Given, Objective

Scores = dict[str, Any]
"""``val_loss``, the mean loss that is trained, and ``val_…`` of all that the tally counts."""

Batches = Callable[[OnnxModule], Iterable[tuple[Inputs, Any]]]

_BATCH = 256


@dataclass(frozen=True)
class Judge:
    """Measures networks on the images of ``batches``, which ``images`` describes to the user.

    ``batches(module)`` yields this process's ``(x, target)``, on its device. Where the objective
    has a task, its tally counts what `evaluate` counts: beside labels where the images are
    ``labelled``, else beside the original's answers. With ``by_loss`` the loss decides which
    network is better, and not that number.
    """

    objective: Objective
    fabric: Fabric
    batches: Batches
    images: str
    labelled: bool = False
    by_loss: bool = False

    @torch.no_grad()
    def __call__(self, module: OnnxModule) -> Scores:
        """The scores of ``module``, over the images of all processes; it is left in eval mode."""
        module.eval()
        torch.manual_seed(0)  # a loss of one's own may draw
        tally = self._tally()
        sums = torch.zeros(2, dtype=torch.float64)
        for x, target in self.batches(module):
            given = self.objective(module, x, target)
            sums += torch.tensor([given.loss.item() * rows(x), rows(x)], dtype=torch.float64)
            if tally is not None:
                tally.add(*self._pair(given, target))
        if self.fabric.world_size > 1:
            reduced = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum")
            sums = torch.as_tensor(reduced).cpu()
            tally = None if tally is None else merged(tally)
        loss, n = sums.tolist()
        if not n:
            raise DataError(
                f"{self.images} do not fill one batch of the size that the file was exported for:"
                " give more --val images, or export it with a dynamic batch"
            )
        counted = {} if tally is None else tally.scores()
        return {"val_loss": loss / n, **{f"val_{key}": value for key, value in counted.items()}}

    def better(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
        """Whether scores ``a`` are better than ``b``.

        The task's own number decides, and the loss between equals. Where there are no labels, or
        with ``by_loss``, the loss decides: it measures the answers themselves, and not only how
        many of a few images are right.
        """
        return self.key(a) > self.key(b)

    def key(self, scores: Mapping[str, Any]) -> tuple[float, float]:
        """The key that `better` compares."""
        loss = scores["val_loss"]
        small = -loss if math.isfinite(loss) else -math.inf
        measure = self._measure
        counts = self.labelled and not self.by_loss
        return (measure.rank(_by_tally(scores)) if measure and counts else 0.0), small

    def said(self, scores: Mapping[str, Any]) -> str:
        """The scores in words: ``val 91.20 %``, ``val mean IoU 71.20 %``, ``val loss 0.0231``."""
        measure, loss = self._measure, f"val loss {scores['val_loss']:.4f}"
        if measure is None:
            return loss
        text = measure.said(_by_tally(scores))
        number = f"val {text}" if self.labelled else text
        return number if self.labelled and not self.by_loss else f"{number}  {loss}"

    @property
    def _measure(self) -> Measure | None:
        """The one number of the task, or of agreement in it."""
        goal = self.objective.goal
        if goal is None or not (self.labelled or goal.its):
            return None
        return goal.task.measure if self.labelled else goal.task.likeness

    def _tally(self) -> Tally | None:
        goal = self.objective.goal
        if goal is None or self._measure is None:
            return None
        return goal.task.tally(goal.terms.reading) if self.labelled else goal.task.agreement()

    def _pair(self, given: Given, target: Any) -> Pair:
        goal = self.objective.goal
        assert goal is not None
        if self.labelled:
            return goal.beside(given.outputs, target)
        return goal.alike(given.outputs, given.answers)


def _by_tally(scores: Mapping[str, Any]) -> Scores:
    """Scores under the names of the tally."""
    return {key.removeprefix("val_"): value for key, value in scores.items()}


def merged(tally: Tally) -> Tally:
    """The sum of the tallies of all processes."""
    each: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(each, tally)
    first: Tally = each[0]
    for other in each[1:]:
        first.merge(other)
    return first


def batches_of(examples: Examples, fabric: Fabric, size: int, workers: int) -> Batches:
    """The images of ``examples`` in order, shared out to the processes.

    ``size`` is a process's part of a batch in training: where the file was exported for batches of
    that size alone, or of another than 1, those are given, and what does not fill one is left out.
    """

    def batches(module: OnnxModule) -> Iterable[tuple[Inputs, Any]]:
        stated = module.mode.stated_batch
        exact = stated is not None and (stated > 1 or size == stated)
        per = stated if exact and stated is not None else _BATCH
        numbers = np.arange(fabric.global_rank, len(examples), fabric.world_size)
        order = [numbers[i : i + per] for i in range(0, len(numbers), per)]
        for x, y in examples.batches([o for o in order if not exact or len(o) == per], workers):
            yield on(x, fabric.device), None if y is None else y.to(fabric.device)

    return batches
