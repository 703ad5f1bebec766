"""Images refined by gradient: until a network's statistics on them are those that it states.

A BatchNormalization states the mean μ and variance σ² of what it read in training. Images are moved
by Adam so that the mean m and variance v of its input on them come near, the first term of
DeepInversion (Yin et al. 2020, arXiv 1912.08795):

    misfit = mean over nodes of the mean over channels of KL(N(m, v) ‖ N(μ, σ²))

    KL = ½·(v/σ² + (m - μ)²/σ² - 1 - ln(v/σ²))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.training.bridge.build import torch_module
from reprune_onnx.types import Floats, Model
from reprune_onnx.watch import Progress

_STEPS = 60  # of Adam for each image
_RATE = 0.005 * 255  # of Adam, falling to 0 by half a cosine
_BATCH, _NUMBERS = 16, 1 << 20  # images whose statistics are taken together, and numbers in them


@dataclass(frozen=True)
class Stated:
    """The mean and variance (c,) that a BatchNormalization states of the tensor ``name``."""

    name: str
    mean: Tensor
    variance: Tensor
    epsilon: float

    def misfit(self, y: Tensor) -> Tensor:
        """The mean divergence of the channels' statistics in y (b, c, …) from these."""
        axes = (0, *range(2, y.ndim))
        mean = y.mean(axes)
        variance = ((y - mean.reshape(1, -1, *[1] * (y.ndim - 2))) ** 2).mean(axes)
        stated = self.variance + self.epsilon
        ratio = (variance + self.epsilon) / stated
        return ((ratio + (mean - self.mean) ** 2 / stated - 1 - ratio.log()) / 2).mean()


class Refiner:
    """Moves images of 0 to 255 that a model is fed as ``gain``·x + ``offset``, both (1, c, 1, …).

    ``norms`` are the BatchNormalizations of ``graph`` whose statistics count. Raises ModelError,
    naming the node, where the PyTorch bridge lacks an op.
    """

    def __init__(self, graph: Graph, norms: Sequence[Op], gain: Floats, offset: Floats) -> None:
        self._stated = [_stated(op, graph) for op in norms]
        names = list(dict.fromkeys(stated.name for stated in self._stated))
        self._module = torch_module(Model(graph.proto), names).requires_grad_(False)
        self._gain, self._offset = (
            torch.from_numpy(part.astype(np.float32)) for part in (gain, offset)
        )

    def refine(
        self, x: NDArray[np.uint8], progress: Progress | None = None
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Return the images x (n, …) refined, and the misfit before and after.

        Groups of images are moved by themselves. One that comes no nearer stays as it was.
        """
        size = max(1, min(_BATCH, _NUMBERS // x[0].size))
        groups = np.array_split(x, math.ceil(len(x) / size))
        parts, misfits, done = [], [], 0
        for group in groups:
            part, before, after = self._group(group)
            parts.append(part)
            misfits.append((len(group) * before, len(group) * after))
            done += len(group)
            if progress is not None:
                progress("refining images", done, len(x))
        before, after = np.sum(misfits, axis=0) / len(x)
        return np.concatenate(parts), float(before), float(after)

    def _group(self, x: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float, float]:
        first = torch.from_numpy(x.astype(np.float32))
        moved = first.clone().requires_grad_(True)
        adam = torch.optim.Adam([moved], lr=_RATE)
        before = self._value(first)
        for step in range(_STEPS):
            adam.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / _STEPS)) / 2
            adam.zero_grad()
            self._misfit(moved).backward()
            adam.step()
            with torch.no_grad():
                moved.clamp_(0, 255)
        last = moved.detach().round()
        after = self._value(last)
        if not after < before:
            return x, before, before
        return last.numpy().astype(np.uint8), before, after

    def _value(self, x: Tensor) -> float:
        with torch.no_grad():
            return float(self._misfit(x))

    def _misfit(self, x: Tensor) -> Tensor:
        made = self._module(self._gain * x + self._offset)
        tensors = made if isinstance(made, tuple) else (made,)
        by_name = dict(zip(self._module.output_names, tensors, strict=True))
        return torch.stack([s.misfit(by_name[s.name]) for s in self._stated]).mean()


def _stated(op: Op, graph: Graph) -> Stated:
    mean, variance = (
        torch.from_numpy(graph.array(op.inputs[k]).astype(np.float32)) for k in (3, 4)
    )
    return Stated(op.inputs[0], mean, variance, float(op.attrs.get("epsilon", 1e-5)))
