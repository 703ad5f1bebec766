"""One node of the graph and its known inputs, from which a PyTorch function is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.errors import ModelError

Args = tuple["Tensor | None", ...]
Function = Callable[..., Any]
"""Tensors in, a tensor or a tuple of tensors out; an input that is not given is None."""


@dataclass
class Mode:
    """The state that a module's functions share: whether it trains, and the batch it is given.

    ``stated_batch`` is the batch size that the file fixes, None where it is open; ``batch`` is that
    of the input at hand. ``synchronize``: batch statistics are those of all processes.
    ``keep_statistics``: BatchNormalization normalises with the running ones in training too.
    ``drops``: Dropout drops in training.
    """

    training: bool = False
    drops: bool = True
    keep_statistics: bool = False
    synchronize: bool = False
    stated_batch: int | None = None
    batch: int | None = None

    def scaled(self, extents: list[int], n: int) -> list[int]:
        """Extents written for the file's batch, for a tensor whose first axis has ``n``.

        >>> Mode(stated_batch=1, batch=8).scaled([1, -1], 8)
        [8, -1]
        """
        other = self.stated_batch not in (None, self.batch)
        if other and extents and extents[0] == self.stated_batch and n == self.batch:
            return [n, *extents[1:]]
        return extents


@dataclass(frozen=True)
class Node:
    """One node. ``constants[i]`` is input i where it is a constant that is not trained.

    ``branches`` compute the bodies of an If, from what these read of the graph around them.
    """

    op: Op
    constants: Mapping[int, NDArray[Any]]
    mode: Mode = field(default_factory=Mode)
    used_outputs: int = 1
    branches: tuple[Function, ...] = ()

    def attr(self, name: str, default: Any = None) -> Any:
        """Attribute ``name``; text as str."""
        value = self.op.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def integers(self, args: Args, i: int, name: str = "") -> list[int] | None:
        """Input i as integers, or else attribute ``name``; None where neither is given."""
        values = self._values(args, i, name)
        return None if values is None else [int(v) for v in np.atleast_1d(values)]

    def numbers(self, args: Args, i: int, name: str = "") -> list[float] | None:
        """Input i as numbers, or else attribute ``name``; None where neither is given."""
        values = self._values(args, i, name)
        return None if values is None else [float(v) for v in np.atleast_1d(values)]

    def number(self, args: Args, i: int, name: str = "") -> float | None:
        """Input i as one number, or else attribute ``name``; None where neither is given."""
        values = self.numbers(args, i, name)
        return None if not values else values[0]

    def _values(self, args: Args, i: int, name: str) -> Any:
        if i in self.constants:
            return self.constants[i].reshape(-1)
        given = args[i] if i < len(args) else None
        if given is not None:
            return given.detach().reshape(-1).cpu().numpy()
        return self.attr(name) if name else None

    def refuse(self, what: str) -> ModelError:
        """An error that names the node."""
        return ModelError(
            f"{self.op.title}: {what}, which the PyTorch bridge does not have, so the model cannot"
            " be trained here; `prune` and `recover` work without it"
        )


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front."""
    return [axis_of(a, rank) for a in axes]
