"""ResNets for 32x32 images (He et al. 2016): the paper's CIFAR-10 networks, with random weights.

``python -m models.resnet_cifar 56 -o resnet56.onnx`` writes ResNet-56; any depth 6n + 2 will do.
Input ``input`` (N, 3, 32, 32), output ``logits`` (N, 10). Initializers are called as the tensors of
the usual PyTorch code are (``layer1.0.conv1.weight``). Where the width changes, the shortcut takes
every second pixel and pads channels with zeros (option A), so it has no weights; or it is a 1x1
convolution (option B), which others use for the same network.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (16, 32, 64)
CLASSES = 10
OPSET = 13


@dataclass(frozen=True)
class Variant:
    """``project``: option B. ``random_norms``: γ and the rest of BatchNormalization are drawn too.

    γ is then distinct, in [0.5, 1.5]; otherwise BatchNormalization is as before training.
    """

    project: bool = False
    random_norms: bool = False
    classes: int = CLASSES


class Builder:
    """Nodes and initializers, in order."""

    def __init__(self, seed: int, variant: Variant) -> None:
        self.rng = np.random.default_rng(seed)
        self.variant = variant
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer; its name."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Add a node with one output, called as the node is."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv_bn(self, x: str, at: tuple[str, str], shape: tuple[int, ...], stride: int = 1) -> str:
        """A convolution ``at[0]`` and its BatchNormalization ``at[1]``; shape (n_in, n_out, k)."""
        n_in, n_out, k = shape
        drawn = self.rng.standard_normal((n_out, n_in, k, k)) * np.sqrt(2 / (k * k * n_in))
        w = self.constant(f"{at[0]}.weight", drawn.astype(np.float32))
        y = self.node("Conv", [x, w], at[0], pads=[k // 2] * 4, strides=[stride] * 2)
        tensors = [
            self.constant(f"{at[1]}.{part}", value.astype(np.float32))
            for part, value in self.norm(n_out).items()
        ]
        return self.node("BatchNormalization", [y, *tensors], at[1])

    def norm(self, n: int) -> dict[str, np.ndarray]:
        """The values (n,) of a BatchNormalization."""
        ones, zeros = np.ones(n), np.zeros(n)
        if not self.variant.random_norms:
            return {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        return {
            "weight": self.rng.uniform(0.5, 1.5, n),
            "bias": self.rng.normal(0, 0.3, n),
            "running_mean": self.rng.normal(0, 0.25, n),
            "running_var": self.rng.uniform(0.75, 1.25, n),
        }

    def shortcut(self, x: str, at: str, shape: tuple[int, int]) -> str:
        """Every second pixel; zeros for the new channels, or a 1x1 convolution."""
        if self.variant.project:
            return self.conv_bn(x, (f"{at}.conv", f"{at}.bn"), (*shape, 1), 2)
        ends = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 2]}
        inputs = [self.constant(f"{at}.{k}", np.array(v, np.int64)) for k, v in ends.items()]
        half = self.node("Slice", [x, *inputs], f"{at}.slice")
        more = shape[1] - shape[0]
        pads = np.array([0, more // 2, 0, 0, 0, more - more // 2, 0, 0], np.int64)
        return self.node("Pad", [half, self.constant(f"{at}.pads", pads)], f"{at}.pad")


def resnet(depth: int, seed: int = 0, variant: Variant | None = None) -> onnx.ModelProto:
    """ResNet-``depth``; ValueError where the depth is not 6n + 2."""
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"a ResNet for 32x32 images has 6n + 2 layers, not {depth}")
    variant = variant or Variant()
    b, classes = Builder(seed, variant), variant.classes
    x = b.node("Relu", [b.conv_bn("input", ("conv1", "bn1"), (3, WIDTHS[0], 3))], "relu")
    n = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, 1):
        for k in range(blocks):
            at = f"layer{stage}.{k}"
            stride = 2 if width != n else 1
            y = b.conv_bn(x, (f"{at}.conv1", f"{at}.bn1"), (n, width, 3), stride)
            y = b.node("Relu", [y], f"{at}.relu1")
            y = b.conv_bn(y, (f"{at}.conv2", f"{at}.bn2"), (width, width, 3))
            aside = x if width == n else b.shortcut(x, f"{at}.shortcut", (n, width))
            x = b.node("Relu", [b.node("Add", [y, aside], f"{at}.add")], f"{at}.relu2")
            n = width
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "pool")], "flatten")
    bound = 1 / np.sqrt(n)
    w = b.rng.uniform(-bound, bound, (classes, n)).astype(np.float32)
    inputs = [b.constant("linear.weight", w), b.constant("linear.bias", np.zeros(classes, "f4"))]
    b.node("Gemm", [x, *inputs], "logits", transB=1)
    graph = helper.make_graph(
        b.nodes,
        f"resnet{depth}",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        b.initializers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("depth", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    onnx.save(resnet(arguments.depth), arguments.out)


if __name__ == "__main__":
    main()
