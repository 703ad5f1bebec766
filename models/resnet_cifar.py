"""ResNets for 32x32 images (He et al. 2016): the paper's CIFAR-10 networks, with random weights.

``python -m models.resnet_cifar 56 -o resnet56.onnx`` writes ResNet-56; any depth 6n + 2 will do.
Input ``input`` (N, 3, 32, 32), output ``logits`` (N, 10). Initializers are called as the tensors of
the usual PyTorch code are (``layer1.0.conv1.weight``). Where the width changes, the shortcut takes
every second pixel and pads channels with zeros (option A), so it has no weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (16, 32, 64)
CLASSES = 10
OPSET = 13


class Builder:
    """Nodes and initializers, in order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
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

    def conv_bn(self, x: str, at: tuple[str, str], shape: tuple[int, int], stride: int = 1) -> str:
        """A 3x3 convolution ``at[0]`` and its BatchNormalization ``at[1]``; shape (n_in, n_out)."""
        n_in, n_out = shape
        drawn = self.rng.standard_normal((n_out, n_in, 3, 3)) * np.sqrt(2 / (9 * n_in))
        w = self.constant(f"{at[0]}.weight", drawn.astype(np.float32))
        y = self.node("Conv", [x, w], at[0], pads=[1] * 4, strides=[stride] * 2)
        values = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
        tensors = [
            self.constant(f"{at[1]}.{part}", np.full(n_out, value, np.float32))
            for part, value in values.items()
        ]
        return self.node("BatchNormalization", [y, *tensors], at[1])

    def shortcut(self, x: str, at: str, shape: tuple[int, int]) -> str:
        """Option A: every second pixel, zeros for the new channels."""
        ends = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 2]}
        inputs = [self.constant(f"{at}.{k}", np.array(v, np.int64)) for k, v in ends.items()]
        half = self.node("Slice", [x, *inputs], f"{at}.slice")
        more = shape[1] - shape[0]
        pads = np.array([0, more // 2, 0, 0, 0, more - more // 2, 0, 0], np.int64)
        return self.node("Pad", [half, self.constant(f"{at}.pads", pads)], f"{at}.pad")


def resnet(depth: int, seed: int = 0) -> onnx.ModelProto:
    """ResNet-``depth``; ValueError where the depth is not 6n + 2."""
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"a ResNet for 32x32 images has 6n + 2 layers, not {depth}")
    b = Builder(seed)
    x = b.node("Relu", [b.conv_bn("input", ("conv1", "bn1"), (3, WIDTHS[0]))], "relu")
    n = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, 1):
        for k in range(blocks):
            at = f"layer{stage}.{k}"
            stride = 2 if width != n else 1
            y = b.conv_bn(x, (f"{at}.conv1", f"{at}.bn1"), (n, width), stride)
            y = b.node("Relu", [y], f"{at}.relu1")
            y = b.conv_bn(y, (f"{at}.conv2", f"{at}.bn2"), (width, width))
            aside = x if width == n else b.shortcut(x, f"{at}.shortcut", (n, width))
            x = b.node("Relu", [b.node("Add", [y, aside], f"{at}.add")], f"{at}.relu2")
            n = width
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "pool")], "flatten")
    bound = 1 / np.sqrt(n)
    w = b.rng.uniform(-bound, bound, (CLASSES, n)).astype(np.float32)
    inputs = [b.constant("linear.weight", w), b.constant("linear.bias", np.zeros(CLASSES, "f4"))]
    b.node("Gemm", [x, *inputs], "logits", transB=1)
    graph = helper.make_graph(
        b.nodes,
        f"resnet{depth}",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
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
