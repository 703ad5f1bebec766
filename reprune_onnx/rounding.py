"""The widths that suit a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reprune_onnx.types import Ints


@dataclass(frozen=True)
class Rounding:
    """Layers keep a multiple of ``multiple``, or of ``narrow`` where they have less than two.

    A layer may always stay whole, whatever its width.
    """

    multiple: int = 1
    narrow: int | None = None

    def __bool__(self) -> bool:
        """Whether anything is rounded."""
        return self.multiple > 1

    def choices(self, n: int, least: int) -> Ints:
        """Return the numbers from ``least`` to ``n`` that ``n`` channels may become, ascending.

        >>> Rounding(16).choices(72, 1)
        array([16, 32, 48, 64, 72])
        >>> Rounding(32, narrow=8).choices(24, 10)
        array([16, 24])
        """
        import numpy as np

        values = np.arange(min(least, n), n + 1)
        allowed: Ints = values[(values % self.step(n) == 0) | (values == n)]
        return allowed

    def step(self, n: int) -> int:
        """Return what a layer of ``n`` channels keeps a multiple of."""
        return self.multiple if self.narrow is None or n >= 2 * self.multiple else self.narrow
