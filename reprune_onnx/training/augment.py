"""Random views of a batch of images, drawn for all processes alike and applied to one's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.training.settings import Augment

_SHIFT = 8  # a crop moves by up to this part of a side: 4 pixels of 32
_LEAST_AREA = 0.35  # of the image, that a resized crop shows


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
        how = data.preprocess
        n = data.target.channels or max(len(how.mean), len(how.std), 1)
        mean = torch.tensor(how.mean or (0.0,)).expand(n)
        std = torch.tensor(how.std or (1.0,)).expand(n)
        return cls(kind, -mean / std, data.target.layout == "nhwc")

    def __call__(self, x: Tensor, mine: slice, batch: int, draw: torch.Generator) -> Tensor:
        """Views of ``x``, which are the images ``mine`` of a batch of ``batch``."""
        if self.kind == "none":
            return x
        x = x.movedim(-1, 1) if self.last else x
        if self.kind in ("crop", "crop-flip"):
            x = self._crop(x, torch.rand(2, batch, generator=draw)[:, mine].to(x.device))
        if self.kind == "resized-crop":
            x = _resized(x, torch.rand(4, batch, generator=draw)[:, mine].to(x.device))
        if self.kind != "crop":
            flip = (torch.rand(batch, generator=draw)[mine] < 0.5).to(x.device)
            x = torch.where(flip[:, None, None, None], x.flip(3), x)
        return x.movedim(1, -1) if self.last else x

    def _crop(self, x: Tensor, u: Tensor) -> Tensor:
        """Shift every image, over a border of black."""
        b, c, h, w = x.shape
        ph, pw = max(1, h // _SHIFT), max(1, w // _SHIFT)
        black = self.black.to(x.device)[:, None, None]
        padded = F.pad(x - black, [pw, pw, ph, ph]) + black
        top = (u[0] * (2 * ph + 1)).long()[:, None] + torch.arange(h, device=x.device)
        left = (u[1] * (2 * pw + 1)).long()[:, None] + torch.arange(w, device=x.device)
        image = torch.arange(b, device=x.device)[:, None, None, None]
        channel = torch.arange(c, device=x.device)[None, :, None, None]
        return padded[image, channel, top[:, None, :, None], left[:, None, None, :]]


def _resized(x: Tensor, u: Tensor) -> Tensor:
    """A part of every image, of random area, shape (3:4 to 4:3) and place, at the full size."""
    area = _LEAST_AREA + (1 - _LEAST_AREA) * u[0]
    shape = torch.exp((2 * u[1] - 1) * torch.log(torch.tensor(4 / 3)))
    h, w = (area / shape).sqrt().clamp(max=1), (area * shape).sqrt().clamp(max=1)
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 1, 1] = w, h
    theta[:, 0, 2], theta[:, 1, 2] = (1 - w) * (2 * u[2] - 1), (1 - h) * (2 * u[3] - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
