"""The inputs of a network in PyTorch: one tensor, or one for each of several names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from reprune_onnx.data.source import each_of, of_each

Inputs: TypeAlias = Tensor | dict[str, Tensor]
"""A row per sample in each tensor; `data.source.each_of`, `rows` and `of_each` take these too."""


def picked(x: Inputs, at: Tensor) -> Inputs:
    """The samples with the numbers ``at (b,)``."""
    return of_each(x, lambda tensor: tensor[at])


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The samples of all ``batches``, one behind the other.

    >>> joined([{"a": torch.zeros(2, 1)}, {"a": torch.ones(1, 1)}])["a"].flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    first = batches[0]
    if isinstance(first, dict):
        return {name: torch.cat([_named(batch, name) for batch in batches]) for name in first}
    return torch.cat([each_of(batch)[0] for batch in batches])


def on(x: Inputs, device: torch.device) -> Inputs:
    """The same on a device."""
    return of_each(x, lambda tensor: tensor.to(device))


def device_of(x: Inputs) -> torch.device:
    """Where the samples are."""
    return each_of(x)[0].device


def _named(batch: Inputs, name: str) -> Tensor:
    assert isinstance(batch, dict), "all batches are of the same inputs"
    return batch[name]
