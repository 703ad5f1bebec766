"""A small hybrid for 32x32 images: ConvNeXt blocks, then attention, with LayerNorm throughout.

The residual stream of every stage passes a LayerNorm over its channels, as in ConvNeXt (Liu et al.
2022), and the last stage has attention in place of the depthwise convolution (Vaswani et al. 2017).
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (24, 48, 96)  # channels of the three stages, at 16x16, 8x8 and 4x4
BLOCKS = 2
HEADS = 4


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (N, c, h, w), which it moves last and back."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c, h, w) to the same shape."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """depthwise 7x7, LayerNorm, linear to 4c, GELU, linear back, plus the shortcut."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.fc1 = nn.Linear(c, 4 * c)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c, h, w) to the same shape."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.fc2(self.act(self.fc1(y)))
        return x + y.permute(0, 3, 1, 2)


class AttentionBlock(nn.Module):
    """LayerNorm, attention of `HEADS` heads, LayerNorm, MLP, each beside a shortcut."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c, eps=1e-6)
        self.qkv = nn.Linear(c, 3 * c)
        self.proj = nn.Linear(c, c)
        self.norm2 = nn.LayerNorm(c, eps=1e-6)
        self.fc1 = nn.Linear(c, 4 * c)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * c, c)
        self.scale = (c // HEADS) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, p, c) to the same shape; p positions, c channels."""
        p, c = x.shape[1:]
        qkv = self.qkv(self.norm1(x)).reshape(-1, p, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(-1, p, c))
        y: Tensor = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        return y


class HybridNet(nn.Module):
    """Stem, two stages of ConvNeXt blocks, one of attention, mean over positions, classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, 2, padding=1), ChannelNorm(a))
        self.stage1 = nn.Sequential(*(ConvNeXtBlock(a) for _ in range(BLOCKS)))
        self.down1 = nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, 2))
        self.stage2 = nn.Sequential(*(ConvNeXtBlock(b) for _ in range(BLOCKS)))
        self.down2 = nn.Sequential(ChannelNorm(b), nn.Conv2d(b, c, 2, 2))
        self.stage3 = nn.Sequential(*(AttentionBlock(c) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, 10)."""
        x = self.down2(self.stage2(self.down1(self.stage1(self.stem(x)))))
        x = self.stage3(x.flatten(2).transpose(1, 2))
        logits: Tensor = self.fc(self.norm(x.mean(dim=1)))
        return logits
