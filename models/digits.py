"""The demo model: a small residual CNN with live BatchNormalization on scikit-learn's digits.

``python -m models.digits`` (needs torch and scikit-learn) trains it and writes, beside this file,

* ``digits_resnet.onnx``: input ``input`` (N, 1, 8, 8) float32 in [0, 1], output ``logits`` (N, 10);
* ``digits.npz``: the fixed split, as raw values 0..16 (multiply by 1/16 = 0.0625 for the model):
  ``x`` (597, 1, 8, 8) uint8 and ``y`` (597,) int64 are the test images and labels, ``x_train``
  (1200, 1, 8, 8) uint8 and ``y_train`` (1200,) int64 the training ones.

The network is wider than the task needs, and the training says which channels are spare: an ℓ1
penalty on the γ of each block's inner BatchNormalization (the one between its two convolutions, as
in Network Slimming, Liu et al. 2017) pushes the γ of channels that the network can do without
towards zero, so that a quantile of |γ| means something. Weight decay then shrinks the kernels of
those channels. The other BatchNormalizations are not penalised.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent
WIDTHS = (16, 32, 48)  # channels of the three stages
BLOCKS = 2  # residual blocks per stage
SEED = 0
EPOCHS = 40
BATCH_SIZE = 50
LEARNING_RATE = 0.1
WEIGHT_DECAY = 2e-2
GAMMA_PENALTY = 2e-3
OPSET = 13


class Split(NamedTuple):
    """Test images ``x`` (N, 1, 8, 8) uint8 and labels ``y`` (N,) int64, and the training ones."""

    x: np.ndarray
    y: np.ndarray
    x_train: np.ndarray
    y_train: np.ndarray


class Block(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN plus the shortcut, projected where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            projection = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(n_out))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h / stride, w / stride)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        residual: Tensor = self.bn2(self.conv2(inner))
        output: Tensor = self.relu2(residual + self.shortcut(x))
        return output


class Stem(nn.Module):
    """conv3x3-BN-ReLU at full resolution."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, n_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 1, 8, 8) to (N, n_out, 8, 8)."""
        output: Tensor = self.relu(self.bn(self.conv(x)))
        return output


class Stage(nn.Module):
    """``BLOCKS`` residual blocks of one width; the first one has the stride."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        for i in range(BLOCKS):
            block = Block(n_out if i else n_in, n_out, 1 if i else stride)
            self.add_module(f"block{i + 1}", block)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h / stride, w / stride)."""
        for block in self.children():
            x = block(x)
        return x


class DigitsResNet(nn.Module):
    """Stem, three stages at 8x8, 4x4 and 2x2, global average pool, linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(WIDTHS[0])
        self.stage1 = Stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.stage2 = Stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.stage3 = Stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(WIDTHS[2], 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) in [0, 1] to logits (N, 10)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits


def split_digits() -> Split:
    """Return scikit-learn's 1797 digits as a fixed stratified split of 1200 and 597."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), train_size=1200, stratify=labels, random_state=SEED
    )
    return Split(images[test], labels[test], images[train], labels[train])


def to_input(images: np.ndarray) -> Tensor:
    """Scale raw images (N, 1, 8, 8), 0..16, to the model's [0, 1]."""
    return torch.from_numpy(images.astype(np.float32) / 16)


def shifted(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift every image of (N, 1, 8, 8) by -1, 0 or 1 pixels along each axis; zeros come in."""
    n, _, h, w = x.shape
    padded = functional.pad(x, (1, 1, 1, 1))
    top, left = torch.randint(0, 3, (2, n, 1), generator=rng)
    rows = (top + torch.arange(h))[:, None, :, None]
    columns = (left + torch.arange(w))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], 0, rows, columns]


def train(data: Split) -> DigitsResNet:
    """Train on one CPU thread with fixed seeds: same machine and versions, same bits."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = torch.Generator().manual_seed(SEED)

    model = DigitsResNet()
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    inner_gammas: list[Tensor] = [block.bn1.weight for block in blocks]
    kernels = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    settings: list[dict[str, Any]] = [
        {"params": kernels, "weight_decay": WEIGHT_DECAY},
        {"params": vectors},
    ]
    optimizer = torch.optim.SGD(settings, lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    images, labels = to_input(data.x_train), torch.from_numpy(data.y_train)
    steps = len(labels) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(labels), generator=rng), BATCH_SIZE):
            logits = model(shifted(images[batch], rng))
            penalty = GAMMA_PENALTY * torch.cat(inner_gammas).abs().sum()
            loss = functional.cross_entropy(logits, labels[batch]) + penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Module, data: Split) -> float:
    """Top-1 accuracy on the test images, in percent."""
    with torch.no_grad():
        predicted = model(to_input(data.x)).argmax(1).numpy()
    return 100 * float(np.mean(predicted == data.y))


def own_initializers(graph: onnx.GraphProto) -> None:
    """Replace each Identity of an initializer by a copy of it, in place.

    The exporter stores equal tensors once. A block's ``bn2`` and the BatchNormalization of its
    projection start with the same bias and get the same gradient, so theirs are equal.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        copy = graph.initializer.add()
        copy.CopyFrom(tensors[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)


def export(
    model: nn.Module,
    path: Path,
    shape: tuple[int, ...] = (1, 1, 8, 8),
    outputs: tuple[str, ...] = ("logits",),
) -> None:
    """Write the model for images of ``shape``, BatchNormalization as it is, in inference form.

    N is dynamic where there is one output; several are those of a detector, which takes one image.
    """
    torch.onnx.export(
        model.eval(),
        (torch.zeros(shape),),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        training=torch.onnx.TrainingMode.PRESERVE,  # the other modes fold BN into Conv
        do_constant_folding=False,
        input_names=["input"],
        output_names=list(outputs),
        dynamic_axes=None if len(outputs) > 1 else {n: {0: "N"} for n in ("input", *outputs)},
    )
    exported = onnx.load(path)
    own_initializers(exported.graph)
    for node in exported.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def main() -> None:
    """Train, write both files and print the size and the test accuracy."""
    start = time.perf_counter()
    data = split_digits()
    np.savez_compressed(HERE / "digits.npz", **data._asdict())
    model = train(data)
    export(model, HERE / "digits_resnet.onnx")
    params = sum(p.numel() for p in model.parameters())
    seconds = time.perf_counter() - start
    print(f"{params} parameters, {seconds:.0f} s, test accuracy {accuracy(model, data):.2f} %")


if __name__ == "__main__":
    main()
