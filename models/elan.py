"""A classifier of ELAN and CSP stages, as in YOLOv7, with random weights: an architecture to prune.

``python -m models.elan -o FILE`` (needs torch) writes it. Input ``images`` (N, 3, H, W), output
``logits`` (N, 10).

What is in it, for a tool that follows channels: two parallel 1x1 convolutions, the second followed
by a stack of 3x3 ones of which every other output is kept, all concatenated (ELAN); two such blocks
in parallel whose outputs are added (E-ELAN); downsampling by a max pool beside a strided
convolution, concatenated (MP); and two stages that split one convolution's channels, send one part
through residual bottlenecks and concatenate both (CSP): one in halves by Slice, one in unequal
parts by Split.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.yolo import Bottleneck, ConvNormAct, channels_at, run

WIDTH = 0.0625
CLASSES = 10
CHANNELS = (64, 128, 256, 512)  # behind the stem and the three downsamplings at width 1
PAIRS = 2  # pairs of 3x3 convolutions in an ELAN block


class Elan(nn.Module):
    """Two 1x1 convolutions and the second output of every pair of 3x3 ones, concatenated."""

    def __init__(self, n_in: int, n: int, n_out: int) -> None:
        super().__init__()
        self.aside = ConvNormAct(n_in, n)
        self.entry = ConvNormAct(n_in, n)
        self.pairs = nn.ModuleList(
            nn.Sequential(ConvNormAct(n, n, 3), ConvNormAct(n, n, 3)) for _ in range(PAIRS)
        )
        self.exit = ConvNormAct((2 + PAIRS) * n, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h, w)."""
        kept = [self.aside(x), self.entry(x)]
        for pair in self.pairs:
            kept.append(pair(kept[-1]))
        output: Tensor = self.exit(torch.cat(kept[::-1], 1))
        return output


class TwinElan(nn.Module):
    """E-ELAN: two ELAN blocks of their own weights on one input, added."""

    def __init__(self, n_in: int, n: int, n_out: int) -> None:
        super().__init__()
        self.first = Elan(n_in, n, n_out)
        self.second = Elan(n_in, n, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h, w)."""
        output: Tensor = self.first(x) + self.second(x)
        return output


class Down(nn.Module):
    """MP: a max pool and a convolution with stride 2 side by side, concatenated."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        half = n_out // 2
        self.pool = nn.MaxPool2d(2)
        self.pooled = ConvNormAct(n_in, half)
        self.entry = ConvNormAct(n_in, half)
        self.strided = ConvNormAct(half, half, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h / 2, w / 2)."""
        return torch.cat([self.strided(self.entry(x)), self.pooled(self.pool(x))], 1)


class Csp(nn.Module):
    """Of one convolution's channels the first ``n_past`` pass by, the others go through blocks."""

    def __init__(self, n: int, n_past: int, sliced: bool) -> None:
        super().__init__()
        self.sizes = (n_past, n - n_past)
        self.sliced = sliced
        self.entry = ConvNormAct(n, n, 3)
        self.steps = nn.Sequential(*(Bottleneck(n - n_past, shortcut=True) for _ in range(2)))
        self.exit = ConvNormAct(n, n)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n, h, w) to the same shape."""
        x = self.entry(x)
        if self.sliced:
            past, through = x[:, : self.sizes[0]], x[:, self.sizes[0] :]
        else:
            past, through = x.split(self.sizes, 1)
        output: Tensor = self.exit(torch.cat([past, self.steps(through)], 1))
        return output


class Backbone(nn.Module):
    """Stem, ELAN, E-ELAN and two CSP stages at strides 2, 4, 8 and 16."""

    def __init__(self, n: list[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormAct(3, n[0], 3), ConvNormAct(n[0], n[0], 3, 2))
        self.elan = Elan(n[0], n[0], n[1])
        self.down1 = Down(n[1], n[1])
        self.twin = TwinElan(n[1], n[0], n[2])
        self.down2 = Down(n[2], n[2])
        self.sliced = Csp(n[2], n[2] // 2, sliced=True)
        self.down3 = Down(n[2], n[3])
        self.split = Csp(n[3], n[3] // 4, sliced=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to (N, n[3], H / 16, W / 16)."""
        x = self.twin(self.down1(self.elan(self.stem(x))))
        return self.split(self.down3(self.sliced(self.down2(x))))


class Classifier(nn.Module):
    """The backbone, global average pool and a linear layer."""

    def __init__(self, width: float = WIDTH) -> None:
        super().__init__()
        n = [channels_at(width, k) for k in CHANNELS]
        self.backbone = Backbone(n)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(n[3], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, CLASSES)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.backbone(images))))
        return logits


if __name__ == "__main__":
    run(lambda width, _: Classifier(width), "logits", WIDTH)
