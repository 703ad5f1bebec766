"""Random views of a batch of images, drawn for all processes alike and applied to one's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.source import each_of
from reprune_onnx.data.target import ImageTarget
from reprune_onnx.errors import DataError
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.training.settings import Augment

_SHIFT = 8  # a crop moves by up to this part of a side: 4 pixels of 32
_SIDES = {3: {0: (1, 2)}, 4: {1: (2, 3), 3: (1, 2)}}  # of maps by rank and the axis of channels
_LEAST_AREA = 0.35  # of the image, that a resized crop shows


@dataclass(frozen=True)
class Drawn:
    """The random numbers of the views of b images: shifts (2, b), boxes (4, b), flips (b,)."""

    shift: Tensor | None
    box: Tensor | None
    flip: Tensor | None


@dataclass(frozen=True)
class Views:
    """Draws views of images (b, c, h, w), or (b, h, w, c) with ``last``.

    ``black`` (c,) is what a black pixel becomes: the padding of a crop.
    """

    kind: Augment
    black: Tensor
    last: bool = False

    @classmethod
    def of(cls, kind: Augment, data: Dataset) -> Views:
        """The views of images that ``data`` preprocesses."""
        how, target = data.preprocess, data.target
        if not isinstance(target, ImageTarget):
            if kind != "none":
                raise DataError(
                    f"--augment {kind} moves images, but the model takes {target}; leave it out"
                )
            return cls(kind, torch.zeros(1))
        n = target.channels or max(len(how.mean), len(how.std), 1)
        mean = torch.tensor(how.mean or (0.0,)).expand(n)
        std = torch.tensor(how.std or (1.0,)).expand(n)
        return cls(kind, -mean / std, target.layout == "nhwc")

    def __call__(self, x: Tensor, mine: slice, batch: int, draw: torch.Generator) -> Tensor:
        """Views of ``x``, which are the images ``mine`` of a batch of ``batch``."""
        return each_of(self.together(x, None, self.drawn(mine, batch, draw))[0])[0]

    def drawn(self, mine: slice, batch: int, draw: torch.Generator) -> Drawn:
        """Draw the random numbers for the views of the images ``mine`` of a batch of ``batch``."""
        shift = box = flip = None
        if self.kind in ("crop", "crop-flip"):
            shift = torch.rand(2, batch, generator=draw)[:, mine]
        if self.kind == "resized-crop":
            box = torch.rand(4, batch, generator=draw)[:, mine]
        if self.kind not in ("none", "crop"):
            flip = torch.rand(batch, generator=draw)[mine] < 0.5
        return Drawn(shift, box, flip)

    def together(self, x: Inputs, y: Tensor | None, drawn: Drawn) -> tuple[Inputs, Tensor | None]:
        """Views of images, and of what belongs to them if it is a map of their pixels.

        What a crop shows beyond a map's border is not known: -1 of class numbers, NaN of numbers.
        Raises DataError where a crop of the images is none of their maps.
        """
        if self.kind == "none" or isinstance(x, dict):  # several inputs: `of` refused views of them
            return x, y
        x = x.movedim(-1, 1) if self.last else x
        how = None if y is None else _channel_axis(y, x)
        if y is not None and how is not None:
            if drawn.shift is not None and _sides(y, how) != x.shape[2:]:
                raise DataError(
                    f"targets of {tuple(_sides(y, how))} pixels, images of {tuple(x.shape[2:])}:"
                    " --augment crop moves both alike; use flip or resized-crop"
                )
            maps = y[:, None] if how == 0 else y.movedim(how, 1)
            unknown = torch.tensor([math.nan if y.is_floating_point() else -1.0])
            moved = _moved(maps.float(), unknown, drawn, nearest=not y.is_floating_point())
            back = moved[:, 0] if how == 0 else moved.movedim(1, how)
            y = back if y.is_floating_point() else back.long()
        x = _moved(x, self.black, drawn)
        return (x.movedim(1, -1) if self.last else x), y


def _moved(x: Tensor, black: Tensor, drawn: Drawn, nearest: bool = False) -> Tensor:
    if drawn.shift is not None:
        x = _cropped(x, black, drawn.shift.to(x.device))
    if drawn.box is not None:
        x = _resized(x, drawn.box.to(x.device), "nearest" if nearest else "bilinear")
    if drawn.flip is not None:
        x = torch.where(drawn.flip.to(x.device)[:, None, None, None], x.flip(3), x)
    return x


def _channel_axis(y: Tensor, x: Tensor) -> int | None:
    """Where the channels of a map stand, whose sides are as those of the images (b, c, h, w).

    0: it has none, (b, h, w). None: ``y`` is no map.
    """
    h, w = x.shape[2:]
    for axis, (top, left) in _SIDES.get(y.ndim, {}).items():
        if y.shape[top] * w == y.shape[left] * h:
            return axis
    return None


def _sides(y: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(y.shape) if i not in (0, axis))


def _cropped(x: Tensor, black: Tensor, u: Tensor) -> Tensor:
    """Shift every image, over a border of black."""
    b, c, h, w = x.shape
    ph, pw = max(1, h // _SHIFT), max(1, w // _SHIFT)
    padded = black.to(x.device)[:, None, None].expand(b, c, h + 2 * ph, w + 2 * pw).clone()
    padded[:, :, ph : ph + h, pw : pw + w] = x
    top = (u[0] * (2 * ph + 1)).long()[:, None] + torch.arange(h, device=x.device)
    left = (u[1] * (2 * pw + 1)).long()[:, None] + torch.arange(w, device=x.device)
    image = torch.arange(b, device=x.device)[:, None, None, None]
    channel = torch.arange(c, device=x.device)[None, :, None, None]
    return padded[image, channel, top[:, None, :, None], left[:, None, None, :]]


def _resized(x: Tensor, u: Tensor, mode: str) -> Tensor:
    """A part of every image, of random area, shape (3:4 to 4:3) and place, at the full size."""
    area = _LEAST_AREA + (1 - _LEAST_AREA) * u[0]
    shape = torch.exp((2 * u[1] - 1) * torch.log(torch.tensor(4 / 3)))
    h, w = (area / shape).sqrt().clamp(max=1), (area * shape).sqrt().clamp(max=1)
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 1, 1] = w, h
    theta[:, 0, 2], theta[:, 1, 2] = (1 - w) * (2 * u[2] - 1), (1 - h) * (2 * u[3] - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode, padding_mode="reflection", align_corners=False)
