"""Random small convolutional networks, as recipes of plain values that hypothesis can shrink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Kind = Literal[
    "residual",
    "projected",
    "concat",
    "split",
    "depthwise",
    "grouped",
    "squeeze-excite",
    "pool",
    "norm",
    "shuffle",
    "upsample",
]
Head = Literal["flatten", "reshape", "pool", "conv"]
SIDE = 8
BATCH = 2


@dataclass(frozen=True)
class Block:
    """``width`` are channels, ``variant`` chooses among the ways to write the block."""

    kind: Kind
    width: int
    variant: int


@dataclass(frozen=True)
class Recipe:
    blocks: tuple[Block, ...]
    stem: int
    head: Head
    opset: int
    seed: int


def recipes() -> st.SearchStrategy[Recipe]:
    """Two to six blocks between a stem and a head."""
    block = st.builds(
        Block,
        kind=st.sampled_from(get_args(Kind)),
        width=st.integers(2, 7),
        variant=st.integers(0, 3),
    )
    return st.builds(
        Recipe,
        blocks=st.lists(block, min_size=2, max_size=6).map(tuple),
        stem=st.integers(3, 8),
        head=st.sampled_from(get_args(Head)),
        opset=st.sampled_from([11, 13, 17, 18]),
        seed=st.integers(0, 999),
    )


def build(recipe: Recipe) -> onnx.ModelProto:
    """The network, with weights that keep activations near 1."""
    net = _Net(recipe)
    x = net.act(net.conv("x", recipe.stem), 0)
    for block in recipe.blocks:
        x = _BLOCKS[block.kind](net, x, block)
    y = _HEADS[recipe.head](net, x)
    return net.model(y)


class _Net:
    """A graph in the making; ``shapes`` are (channels, side) of every activation."""

    def __init__(self, recipe: Recipe) -> None:
        self.opset = recipe.opset
        self.rng = np.random.default_rng(recipe.seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.shapes = {"x": (3, SIDE)}

    def model(self, y: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
            self.tensors,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def constant(self, array: NDArray[Any]) -> str:
        name = f"w{len(self.tensors)}"
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def normal(self, *shape: int, fan_in: float) -> str:
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(fan_in))

    def per_channel(self, x: str, low: float, high: float) -> str:
        return self.constant(self.rng.uniform(low, high, self.shapes[x][0]))

    def node(self, op: str, inputs: list[str], shape: tuple[int, int], **attributes: Any) -> str:
        (name,) = self.nodes_out(op, inputs, [shape], **attributes)
        return name

    def nodes_out(
        self, op: str, inputs: list[str], shapes: list[tuple[int, int]], **attributes: Any
    ) -> list[str]:
        index = len(self.nodes)
        names = [f"t{index}_{k}" for k in range(len(shapes))]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{index}", **attributes))
        self.shapes.update(zip(names, shapes, strict=True))
        return names

    def conv(self, x: str, n: int, k: int = 3, stride: int = 1, group: int = 1) -> str:
        n_in, side = self.shapes[x]
        per_group = n_in // group
        inputs = [x, self.normal(n, per_group, k, k, fan_in=per_group * k * k)]
        if self.rng.random() < 0.5:
            inputs.append(self.normal(n, fan_in=25.0))
        pads = [k // 2] * 4
        return self.node(
            "Conv",
            inputs,
            (n, -(-side // stride)),
            kernel_shape=[k, k],
            pads=pads,
            strides=[stride, stride],
            group=group,
        )

    def norm(self, x: str) -> str:
        parameters = [
            self.per_channel(x, 0.2, 1.5),
            self.per_channel(x, -0.5, 0.5),
            self.per_channel(x, -0.2, 0.2),
            self.per_channel(x, 0.5, 1.5),
        ]
        return self.node("BatchNormalization", [x, *parameters], self.shapes[x])

    def act(self, x: str, variant: int) -> str:
        """An activation that cannot die: a dead one would hide a wrong cut behind it."""
        if variant == 1:
            return self.node("Elu", [x], self.shapes[x])
        if variant == 2:
            slope = self.rng.uniform(0.1, 0.4, (self.shapes[x][0], 1, 1))
            return self.node("PRelu", [x, self.constant(slope)], self.shapes[x])
        if variant == 3:
            bounds = [self.constant(np.array(-1.0)), self.constant(np.array(6.0))]
            return self.node("Clip", [x, *bounds], self.shapes[x])
        return self.node("LeakyRelu", [x], self.shapes[x], alpha=0.2)

    def split(self, x: str, sizes: list[int], written: bool) -> list[str]:
        parts = [(n, self.shapes[x][1]) for n in sizes]
        even = len(set(sizes)) == 1
        if even and not written:
            more = {"num_outputs": len(sizes)} if self.opset >= 18 else {}
            return self.nodes_out("Split", [x], parts, axis=1, **more)
        if self.opset < 13:
            return self.nodes_out("Split", [x], parts, axis=1, split=sizes)
        return self.nodes_out("Split", [x, self.integers(*sizes)], parts, axis=1)


def _residual(net: _Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    inner = net.conv(x, block.width)
    inner = net.act(net.norm(inner) if block.variant % 2 else inner, block.variant)
    outer = net.conv(inner, n)
    total = net.node("Add", [outer, x] if block.variant < 2 else [x, outer], (n, side))
    return net.act(total, 0)


def _projected(net: _Net, x: str, block: Block) -> str:
    stride = 2 if net.shapes[x][1] >= 4 and block.variant % 2 else 1
    inner = net.act(net.norm(net.conv(x, block.width, stride=stride)), block.variant)
    outer = net.norm(net.conv(inner, block.width + 1))
    short = net.conv(x, block.width + 1, k=1, stride=stride)
    return net.act(net.node("Add", [outer, short], net.shapes[outer]), 0)


def _concat(net: _Net, x: str, block: Block) -> str:
    parts = [net.conv(x, block.width, k=1), net.act(net.conv(x, 3), block.variant)]
    if block.variant == 1:
        parts.append(x)
    n = sum(net.shapes[p][0] for p in parts)
    return net.node("Concat", parts, (n, net.shapes[x][1]), axis=1)


def _split(net: _Net, x: str, block: Block) -> str:
    n = 2 * block.width
    whole = net.act(net.conv(x, n), 0)
    sizes = [n // 2, n // 2] if block.variant < 2 else [n - 1, 1]
    left, right = net.split(whole, sizes, written=block.variant == 1)
    left = net.act(net.conv(left, 3), 0)
    parts = [right, left] if block.variant == 3 else [left, right]
    n = sum(net.shapes[p][0] for p in parts)
    return net.node("Concat", parts, (n, net.shapes[x][1]), axis=1)


def _depthwise(net: _Net, x: str, block: Block) -> str:
    n = block.width
    wide = net.act(net.norm(net.conv(x, n, k=1)), block.variant)
    times = 2 if block.variant == 1 else 1
    deep = net.act(net.conv(wide, n * times, group=n), 0)
    return net.conv(deep, 4, k=1)


def _grouped(net: _Net, x: str, block: Block) -> str:
    groups = 3 if block.variant == 2 else 2
    wide = net.act(net.conv(x, groups * block.width, k=1), 0)
    return net.act(net.conv(wide, groups * (1 + block.variant), group=groups), block.variant)


def _squeeze_excite(net: _Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    x = net.conv(x, n) if block.variant % 2 else x
    if block.variant < 2:
        pooled = net.node("GlobalAveragePool", [x], (n, 1))
    elif net.opset < 18:
        pooled = net.node("ReduceMean", [x], (n, 1), axes=[2, 3], keepdims=1)
    else:
        pooled = net.node("ReduceMean", [x, net.integers(2, 3)], (n, 1), keepdims=1)
    down = net.normal(block.width, n, 1, 1, fan_in=n / 16)  # means over positions are small
    inner = net.act(net.node("Conv", [pooled, down], (block.width, 1)), 0)
    gate = net.node("Sigmoid", [net.conv(inner, n, k=1)], (n, 1))
    return net.node("Mul", [x, gate], (n, side))


def _pool(net: _Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    op = "MaxPool" if block.variant % 2 else "AveragePool"
    if side >= 4:
        return net.node(op, [x], (n, side // 2), kernel_shape=[2, 2], strides=[2, 2])
    return net.node(op, [x], (n, side), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _norm(net: _Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width, k=1) if block.width % 2 else x
    return net.act(net.norm(x), block.variant)


def _shuffle(net: _Net, x: str, block: Block) -> str:
    """(2 groups, n/2) are transposed to (n/2, 2 groups)."""
    n, side = 2 * block.width, net.shapes[x][1]
    x = net.act(net.conv(x, n), 0)
    if block.variant < 2:
        x = net.conv(x, n, k=1, group=2)
    shape = net.integers(BATCH if block.variant % 2 else 0, 2, n // 2, side, side)
    five = net.node("Reshape", [x, shape], (n, side))
    five = net.node("Transpose", [five], (n, side), perm=[0, 2, 1, 3, 4])
    back = net.integers(BATCH, -1 if block.variant == 3 else n, side, side)
    return net.conv(net.node("Reshape", [five, back], (n, side)), 4)


def _upsample(net: _Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    if side > SIDE:
        return x
    weight = net.normal(n, block.width, 2, 2, fan_in=n)
    bias = [net.normal(block.width, fan_in=25.0)] if block.variant % 2 else []
    shape = (block.width, 2 * side)
    up = net.node("ConvTranspose", [x, weight, *bias], shape, kernel_shape=[2, 2], strides=[2, 2])
    return net.act(up, 0)


def _gemm(net: _Net, x: str, n_in: int, n: int, transposed: bool) -> str:
    weight = net.normal(*((n, n_in) if transposed else (n_in, n)), fan_in=n_in)
    bias = net.normal(n, fan_in=25.0)
    return net.node("Gemm", [x, weight, bias], (n, 1), transB=int(transposed))


def _flatten_head(net: _Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Flatten", [x], (n * side * side, 1), axis=1)
    hidden = net.act(_gemm(net, flat, n * side * side, 6, transposed=True), 0)
    return _gemm(net, hidden, 6, 4, transposed=False)


def _reshape_head(net: _Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Reshape", [x, net.integers(BATCH, n * side * side)], (n * side * side, 1))
    return _gemm(net, flat, n * side * side, 4, transposed=False)


def _pool_head(net: _Net, x: str) -> str:
    n = net.shapes[x][0]
    pooled = net.node("GlobalAveragePool", [x], (n, 1))
    return _gemm(net, net.node("Flatten", [pooled], (n, 1)), n, 4, transposed=True)


def _conv_head(net: _Net, x: str) -> str:
    return net.conv(x, 3, k=1)


_BLOCKS = {
    "residual": _residual,
    "projected": _projected,
    "concat": _concat,
    "split": _split,
    "depthwise": _depthwise,
    "grouped": _grouped,
    "squeeze-excite": _squeeze_excite,
    "pool": _pool,
    "norm": _norm,
    "shuffle": _shuffle,
    "upsample": _upsample,
}
_HEADS = {
    "flatten": _flatten_head,
    "reshape": _reshape_head,
    "pool": _pool_head,
    "conv": _conv_head,
}
