"""A network that tells for every pixel of a scene whether it is ink, and of which digit.

Its encoder starts as that of the detector beside it, which knows digits already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.digits import export
from models.scene_detector import WIDTHS, SceneDetector
from models.scene_training import fitted
from models.scenes import Scenes

CLASSES = 11  # paper, and ten digits
EPOCHS = 10
INK_WEIGHT = 2.0


class SceneSegmenter(nn.Module):
    """The detector's stem and blocks; a decoder back to full size, with a skip connection."""

    def __init__(self, detector: SceneDetector) -> None:
        super().__init__()
        _, b, c = WIDTHS
        self.stem, self.blocks = detector.stem, detector.blocks
        self.raised = nn.ConvTranspose2d(c, b, 2, 2)
        self.joined = nn.Sequential(
            nn.Conv2d(2 * b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()
        )
        self.head = nn.ConvTranspose2d(b, CLASSES, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, h, w) in [0, 1] to scores (N, 11, h, w)."""
        fine = self.blocks[0](self.stem(x))
        coarse = self.blocks[1:](fine)
        scores: Tensor = self.head(self.joined(torch.cat([self.raised(coarse), fine], 1)))
        return scores


def trained_detector(file: Path) -> SceneDetector:
    """Return the detector with the values of its file, whose tensors have PyTorch's names."""
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    net = SceneDetector()
    for name, value in net.state_dict().items():
        if f"net.{name}" in tensors:
            value.copy_(torch.from_numpy(tensors[f"net.{name}"].copy()))
    return net


def write(trained: Scenes, tested: Scenes, folder: Path) -> str:
    """Train, write ``scenes_segmenter.onnx``, and return a line on how good it is."""
    weights = torch.full((CLASSES,), INK_WEIGHT)
    weights[0] = 1.0

    def loss(scores: Tensor, scenes: Tensor) -> Tensor:
        return functional.cross_entropy(scores, masks[scenes], weights)

    masks = torch.from_numpy(trained.masks.astype(np.int64))
    torch.manual_seed(0)
    net = fitted(
        SceneSegmenter(trained_detector(folder / "scenes_detector.onnx")),
        torch.from_numpy(trained.x) / 255,
        loss,
        EPOCHS,
    )
    export(net, folder / "scenes_segmenter.onnx", tuple(tested.x[:1].shape), ("scores",))
    with torch.no_grad():
        classes = net(torch.from_numpy(tested.x) / 255).argmax(1).numpy()
    right = 100 * np.mean(classes[tested.masks > 0] == tested.masks[tested.masks > 0])
    return f"segmenter: {right:.1f} % of the pixels of ink have their digit"
