"""Strides, dilations and padding of windows, as Conv and the pools share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Node


@dataclass(frozen=True)
class Window:
    """The window of a Conv or pool with ``len(kernel)`` image axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int]) -> Window:
        """The attributes of ``node``, with their defaults."""
        n = len(kernel)
        return cls(
            tuple(kernel),
            tuple(node.attr("strides") or [1] * n),
            tuple(node.attr("dilations") or [1] * n),
            tuple(node.attr("pads") or [0] * (2 * n)),
            node.attr("auto_pad", "NOTSET"),
        )

    @property
    def reach(self) -> list[int]:
        """The extent of the window, holes included."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def padding(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Padding before and after each axis of an image of ``sizes``."""
        n = len(self.kernel)
        if self.auto_pad in ("NOTSET", ""):
            return list(self.pads[:n]), list(self.pads[n:])
        if self.auto_pad == "VALID":
            return [0] * n, [0] * n
        total = [
            max(0, (-(-size // s) - 1) * s + reach - size)
            for size, s, reach in zip(sizes, self.strides, self.reach, strict=True)
        ]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        return (large, small) if self.auto_pad == "SAME_LOWER" else (small, large)

    def overhang(self, sizes: Sequence[int]) -> list[int]:
        """The padding that ``ceil_mode`` adds after each axis of a padded image of ``sizes``.

        A window that would start behind the image and its padding before it is left out.
        """
        begin, end = self.padding(sizes)
        extra = []
        for i, size in enumerate(sizes):
            s, padded = self.strides[i], size + begin[i] + end[i]
            n_out = -(-(padded - self.reach[i]) // s) + 1
            if (n_out - 1) * s >= size + begin[i]:
                n_out -= 1
            extra.append(max(0, (n_out - 1) * s + self.reach[i] - padded))
        return extra


def pad_image(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad (or, where negative, crop) the image axes, which are the last ``len(begin)``."""
    if not any(begin) and not any(end):
        return x
    pairs = [p for b, e in zip(reversed(begin), reversed(end), strict=True) for p in (b, e)]
    return F.pad(x, pairs, value=value)
