"""The batches of one process: its part of each, as random views, on its device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.data.source import each_of, of_each
from reprune_onnx.errors import DataError
from reprune_onnx.training.augment import Views
from reprune_onnx.training.examples import Examples
from reprune_onnx.training.inputs import Inputs, on
from reprune_onnx.training.sampler import Sampler


class Feed(Protocol):
    """The batches of an epoch, from any step on, always the same ones."""

    @property
    def steps(self) -> int:
        """Steps per epoch."""

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Inputs, Any]]:
        """Yield this process's ``(x, target)`` of every step from ``start`` on."""


def seed_of(*parts: int) -> int:
    """One seed out of several numbers: the run's, the epoch, the step, the process."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class ImageFeed:
    """Batches of ``examples``.

    With ``mixup`` (α) they are pairs of images, and of numbers as labels or numbers of ``classes``.
    Raises DataError for an input of whole numbers, which has nothing between two of them.
    """

    examples: Examples
    sampler: Sampler
    views: Views
    device: torch.device
    workers: int = 0
    mixup: float = 0.0
    classes: int | None = None

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.sampler.steps

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Inputs, Tensor | None]]:
        """Yield this process's ``(x, y)`` of every step from ``start`` on."""
        s = self.sampler
        part = s.size // s.world
        mine = slice(s.rank * part, (s.rank + 1) * part)
        order = s.epoch(epoch, start)
        for k, (images, labels) in enumerate(self.examples.batches(order, self.workers), start):
            draw = torch.Generator().manual_seed(seed_of(s.seed, epoch, k))
            target = None if labels is None else labels.to(self.device)
            drawn = self.views.drawn(mine, s.size, draw)
            x, y = self.views.together(on(images, self.device), target, drawn)
            yield self._mixed(x, y, (s.seed, epoch, k))

    def _mixed(
        self, x: Inputs, y: Tensor | None, at: tuple[int, int, int]
    ) -> tuple[Inputs, Tensor | None]:
        """Each image with the one opposite in this process's part, in shares from Beta(α, α)."""
        if not self.mixup:
            return x, y
        share = float(np.random.default_rng([*at, 1]).beta(self.mixup, self.mixup))
        if not all(each.is_floating_point() for each in each_of(x)):
            raise DataError(
                f"--mixup mixes images, and {self.examples.name} holds whole numbers, such as"
                " tokens, which have no mixture; leave it out"
            )
        mixed = of_each(x, lambda each: share * each + (1 - share) * each.flip(0))
        if y is None or (self.classes is None and not y.is_floating_point()):
            return mixed, y
        soft = y if self.classes is None else F.one_hot(y, self.classes).float()
        return mixed, share * soft + (1 - share) * soft.flip(0)


@dataclass(frozen=True)
class StreamFeed:
    """The batches of your own function, as they come: each process takes every world-th.

    Of several inputs a batch has a dict of arrays by name, whose whole numbers stay such.

    ``skip`` batches at the beginning are left to others.
    """

    name: str
    function: Callable[[], Iterable[Any]]
    device: torch.device
    steps: int
    rank: int = 0
    world: int = 1
    skip: int = 0

    @classmethod
    def of(
        cls, name: str, function: Callable[[], Iterable[Any]], device: torch.device, place: Any
    ) -> StreamFeed:
        """Count the batches; ``place`` is (rank, world). DataError where there are too few."""
        rank, world = place
        n = sum(1 for _ in function())
        steps = n // world
        if not steps:
            few = "no batches" if not n else f"{n} batches for {world} processes"
            raise DataError(f"{name} yields {few}: yield at least one for each process")
        return cls(name, function, device, steps, rank, world)

    def split(self) -> tuple[StreamFeed, StreamFeed | None]:
        """The steps to train on, and the last tenth to measure on; None where there are too few."""
        held = self.steps // 10
        if not held:
            return self, None
        kept = self.steps - held
        return replace(self, steps=kept), replace(self, steps=held, skip=kept * self.world)

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Inputs, Any]]:
        """Yield this process's ``(x, target)`` of every step from ``start`` on."""
        del epoch
        first = self.skip + self.rank + start * self.world
        last = self.skip + self.steps * self.world
        for item in itertools.islice(self.function(), first, last, self.world):
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise DataError(
                    f"{self.name} yields {_described(item)} as a batch; with --loss, yield"
                    " (x, target)"
                )
            x, target = item
            one = None if isinstance(x, dict) else torch.as_tensor(x).float()
            given: Inputs = of_each(x, _tensor) if one is None else one
            yield on(given, self.device), _on(target, self.device)


def _described(item: Any) -> str:
    """A description of a batch that is no pair."""
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    shape = getattr(item, "shape", None)
    return type(item).__name__ if shape is None else f"an array of shape {tuple(shape)}"


def _tensor(array: Any) -> Tensor:
    """One input of several: numbers in float32, and whole numbers as they are."""
    tensor = torch.as_tensor(array)
    return tensor.float() if tensor.is_floating_point() else tensor


def _on(value: Any, device: torch.device) -> Any:
    """Tensors and arrays, also within lists and dicts, on the device."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value).to(device)
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: _on(v, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_on(v, device) for v in value)
    return value
