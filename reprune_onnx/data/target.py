"""What a model's image input asks of the data: layout, channels, size and type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reprune_onnx.errors import DataError
from reprune_onnx.shapes import Layout, image_layout
from reprune_onnx.types import Shape


@dataclass(frozen=True)
class Target:
    """The image input of a model; ``None`` is an extent that the model leaves open."""

    layout: Layout
    channels: int | None
    height: int | None
    width: int | None
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        c, h, w = (str(v or s) for v, s in zip(self._chw, "CHW", strict=True))
        return f"(N, {c}, {h}, {w})" if self.layout == "nchw" else f"(N, {h}, {w}, {c})"

    @property
    def _chw(self) -> tuple[int | None, int | None, int | None]:
        return self.channels, self.height, self.width

    def takes(self, h: int, w: int) -> bool:
        """Whether an image of this size goes in."""
        return self.height in (None, h) and self.width in (None, w)


def image_target(shape: Shape, dtype: np.dtype[Any]) -> Target:
    """Return what an input of this shape and type asks for; DataError if it takes no images."""
    if len(shape) != 4:
        raise DataError(
            f"the model's input has rank {len(shape)}, but image data has rank 4 (N, C, H, W); "
            "take a model with an image input"
        )
    layout = image_layout(shape)
    c, h, w = shape[1:] if layout == "nchw" else (shape[3], shape[1], shape[2])
    return Target(layout, c, h, w, dtype)
