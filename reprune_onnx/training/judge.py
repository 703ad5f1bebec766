"""How good a network is, on images that it is not trained on, and which of two is the better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprune_onnx.errors import DataError
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.examples import Examples
from reprune_onnx.training.objective import Counted, Objective

Scores = dict[str, float]
"""``val_loss``, the mean loss that is trained; ``val_top1`` or ``val_agreement`` in percent."""

Batches = Callable[[OnnxModule], Iterable[tuple[Tensor, Any]]]

_BATCH = 256
_NAMES = {"val_top1": "val", "val_agreement": "agreement"}


@dataclass(frozen=True)
class Judge:
    """Measures networks on the images of ``batches``, which ``images`` describes to the user.

    ``batches(module)`` yields this process's ``(x, target)``, on its device. ``counted`` is what
    every image is counted for, None where only the loss tells.
    """

    objective: Objective
    fabric: Fabric
    batches: Batches
    images: str
    counted: Counted | None

    @torch.no_grad()
    def __call__(self, module: OnnxModule) -> Scores:
        """The scores of ``module``, over the images of all processes; it is left in eval mode."""
        module.eval()
        torch.manual_seed(0)  # a loss of one's own may draw
        sums = torch.zeros(3, dtype=torch.float64)
        for x, target in self.batches(module):
            loss, right = self.objective(module, x, target)
            sums += torch.tensor([loss.item() * len(x), right.item(), len(x)], dtype=torch.float64)
        if self.fabric.world_size > 1:
            reduced = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum")
            sums = torch.as_tensor(reduced).cpu()
        loss, right, n = sums.tolist()
        if not n:
            raise DataError(
                f"{self.images} do not fill one batch of the size that the file was exported for:"
                " give more --val images, or export it with a dynamic batch"
            )
        scores = {"val_loss": loss / n}
        if self.counted is not None:
            scores[f"val_{self.counted}"] = round(100 * right / n, 4)
        return scores

    def better(self, a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        """Whether scores ``a`` are better than ``b``.

        Accuracy decides, and the loss between equals. Of agreement with the original, which counts
        few images, the loss decides: it measures the answers themselves.
        """
        return self.key(a) > self.key(b)

    def key(self, scores: Mapping[str, float]) -> tuple[float, float]:
        """What `better` compares."""
        loss = scores["val_loss"]
        small = -loss if math.isfinite(loss) else -math.inf
        return (scores["val_top1"] if self.counted == "top1" else 0.0), small

    def said(self, scores: Mapping[str, float]) -> str:
        """The scores in words: ``val 91.20 %``, or ``val loss 0.0231``.

        >>> Judge(None, None, None, "", "top1").said({"val_loss": 0.5, "val_top1": 91.2})
        'val 91.20 %'
        """
        if self.counted is None:
            return f"val loss {scores['val_loss']:.4f}"
        key = f"val_{self.counted}"
        text = f"{_NAMES[key]} {scores[key]:.2f} %"
        return text if self.counted == "top1" else f"{text}  val loss {scores['val_loss']:.4f}"


def batches_of(examples: Examples, fabric: Fabric, size: int, workers: int) -> Batches:
    """The images of ``examples`` in order, shared out to the processes.

    ``size`` is a process's part of a batch in training: where the file was exported for batches of
    that size alone, or of another than 1, those are given, and what does not fill one is left out.
    """

    def batches(module: OnnxModule) -> Iterable[tuple[Tensor, Any]]:
        stated = module.mode.stated_batch
        exact = stated is not None and (stated > 1 or size == stated)
        per = stated if exact and stated is not None else _BATCH
        numbers = np.arange(fabric.global_rank, len(examples), fabric.world_size)
        order = [numbers[i : i + per] for i in range(0, len(numbers), per)]
        for x, y in examples.batches([o for o in order if not exact or len(o) == per], workers):
            yield x.to(fabric.device), None if y is None else y.to(fabric.device)

    return batches
