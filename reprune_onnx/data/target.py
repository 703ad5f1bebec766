"""The needs of a model's inputs: images of a size, or arrays of a shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reprune_onnx.errors import DataError
from reprune_onnx.shapes import IMAGE_CHANNELS, Layout, image_layout
from reprune_onnx.types import Shape

IMAGE_RANK = 4  # of images (N, C, H, W) or (N, H, W, C)


@dataclass(frozen=True)
class DataInput:
    """An input of a model that data goes to; ``shape`` has None for a symbolic extent.

    A ``shape`` of () is one that the file does not state.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"'{self.name}' {self.stated} {self.dtype}"

    @property
    def stated(self) -> str:
        """The shape as messages show it, with N for the samples of an open batch."""
        first = str(self.shape[0] or "N") if self.shape else "?"
        rest = "".join(f", {extent or '?'}" for extent in self.shape[1:])
        return f"({first}{rest or ','})"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape goes in, a row per sample."""
        same = (s in (None, n) for s, n in zip(self.shape[1:], shape[1:], strict=False))
        return len(shape) == len(self.shape) and all(same)

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raise DataError where an array ``name`` of this shape does not go in."""
        if not self.takes(shape):
            raise DataError(
                f"{name}: an array of shape {shape}, but the model takes {self}; give a row for"
                " each sample"
            )


@dataclass(frozen=True)
class ArrayTarget:
    """The inputs of a model that takes no images, or has several inputs: arrays as they are."""

    inputs: tuple[DataInput, ...]
    layout: Layout = "nchw"

    def __str__(self) -> str:
        return ", ".join(map(str, self.inputs))

    def takes_sample(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether arrays of these shapes are one sample, without the axis of the batch."""
        return len(shapes) == len(self.inputs) and all(
            i.takes((1, *shape)) for i, shape in zip(self.inputs, shapes, strict=True)
        )

    def may_be(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be what the one input takes."""
        return len(self.inputs) == 1 and self.inputs[0].takes(shape)


@dataclass(frozen=True)
class ImageTarget:
    """The image input of a model; ``None`` is an extent that the model leaves open."""

    layout: Layout
    channels: int | None
    height: int | None
    width: int | None
    dtype: np.dtype[Any]
    name: str = ""

    def __str__(self) -> str:
        c, h, w = (str(v or s) for v, s in zip(self._chw, "CHW", strict=True))
        return f"(N, {c}, {h}, {w})" if self.layout == "nchw" else f"(N, {h}, {w}, {c})"

    @property
    def _chw(self) -> tuple[int | None, int | None, int | None]:
        return self.channels, self.height, self.width

    def takes(self, h: int, w: int) -> bool:
        """Whether an image of this size goes in."""
        return self.height in (None, h) and self.width in (None, w)

    def takes_sample(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether the array is one image, channels first or last, without the axis of a batch."""
        usual = IMAGE_CHANNELS if self.channels is None else (self.channels,)
        return all(len(s) == IMAGE_RANK - 1 and (s[0] in usual or s[2] in usual) for s in shapes)

    def check_rank(self, shape: tuple[int, ...], name: str) -> None:
        """Raise DataError where an array of this shape holds no images."""
        if len(shape) != IMAGE_RANK:
            raise DataError(
                f"{name}: an array of shape {shape} has rank {len(shape)}, not {IMAGE_RANK}, but"
                f" the model takes {self}; images are (N, C, H, W) or (N, H, W, C), gray ones too,"
                " and one alone (C, H, W)"
            )

    def may_be(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be images."""
        return len(shape) == IMAGE_RANK


def target_of(inputs: Sequence[DataInput]) -> ImageTarget | ArrayTarget:
    """Return what a model's inputs ask for: images where there is one input, of rank 4.

    Raises DataError for an input whose rank the file does not state.
    """
    unknown = [i.name for i in inputs if not i.shape]
    if unknown:
        raise DataError(
            f"the file states no shape of input '{unknown[0]}'; give it, as in"
            f" --input-shape {unknown[0]}=1,3,224,224"
        )
    if len(inputs) == 1 and len(inputs[0].shape) == IMAGE_RANK:
        return replace(image_target(inputs[0].shape, inputs[0].dtype), name=inputs[0].name)
    return ArrayTarget(tuple(inputs))


def image_target(shape: Shape, dtype: np.dtype[Any]) -> ImageTarget:
    """Return what an input of this shape and type asks for; DataError if it takes no images."""
    if len(shape) != IMAGE_RANK:
        raise DataError(
            f"the model's input has rank {len(shape)}, but image data has rank 4 (N, C, H, W); "
            "take a model with an image input"
        )
    layout = image_layout(shape)
    c, h, w = shape[1:] if layout == "nchw" else (shape[3], shape[1], shape[2])
    return ImageTarget(layout, c, h, w, dtype)
