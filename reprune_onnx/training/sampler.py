"""Which images make which batch, in which process: a pure function of the seed and the epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.errors import UsageError
from reprune_onnx.types import Ints


@dataclass(frozen=True)
class Sampler:
    """Batches of ``batch_size`` of ``n`` images, shared out among ``world`` processes.

    An epoch is a permutation; what does not fill a batch at its end is left out, and has its turn
    in another epoch. With fewer images than a batch, all of them are one. Raises UsageError where a
    batch cannot be shared out equally.
    """

    n: int
    batch_size: int
    rank: int = 0
    world: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size % self.world:
            raise UsageError(
                f"a batch of {self.size} images cannot be shared by {self.world} processes: give a"
                " multiple as --batch-size"
            )

    @property
    def size(self) -> int:
        """The images of one batch, of all processes."""
        return min(self.batch_size, self.n)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.n // self.size

    def epoch(self, epoch: int, start: int = 0) -> list[Ints]:
        """This process's index arrays of every batch from ``start`` on.

        >>> parts = [Sampler(6, 4, rank=r, world=2).epoch(0)[0].tolist() for r in (0, 1)]
        >>> [len(part) for part in parts], len(set(parts[0] + parts[1]))
        ([2, 2], 4)
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        part = self.size // self.world
        begin = self.rank * part
        return [
            order[k * self.size + begin : k * self.size + begin + part]
            for k in range(start, self.steps)
        ]
