"""Random small convolutional networks, as recipes of plain values that hypothesis can shrink.

A network is a stem, some blocks and a head; together the blocks hold every op of the rule table
but the retired ones. ``test_the_blocks_hold_the_whole_rule_table`` sees to it.
"""

from __future__ import annotations

from collections.abc import Callable
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
    "transposed",
    "unary",
    "elementwise",
    "logic",
    "instance-norm",
    "group-norm",
    "layer-norm",
    "softmax",
    "selective",
    "reduce",
    "arg",
    "blocks-of-depth",
    "tile",
    "expand",
    "gather",
    "slice",
    "pad",
    "resize",
    "channels-last",
    "computed-shape",
    "chunk",
    "shared-weight",
    "made-weight",
    "locked",
]
Head = Literal["flatten", "reshape", "pool", "conv", "matmul"]
Form = Literal["initializers", "constant nodes", "inputs"]
SIDE = 8
BATCH = 2
VARIANTS = 60  # a multiple of 2, 3, 4, 5 and 6: every way to write a block is as likely
WIDEST = 24  # channels; a wider tensor is brought back to a few before the next block
OPSETS = [11, 13, 17, 18, 21, 24]


@dataclass(frozen=True)
class Block:
    """``width`` are channels, ``variant`` chooses among the ways to write the block."""

    kind: Kind
    width: int
    variant: int


@dataclass(frozen=True)
class Recipe:
    """``symbolic``: the file states neither batch nor image size, nor the shapes in between."""

    blocks: tuple[Block, ...]
    stem: int
    head: Head
    opset: int
    seed: int
    form: Form = "initializers"
    symbolic: bool = False


def recipes() -> st.SearchStrategy[Recipe]:
    """Two to six blocks between a stem and a head."""
    block = st.builds(
        Block,
        kind=st.sampled_from(get_args(Kind)),
        width=st.integers(2, 7),
        variant=st.integers(0, VARIANTS - 1),
    )
    return st.builds(
        Recipe,
        blocks=st.lists(block, min_size=2, max_size=6).map(tuple),
        stem=st.integers(3, 8),
        head=st.sampled_from(get_args(Head)),
        opset=st.sampled_from(OPSETS),
        seed=st.integers(0, 999),
        form=st.sampled_from(get_args(Form)),
        symbolic=st.booleans(),
    )


def build(recipe: Recipe) -> onnx.ModelProto:
    """The network, with weights that keep activations near 1."""
    net = Net(recipe)
    x = net.act(net.conv("x", recipe.stem), 0)
    for block in recipe.blocks:
        if net.shapes[x][0] > WIDEST:
            x = net.act(net.conv(x, 6, k=1), 0)
        x = BLOCKS[block.kind](net, x, block)
    y = _HEADS[recipe.head](net, x)
    return net.model(y, rank=4 if recipe.head == "conv" else 2)


class Net:
    """A graph in the making; ``shapes`` are (channels, side) of every activation."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.opset = recipe.opset
        self.rng = np.random.default_rng(recipe.seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.shapes = {"x": (3, SIDE)}

    def model(self, y: str, rank: int) -> onnx.ModelProto:
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
        stated = [self._stated(n) for n in self.nodes if n.op_type == "GroupNormalization"]
        model.graph.value_info.extend(stated)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        if not model.graph.output[0].type.tensor_type.HasField("shape") or self.recipe.symbolic:
            shape = [f"y{axis}" for axis in range(rank)]
            output = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
            model.graph.output[0].CopyFrom(output)
        if self.recipe.symbolic:
            del model.graph.value_info[:]
            model.graph.value_info.extend(stated)
            shape = ["n", 3, "h", "w"]
            image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
            model.graph.input[0].CopyFrom(image)
        _put_weights(model, self.recipe.form)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _stated(self, node: onnx.NodeProto) -> onnx.ValueInfoProto:
        """The shape of an output that onnx cannot infer; a strict inference stops there."""
        name = node.output[0]
        shape = [None, self.shapes[name][0], None, None]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def constant(self, array: NDArray[Any]) -> str:
        name = f"w{len(self.tensors)}"
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def normal(self, *shape: int, fan_in: float) -> str:
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(fan_in))

    def per_channel(self, x: str, low: float, high: float, *ones: int) -> str:
        return self.constant(self.rng.uniform(low, high, (self.shapes[x][0], *ones)))

    def node(self, op: str, inputs: list[str], shape: tuple[int, int], **attributes: Any) -> str:
        (name,) = self.nodes_out(op, inputs, [shape], **attributes)
        return name

    def same(self, op: str, x: str, *more: str, **attributes: Any) -> str:
        """A node whose output has the shape of ``x``, its first input."""
        return self.node(op, [x, *more], self.shapes.get(x, (0, 0)), **attributes)

    def aside(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node whose output is no (batch, channels, side, side)."""
        return self.node(op, list(inputs), (0, 0), **attributes)

    def nodes_out(
        self, op: str, inputs: list[str], shapes: list[tuple[int, int]], **attributes: Any
    ) -> list[str]:
        index = len(self.nodes)
        names = [f"t{index}_{k}" for k in range(len(shapes))]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{index}", **attributes))
        self.shapes.update(zip(names, shapes, strict=True))
        return names

    def conv(self, x: str, n: int, k: int = 3, stride: int = 1, group: int = 1) -> str:
        per_group = self.shapes[x][0] // group
        weight = self.normal(n, per_group, k, k, fan_in=per_group * k * k)
        return self.conv_with(x, weight, (n, k), stride, group)

    def conv_with(
        self, x: str, weight: str, size: tuple[int, int], stride: int = 1, group: int = 1
    ) -> str:
        n, k = size
        inputs = [x, weight]
        if self.rng.random() < 0.5:
            inputs.append(self.normal(n, fan_in=25.0))
        shape = (n, -(-self.shapes[x][1] // stride))
        pads = [k // 2] * 4
        strides = [stride, stride]
        return self.node(
            "Conv", inputs, shape, kernel_shape=[k, k], pads=pads, strides=strides, group=group
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
        if variant % 4 == 1:
            return self.same("Elu", x)
        if variant % 4 == 2:
            return self.same("PRelu", x, self.per_channel(x, 0.1, 0.4, 1, 1))
        if variant % 4 == 3:
            return self.same("Clip", x, self.number(-1.0), self.number(6.0))
        return self.same("LeakyRelu", x, alpha=0.2)

    def add(self, x: str, y: str) -> str:
        return self.same("Add", x, y)

    def positive(self, x: str, least: float = 0.1) -> str:
        return self.add(self.same("Abs", x), self.number(least))

    def bounded(self, x: str, most: float = 0.9) -> str:
        return self.same("Mul", self.same("Tanh", x), self.number(most))

    def split(self, x: str, sizes: list[int], written: bool) -> list[str]:
        parts = [(n, self.shapes[x][1]) for n in sizes]
        even = len(set(sizes)) == 1
        if even and not written:
            more = {"num_outputs": len(sizes)} if self.opset >= 18 else {}
            return self.nodes_out("Split", [x], parts, axis=1, **more)
        if self.opset < 13:
            return self.nodes_out("Split", [x], parts, axis=1, split=sizes)
        return self.nodes_out("Split", [x, self.integers(*sizes)], parts, axis=1)

    def concat(self, parts: list[str]) -> str:
        n = sum(self.shapes[p][0] for p in parts)
        return self.node("Concat", parts, (n, self.shapes[parts[0]][1]), axis=1)

    def reduce(self, op: str, x: str, axes: list[int], keepdims: int = 1) -> str:
        """The result has its extents as a gate (channels, 1) where positions are reduced."""
        shape = (self.shapes.get(x, (0, 0))[0], 1)
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.node(op, [x, self.integers(*axes)], shape, keepdims=keepdims)
        return self.node(op, [x], shape, axes=axes, keepdims=keepdims)

    def squeeze(self, op: Literal["Squeeze", "Unsqueeze"], x: str, *axes: int) -> str:
        if self.opset >= 13:
            return self.same(op, x, self.integers(*axes))
        return self.same(op, x, axes=list(axes))

    def extent(self, x: str, axis: int) -> str:
        """A number that the graph computes: how large ``x`` is along ``axis``."""
        index = self.constant(np.array(axis, dtype=np.int64))
        return self.aside("Gather", self.aside("Shape", x), index, axis=0)

    def vector(self, *numbers: str | int) -> str:
        """Numbers and scalar tensors as one vector that the graph computes."""
        parts = [
            self.integers(n) if isinstance(n, int) else self.squeeze("Unsqueeze", n, 0)
            for n in numbers
        ]
        return self.aside("Concat", *parts, axis=0)

    def transpose(self, x: str, *perm: int) -> str:
        return self.same("Transpose", x, perm=list(perm))


def _put_weights(model: onnx.ModelProto, form: Form) -> None:
    graph = model.graph
    if form == "constant nodes":
        weights = list(graph.initializer)
        del graph.initializer[:]
        nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in weights]
        own = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *own])
    elif form == "inputs":
        model.ir_version = 3
        graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in graph.initializer
        )


# ── blocks of convolutions ──────────────────────────────────────────────────────────────────────


def _residual(net: Net, x: str, block: Block) -> str:
    n, _ = net.shapes[x]
    inner = net.conv(x, block.width)
    inner = net.act(net.norm(inner) if block.variant % 2 else inner, block.variant)
    outer = net.conv(inner, n)
    ways = [("Add", [outer, x]), ("Add", [x, outer]), ("Sub", [x, outer]), ("Sum", [outer, x, x])]
    op, operands = ways[block.variant // 4 % 4]
    return net.act(net.node(op, operands, net.shapes[x]), 0)


def _projected(net: Net, x: str, block: Block) -> str:
    stride = 2 if net.shapes[x][1] >= 4 and block.variant % 2 else 1
    inner = net.act(net.norm(net.conv(x, block.width, stride=stride)), block.variant)
    outer = net.norm(net.conv(inner, block.width + 1))
    short = net.conv(x, block.width + 1, k=1, stride=stride)
    return net.act(net.add(outer, short), 0)


def _concat(net: Net, x: str, block: Block) -> str:
    parts = [net.conv(x, block.width, k=1), net.act(net.conv(x, 3), block.variant)]
    if block.variant % 4 == 1:
        parts.append(x)
    return net.concat(parts)


def _split(net: Net, x: str, block: Block) -> str:
    way, n = block.variant % 6, 2 * block.width
    whole = net.act(net.conv(x, n), 0)
    if way == 4:
        parts = net.split(net.act(net.conv(x, 3 * block.width), 0), [block.width] * 3, False)
        parts[1] = net.conv(parts[1], 2)
    elif way == 5 and net.opset >= 18:  # the last part is smaller
        part, side = -(-n // 3), net.shapes[whole][1]
        shapes = [(part, side), (part, side), (n - 2 * part, side)]
        if shapes[2][0] < 1:
            return whole
        parts = net.nodes_out("Split", [whole], shapes, axis=1, num_outputs=3)[::-1]
    else:
        sizes = [n // 2, n // 2] if way < 2 else [n - 1, 1]
        left, right = net.split(whole, sizes, written=way == 1)
        left = net.act(net.conv(left, 3), 0)
        parts = [right, left] if way == 3 else [left, right]
    return net.concat(parts)


def _depthwise(net: Net, x: str, block: Block) -> str:
    n = block.width
    wide = net.act(net.norm(net.conv(x, n, k=1)), block.variant)
    times = 2 if block.variant % 4 == 1 else 1
    deep = net.act(net.conv(wide, n * times, group=n), 0)
    return net.conv(deep, 4, k=1)


def _grouped(net: Net, x: str, block: Block) -> str:
    groups = 3 if block.variant % 4 == 2 else 2
    wide = net.act(net.conv(x, groups * block.width, k=1), 0)
    n = groups * (1 + block.variant % 4)
    return net.act(net.conv(wide, n, group=groups), block.variant // 4)


def _squeeze_excite(net: Net, x: str, block: Block) -> str:
    n, _ = net.shapes[x]
    x = net.conv(x, n) if block.variant % 2 else x
    if block.variant % 4 < 2:
        pooled = net.node("GlobalAveragePool", [x], (n, 1))
    else:
        pooled = net.reduce("ReduceMean", x, [2, 3])
    down = net.normal(block.width, n, 1, 1, fan_in=n / 16)  # means over positions are small
    inner = net.act(net.node("Conv", [pooled, down], (block.width, 1)), 0)
    gate = net.same("Sigmoid", net.conv(inner, n, k=1))
    return net.same("Mul", x, gate)


def _pool(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    op = ["MaxPool", "AveragePool", "LpPool"][block.variant % 3]
    if side >= 4:
        return net.node(op, [x], (n, side // 2), kernel_shape=[2, 2], strides=[2, 2])
    op = "AveragePool" if op == "LpPool" else op
    return net.node(op, [x], (n, side), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _norm(net: Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width, k=1) if block.width % 2 else x
    return net.act(net.norm(x), block.variant)


def _shuffle(net: Net, x: str, block: Block) -> str:
    """(2 groups, n/2) are transposed to (n/2, 2 groups)."""
    way, n, side = block.variant % 4, 2 * block.width, net.shapes[x][1]
    x = net.act(net.conv(x, n), 0)
    if way < 2:
        x = net.conv(x, n, k=1, group=2)
    shape = net.integers(BATCH if way % 2 else 0, 2, n // 2, side, side)
    five = net.transpose(net.same("Reshape", x, shape), 0, 2, 1, 3, 4)
    back = net.integers(BATCH, -1 if way == 3 else n, side, side)
    shuffled = net.same("Reshape", five, back)
    if block.variant % 5 == 4:
        return net.conv(net.act(net.conv(shuffled, n, group=2), 0), 4, k=1)
    return net.conv(shuffled, 4)


def _transposed(net: Net, x: str, block: Block) -> str:
    """ConvTranspose: dense, in two groups, or depthwise; twice the side where it is small."""
    group = [1, 2, 2 * block.width][block.variant % 3]
    x = net.act(net.conv(x, 2 * block.width, k=1), 0)
    n, side = net.shapes[x]
    per_group = 1 if group == n else block.width
    k, stride = (2, 2) if side <= SIDE else (1, 1)
    weight = net.normal(n, per_group, k, k, fan_in=n / group)
    bias = [net.normal(per_group * group, fan_in=25.0)] if block.variant % 2 else []
    shape = (per_group * group, stride * side)
    inputs = [x, weight, *bias]
    up = net.node(
        "ConvTranspose", inputs, shape, kernel_shape=[k, k], strides=[stride] * 2, group=group
    )
    return net.conv(net.act(up, 0), block.width, k=1)


def _shared_weight(net: Net, x: str, block: Block) -> str:
    """One weight, or one bias, or one normalisation, in two layers."""
    way, n = block.variant % 4, net.shapes[x][0]
    if way == 0:  # a recurrent layer, unrolled
        weight = net.normal(n, n, 3, 3, fan_in=9 * n)
        return net.conv_with(net.act(net.conv_with(x, weight, (n, 3)), 0), weight, (n, 3))
    if way == 1:  # two branches with one weight
        weight = net.normal(block.width, n, 1, 1, fan_in=n)
        a = net.conv_with(x, weight, (block.width, 1))
        b = net.conv_with(net.act(net.conv(x, n), 0), weight, (block.width, 1))
        return net.concat([a, b])
    a, b = net.conv(x, block.width), net.conv(x, block.width, k=1)
    if way == 2:  # one scale for two convolutions that are not tied
        scale = net.per_channel(a, 0.5, 1.5, 1, 1)
        return net.concat([net.same("Mul", a, scale), net.same("Mul", b, scale)])
    scale, mean = net.per_channel(a, 0.5, 1.5), net.per_channel(a, -0.2, 0.2)
    parameters = [scale, mean, mean, scale]
    a, b = (net.same("BatchNormalization", c, *parameters) for c in (a, b))
    return net.concat([a, net.act(b, 0)])


def _made_weight(net: Net, x: str, block: Block) -> str:
    """A weight that the graph computes of constants."""
    way, n_in, n = block.variant % 5, net.shapes[x][0], block.width
    if way == 1:
        weight = net.transpose(net.normal(3, 3, n_in, n, fan_in=9 * n_in), 3, 2, 0, 1)
        return net.conv_with(x, weight, (n, 3))
    if way == 2:
        array = net.rng.standard_normal((n, n_in, 3, 3)) / np.sqrt(9 * n_in)
        weight = net.aside("Cast", net.constant(array.astype(np.float16)), to=TensorProto.FLOAT)
        return net.conv_with(x, weight, (n, 3))
    weight = net.normal(n, n_in, 3, 3, fan_in=9 * n_in)
    if way == 3:  # weight standardisation
        weight = net.aside("Sub", weight, net.reduce("ReduceMean", weight, [1, 2, 3]))
    elif way == 4:
        gain = net.constant(net.rng.uniform(0.5, 1.5, (n, 1, 1, 1)))
        weight = net.aside("Mul", weight, gain)
    else:
        weight = net.aside("Identity", weight)
    return net.conv_with(x, weight, (n, 3))


# ── blocks of element-wise ops ──────────────────────────────────────────────────────────────────

_FREE_DOMAIN = [
    "Abs",
    "Asinh",
    "Atan",
    "Celu:12",
    "Cos",
    "Dropout",
    "Elu",
    "Erf",
    "Gelu:20",
    "HardSigmoid",
    "HardSwish:14",
    "Identity",
    "LeakyRelu",
    "Mish:18",
    "Neg",
    "Relu",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Softsign",
    "Swish:24",
    "Tanh",
    "ThresholdedRelu",
    "Ceil",
    "Floor",
    "Round",
    "Sign",
]
_BOUNDED = ["Acos", "Asin", "Atanh", "Cosh", "Exp", "Sinh", "Tan"]
_POSITIVE = ["Log", "Reciprocal", "Sqrt"]
_UNARY = [*_FREE_DOMAIN, *_BOUNDED, *_POSITIVE, "Acosh", "Cast"]
_COARSE = {"Ceil", "Floor", "Round", "Sign", "ThresholdedRelu", "Relu", "Shrink"}


def _unary(net: Net, x: str, block: Block) -> str:
    """Two of the ops with one input, each on values that it is made for."""
    for choice in (block.variant, block.variant + 7 * block.width):
        op, _, since = _UNARY[choice % len(_UNARY)].partition(":")
        if net.opset < int(since or 0):
            op = "Softplus"
        if op == "Cast":
            y = net.same("Cast", net.same("Cast", x, to=TensorProto.DOUBLE), to=TensorProto.FLOAT)
        elif op == "Acosh":
            y = net.same(op, net.positive(x, 1.5))
        elif op in _BOUNDED:
            y = net.same(op, net.bounded(x))
        elif op in _POSITIVE:
            y = net.same(op, net.positive(x, 0.5))
        else:
            y = net.same(op, x)
        x = net.add(y, net.same("Mul", x, net.number(0.5))) if op in _COARSE else y
    return net.norm(x)


def _elementwise(net: Net, x: str, block: Block) -> str:
    """Two activations, or an activation and a constant of some shape that broadcasts."""
    n, side = net.shapes[x]
    ops = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Mean",
        "Mod",
        "Where",
        "Sum",
        "Greater",
    ]
    op = ops[block.variant % len(ops)]
    shape = [(1, n, 1, 1), (n, 1, 1), (side, side), (n, side, side), ()][block.variant % 5]
    k = net.constant(net.rng.uniform(0.5, 1.5, shape))
    if block.variant >= 45:  # another layer in place of the constant
        k = net.positive(net.conv(x, n, k=1), 0.3)
    flip = block.variant // 12 % 2
    if op == "Pow":
        return net.act(net.node("Pow", [net.positive(net.bounded(x)), k], (n, side)), 0)
    if op == "Mod":
        return net.add(x, net.node("Mod", [x, net.number(2.0)], (n, side), fmod=1))
    if op in ("Where", "Greater"):
        more = ["Greater", "Less"][flip]
        if net.opset >= 12 and op == "Where":
            more += "OrEqual"
        where = net.node(more, [x, k], (n, side))
        return net.add(x, net.node("Where", [where, k, x], (n, side)))
    if op in ("Max", "Min", "Mean"):
        operands = [k, x, net.same("Neg", x)] if flip else [x, k]
        return net.add(x, net.node(op, operands, (n, side)))
    if op == "Div":
        return net.node(op, [x, k], (n, side))
    return net.act(net.node(op, [k, x] if flip else [x, k], (n, side)), 0)


def _logic(net: Net, x: str, block: Block) -> str:
    """Comparisons, truth values and bits, brought back to numbers and added."""
    way, shape = block.variant % 6, net.shapes[x]
    k = net.per_channel(x, -0.5, 0.5, 1, 1)
    a = net.node("Greater", [x, k], shape)
    b = net.node("Less", [net.same("Neg", x), net.number(0.3)], shape)
    if way < 3:
        c = net.node(["And", "Or", "Xor"][way], [a, net.same("Not", b)], shape)
    elif way == 3:
        c = net.node("Equal", [a, b], shape)
    elif way == 4:
        c = net.node("Or", [net.same("IsNaN", x), net.same("IsInf", x)], shape)
        c = net.node("Xor", [c, a], shape)
    elif net.opset >= 18:
        whole = net.same("Cast", net.same("Mul", x, net.number(8.0)), to=TensorProto.INT32)
        bits = net.constant(net.rng.integers(0, 16, (shape[0], 1, 1)).astype(np.int32))
        one = net.node("BitwiseAnd", [whole, bits], shape)
        two = net.node("BitwiseXor", [net.same("BitwiseNot", whole), bits], shape)
        c = net.node("BitwiseOr", [one, two], shape)
        c = net.node("Mod", [c, net.constant(np.array(4, dtype=np.int32))], shape)
    else:
        c = a
    return net.add(x, net.same("Cast", c, to=TensorProto.FLOAT))


# ── blocks of normalisation and reduction ───────────────────────────────────────────────────────


def _instance_norm(net: Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width) if block.variant % 2 else x
    parameters = [net.per_channel(x, 0.5, 1.5), net.per_channel(x, -0.5, 0.5)]
    return net.act(net.same("InstanceNormalization", x, *parameters), block.variant // 2)


def _group_norm(net: Net, x: str, block: Block) -> str:
    """As an op, where the opset has it, or as exporters write it with InstanceNormalization."""
    groups, side = 2 + block.variant % 2, net.shapes[x][1]
    n = groups * block.width
    x = net.conv(x, n)
    if net.opset >= 21 and block.variant % 3:
        parameters = [net.constant(net.rng.uniform(0.5, 1.5, n)) for _ in range(2)]
        return net.act(net.same("GroupNormalization", x, *parameters, num_groups=groups), 0)
    flat = net.same("Reshape", x, net.integers(0, groups, -1))
    parameters = [net.constant(np.ones(groups)), net.constant(np.zeros(groups))]
    flat = net.same("InstanceNormalization", flat, *parameters)
    back = [
        net.aside("Shape", x),
        net.integers(0, n, side, side),
        net.vector(net.extent(x, 0), n, -1, side),
    ][block.variant % 3]
    y = net.node("Reshape", [flat, back], (n, side))
    y = net.same("Mul", y, net.per_channel(y, 0.5, 1.5, 1, 1))
    return net.act(net.add(y, net.per_channel(y, -0.5, 0.5, 1, 1)), 0)


def _layer_norm(net: Net, x: str, block: Block) -> str:
    """Over positions, or over channels in channels last; the op or written out."""
    way, (n, side) = block.variant % 4, net.shapes[x]
    if way == 3:
        return net.add(x, net.same("LRN", x, size=3, alpha=0.3))
    last = way == 2
    y = net.transpose(x, 0, 2, 3, 1) if last else x
    extents = (n,) if last else (side, side) if way else (side,)
    scale = net.constant(net.rng.uniform(0.5, 1.5, extents))
    axis = -len(extents)
    if net.opset >= 23 and block.variant % 5 > 2:
        y = net.same("RMSNormalization", y, scale, axis=axis)
    elif net.opset >= 17 and block.variant % 5:
        y = net.same("LayerNormalization", y, scale, axis=axis)
    else:
        axes = [3] if axis == -1 else [2, 3]
        y = net.same("Sub", y, net.reduce("ReduceMean", y, axes))
        square = net.same("Pow", y, net.number(2.0))
        deviation = net.same("Sqrt", net.add(net.reduce("ReduceMean", square, axes), net.number(1)))
        y = net.same("Mul", net.same("Div", y, deviation), scale)
    net.shapes[y] = (n, side)
    y = net.transpose(y, 0, 3, 1, 2) if last else y
    return net.add(y, x)


def _softmax(net: Net, x: str, block: Block) -> str:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("Softmax", {"axis": 3}),
        ("LogSoftmax", {"axis": 2}),
        ("LpNormalization", {"axis": -1}),
        ("MeanVarianceNormalization", {"axes": [2, 3]}),
        ("Hardmax", {"axis": 3}),
        ("Softmax", {"axis": 1}),
    ]
    op, attributes = ways[block.variant % 6]
    if block.variant % 4:
        x = net.conv(x, block.width)
    y = net.same(op, x, **attributes)
    return net.act(net.add(y, x), 0)


def _selective(net: Net, x: str, block: Block) -> str:
    """Selective kernels: a softmax over two branches chooses between them, channel by channel."""
    n, side = block.width, net.shapes[x][1]
    branches = [net.act(net.conv(x, n, k=k), 0) for k in (1, 3)]
    stacked = net.aside("Concat", *(net.squeeze("Unsqueeze", b, 1) for b in branches), axis=1)
    pooled = net.node("GlobalAveragePool", [net.add(*branches)], (n, 1))
    weights = net.conv(net.act(net.conv(pooled, 3, k=1), 0), 2 * n, k=1)
    batch = BATCH if block.variant % 2 else 0
    weights = net.aside("Reshape", weights, net.integers(batch, 2, n, 1, 1))
    if net.opset < 13:  # there, Softmax flattens from its axis on
        weights = net.transpose(weights, 0, 3, 4, 2, 1)
        weights = net.transpose(net.aside("Softmax", weights, axis=4), 0, 4, 3, 1, 2)
    else:
        weights = net.aside("Softmax", weights, axis=1)
    both = net.aside("Mul", stacked, weights)
    y = net.reduce("ReduceSum", both, [1], keepdims=0)
    net.shapes[y] = (n, side)
    return y


_REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "GlobalLpPool",
    "GlobalMaxPool",
]


def _reduce(net: Net, x: str, block: Block) -> str:
    """A gate made of one number per channel, or a profile along one axis of the image."""
    op = _REDUCTIONS[block.variant % 12]
    if op == "GlobalLpPool" and net.opset >= 22:  # ONNX Runtime has no kernel for it
        op = "GlobalAveragePool"
    way = block.variant // 12
    y = net.positive(x) if op == "ReduceLogSum" else net.bounded(x, 0.5)
    n = net.shapes[x][0]
    if op.startswith("Global"):
        r = net.node(op, [y], (n, 1))
    elif way == 0:
        r = net.reduce(op, y, [2, 3])
    elif way == 1 or op == "ReduceProd":
        r = net.reduce(op, y, [-1])
    elif way == 2:
        r = net.squeeze("Unsqueeze", net.reduce(op, y, [2, 3], keepdims=0), 2, 3)
    elif way == 3:
        r = net.squeeze("Unsqueeze", net.squeeze("Squeeze", net.reduce(op, y, [3]), 3), -1)
    else:  # over channels: a spatial gate
        r = net.reduce(op, y, [1])
    return net.same("Mul", x, net.add(net.same("Sigmoid", r), net.number(0.3)))


def _arg(net: Net, x: str, block: Block) -> str:
    op = ["ArgMax", "ArgMin"][block.variant % 2]
    axis, (n, _) = [3, 2, 1][block.variant % 3], net.shapes[x]
    if block.variant % 4 < 2:
        where = net.node(op, [x], (n, 1), axis=axis, keepdims=1)
    else:
        where = net.node(op, [x], (n, 1), axis=axis, keepdims=0)
        where = net.squeeze("Unsqueeze", where, axis)
    number = net.same("Cast", where, to=TensorProto.FLOAT)
    return net.add(x, net.same("Mul", number, net.number(0.1)))


# ── blocks that move data ───────────────────────────────────────────────────────────────────────


def _blocks_of_depth(net: Net, x: str, block: Block) -> str:
    way, side = block.variant % 5, net.shapes[x][1]
    if way < 3 and side <= SIDE:
        n = block.width
        x = net.conv(x, 4 * n, k=1)
        shape = (n, 2 * side)
        if way < 2:
            mode = ["DCR", "CRD"][way]
            return net.node("DepthToSpace", [x], shape, blocksize=2, mode=mode)
        six = net.aside("Reshape", x, net.integers(BATCH, n, 2, 2, side, side))
        six = net.transpose(six, 0, 1, 4, 2, 5, 3)
        return net.node("Reshape", [six, net.integers(0, -1, 2 * side, 2 * side)], shape)
    if side < 4:
        return x
    x = net.conv(x, block.width, k=1) if block.variant % 2 else x
    y = net.node("SpaceToDepth", [x], (4 * net.shapes[x][0], side // 2), blocksize=2)
    return net.conv(y, 5, k=1)


def _tile(net: Net, x: str, block: Block) -> str:
    way = block.variant % 3
    if way == 0:  # channels
        x = net.conv(x, block.width, k=1)
        y = net.same("Tile", x, net.integers(1, 2, 1, 1))
        net.shapes[y] = (2 * block.width, net.shapes[x][1])
        return y
    n, side = net.shapes[x]
    if way == 1 and side <= SIDE:
        return net.node("Tile", [x, net.integers(1, 1, 2, 2)], (n, 2 * side))
    pooled = net.node("GlobalAveragePool", [x], (n, 1))
    return net.add(x, net.node("Tile", [pooled, net.integers(1, 1, side, side)], (n, side)))


def _expand(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    pooled = net.node("GlobalMaxPool", [x], (n, 1))
    if way == 4:  # one map for all channels
        pooled = net.same("Sigmoid", net.conv(x, 1, k=1))
    shape = [
        lambda: net.integers(BATCH, n, side, side),
        lambda: net.integers(1, 1, side, side),
        lambda: net.aside("Shape", x),
        lambda: net.vector(net.extent(x, 0), n, side, net.extent(x, 3)),
        lambda: net.aside("Shape", x),
    ][way]()
    wide = net.node("Expand", [pooled, shape], (n, side))
    return net.same("Mul", x, wide) if way == 4 else net.concat([net.conv(x, 2), wide])


def _gather(net: Net, x: str, block: Block) -> str:
    way, n = block.variant % 5, 2 * block.width
    x = net.act(net.conv(x, n), 0)
    side = net.shapes[x][1]
    if way == 0:
        index = net.integers(*net.rng.integers(-n, n, 3).tolist())
        return net.concat([x, net.node("Gather", [x, index], (3, side), axis=1)])
    if way == 1:
        index = net.constant(np.array(block.width, dtype=np.int64))
        one = net.squeeze("Unsqueeze", net.aside("Gather", x, index, axis=1), 1)
        net.shapes[one] = (1, side)
        return net.concat([x, one])
    if way == 2:
        index = net.integers(*net.rng.permutation(side).tolist())
        return net.same("Gather", x, index, axis=2)
    if way == 3:
        index = net.integers(*net.rng.permutation(n).tolist())
        return net.act(net.same("Gather", x, index, axis=1), 0)
    five = net.aside("Reshape", x, net.integers(0, 2, n // 2, side, side))
    halves = []
    for k in (1, 0):
        half = net.aside("Gather", five, net.constant(np.array(k, dtype=np.int64)), axis=1)
        net.shapes[half] = (n // 2, side)
        halves.append(half)
    return net.concat([net.act(halves[0], 0), net.conv(halves[1], 3)])


def _slice(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 6, net.shapes[x]

    def cut(axis: int, start: int, end: int, step: int = 1) -> str:
        extent = net.shapes[x][0] if axis == 1 else side
        length = len(range(*slice(start, end, step).indices(extent)))
        bounds = [net.integers(v) for v in (start, end, axis)]
        bounds += [net.integers(step)] if step != 1 or block.variant % 2 else []
        shape = (length, side) if axis == 1 else (n, length)
        return net.node("Slice", [x, *bounds], shape)

    if way == 0 and side >= 4:  # Focus
        parts = []
        for k in range(4):
            bounds = [net.integers(*v) for v in ([k // 2, k % 2], [side, side], [2, 3], [2, 2])]
            parts.append(net.node("Slice", [x, *bounds], (n, side // 2)))
        return net.conv(net.concat(parts), block.width)
    if way == 1:
        return net.concat([cut(1, n // 2, 2**63 - 1), cut(1, 0, n // 2)])
    if way == 2:
        return net.concat([cut(1, 1, n), cut(1, -(n // 2), 2**63 - 1)])
    if way == 3:  # a stretch in the middle, alone
        x = net.conv(x, block.width + 2)
        return cut(1, 1, block.width + 1)
    if way == 4 and block.variant % 4:
        return net.concat([x, cut(1, 0, n, 2)])
    if way == 5:
        return net.act(cut(1, -1, -n - 1, -1), 0)
    return net.same(
        "Slice", x, net.integers(-1), net.integers(-100), net.integers(3), net.integers(-1)
    )


def _pad(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    if way < 3:
        more = {"mode": ["constant", "reflect", "edge"][way]}
        if net.opset >= 18 and block.variant % 2:
            inputs = [x, net.integers(1, 1, 1, 1), "", net.integers(2, 3)]
        else:
            inputs = [x, net.integers(0, 0, 1, 1, 0, 0, 1, 1)]
        padded = net.node("Pad", inputs, (n, side + 2), **more)
        bounds = [net.integers(v, v) for v in (1, side + 1)]
        return net.node("Slice", [padded, *bounds, net.integers(2, 3)], (n, side))
    if way == 3 and side >= 4:  # the shortcut of option A
        half = side // 2
        bounds = [net.integers(*v) for v in ([0, 0], [side, side], [2, 3], [2, 2])]
        x2 = net.node("Slice", [x, *bounds], (n, half))
        short = net.node("Pad", [x2, net.integers(0, 1, 0, 0, 0, 2, 0, 0)], (n + 3, half))
        outer = net.conv(net.act(net.conv(x, block.width, stride=2), 0), n + 3)
        return net.act(net.add(outer, short), 0)
    return net.node("Pad", [x, net.integers(0, 2, 0, 0, 0, 1, 0, 0)], (n + 3, side))


def _resize(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    if side > SIDE:
        return net.act(x, block.variant)
    scales = np.array([1, 1, 2, 2])
    mode = ["nearest", "linear"][block.variant % 2]
    empty = [net.constant(np.zeros(0)) if net.opset < 13 else "" for _ in range(2)]
    shape = (n, 2 * side)
    if way < 2:
        return net.node("Resize", [x, empty[0], net.constant(scales * 1.0)], shape, mode=mode)
    if way == 2:
        sizes = net.integers(BATCH, n, 2 * side, 2 * side)
    elif way == 3:
        start = net.aside("Slice", net.aside("Shape", x), net.integers(0), net.integers(2))
        sizes = net.aside("Concat", start, net.integers(2 * side, 2 * side), axis=0)
    else:
        two = net.constant(np.array(2, dtype=np.int64))
        high, wide = (net.aside("Mul", net.extent(x, a), two) for a in (2, 3))
        sizes = net.vector(net.extent(x, 0), n, high, wide)
    return net.node("Resize", [x, *empty, sizes], shape, mode=mode)


def _channels_last(net: Net, x: str, block: Block) -> str:
    """A stretch of the network as TensorFlow writes it."""
    way, (n, side) = block.variant % 4, net.shapes[x]
    y, m = net.transpose(x, 0, 2, 3, 1), n
    if way == 0:
        m = block.width
        weight = net.normal(n, m, fan_in=n)
        if block.variant % 3 or net.opset < 12:
            y = net.same("MatMul", y, weight)
        else:
            y = net.aside("Einsum", y, weight, equation="bhwc,cd->bhwd")
        y = net.add(y, net.constant(net.rng.uniform(-0.5, 0.5, m)))
    elif way == 1:
        m = block.width
        y = net.same("MatMul", y, net.normal(n, 2 * m, fan_in=n))
        shapes = [(m, side), (m, side)]
        if net.opset >= 18:
            left, right = net.nodes_out("Split", [y], shapes, axis=-1, num_outputs=2)
        else:
            left, right = net.nodes_out("Split", [y], shapes, axis=-1)
        y = net.same("Mul", left, net.same("Sigmoid", right))
    elif way == 2:
        m = n + block.width
        other = net.same("MatMul", y, net.normal(n, block.width, fan_in=n))
        y = net.aside("Concat", y, net.same("Tanh", other), axis=3)
    else:
        y = net.same("Mul", y, net.constant(net.rng.uniform(0.5, 1.5, n)))
        y = net.act(y, 0)
    y = net.transpose(y, 0, 3, 1, 2)
    net.shapes[y] = (m, side)
    return y


def _computed_shape(net: Net, x: str, block: Block) -> str:
    """To (batch, channels, positions) and back, by sizes that the graph reads off itself."""
    way, (n, side) = block.variant % 5, net.shapes[x]
    x = net.conv(x, n) if block.variant % 2 else x
    if way == 0:
        flat = net.vector(net.extent(x, 0), net.extent(x, 1), -1)
    elif way == 1:
        positions = net.aside("Mul", net.extent(x, 2), net.extent(x, 3))
        flat = net.vector(net.extent(x, 0), -1, positions)
    elif way == 2:
        flat = net.vector(net.extent(x, 0), n, side * side)
    elif way == 3:
        start = net.aside("Slice", net.aside("Shape", x), net.integers(0), net.integers(2))
        flat = net.aside("Concat", start, net.integers(-1), axis=0)
    else:
        flat = net.integers(0, 0, -1)
    y = net.same("Reshape", x, flat)
    y = net.same("MatMul", y, net.normal(side * side, side * side, fan_in=side * side))
    if block.variant % 3 == 0:
        back = net.aside("Shape", x)
    elif block.variant % 3 == 1:
        back = net.vector(net.extent(x, 0), net.extent(x, 1), net.extent(x, 2), -1)
    else:
        back = net.integers(0, -1, side, side)
    return net.add(net.node("Reshape", [y, back], (n, side)), x)


def _chunk(net: Net, x: str, block: Block) -> str:
    """torch.chunk by TorchScript: slices whose bounds are computed of the number of channels."""
    n = 2 * block.width - block.variant % 2
    x = net.act(net.conv(x, n), 0)
    side, one = net.shapes[x][1], net.integers(1)
    extent = net.aside("Gather", net.aside("Shape", x), net.integers(1), axis=0)
    half = net.aside("Div", net.add(extent, one), net.integers(2))
    whole = net.aside("Mul", half, net.integers(2))
    middle = -(-n // 2)
    left = net.node("Slice", [x, net.integers(0), half, one], (middle, side))
    right = net.node("Slice", [x, half, whole, one], (n - middle, side))
    left = net.act(net.conv(left, 3), 0) if block.variant % 4 < 2 else left
    return net.concat([right, left])


def _locked(net: Net, x: str, block: Block) -> str:
    """What works across the channels: they stay, and everything else can still be pruned."""
    way = block.variant % 4
    x = net.conv(x, block.width)
    n, side = net.shapes[x]
    if way == 0:  # attention between positions
        flat = net.aside("Reshape", x, net.integers(0, n, side * side))
        scores = net.aside("MatMul", net.transpose(flat, 0, 2, 1), flat)
        scores = net.aside("Softmax", net.same("Mul", scores, net.number(0.3)), axis=2)
        flat = net.aside("MatMul", flat, scores)
        y = net.node("Reshape", [flat, net.integers(0, n, side, side)], (n, side))
    elif way == 1:
        y = net.same("CumSum", x, net.constant(np.array(1, dtype=np.int64)))
    elif way == 2:  # the dot product of two layers
        y = net.reduce("ReduceSum", net.same("Mul", x, net.conv(x, n)), [1])
        y = net.same("Mul", x, net.same("Sigmoid", y))
    else:  # as the channels of two images in one
        y = net.aside("Reshape", x, net.integers(1, BATCH * n, side, side))
        y = net.node(
            "Reshape", [net.same("Tanh", y), net.integers(BATCH, n, side, side)], (n, side)
        )
    return net.conv(net.add(y, x), 4, k=1)


# ── heads ───────────────────────────────────────────────────────────────────────────────────────


def _gemm(net: Net, x: str, n_in: int, n: int, transposed: bool) -> str:
    weight = net.normal(*((n, n_in) if transposed else (n_in, n)), fan_in=n_in)
    bias = net.normal(n, fan_in=25.0)
    return net.node("Gemm", [x, weight, bias], (n, 1), transB=int(transposed))


def _flatten_head(net: Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Flatten", [x], (n * side * side, 1), axis=1)
    hidden = net.act(_gemm(net, flat, n * side * side, 6, transposed=True), 0)
    return _gemm(net, hidden, 6, 4, transposed=False)


def _reshape_head(net: Net, x: str) -> str:
    n, side = net.shapes[x]
    flat = net.node("Reshape", [x, net.integers(BATCH, n * side * side)], (n * side * side, 1))
    return _gemm(net, flat, n * side * side, 4, transposed=False)


def _pool_head(net: Net, x: str) -> str:
    n = net.shapes[x][0]
    pooled = net.node("GlobalAveragePool", [x], (n, 1))
    return _gemm(net, net.node("Flatten", [pooled], (n, 1)), n, 4, transposed=True)


def _conv_head(net: Net, x: str) -> str:
    return net.conv(x, 3, k=1)


def _matmul_head(net: Net, x: str) -> str:
    """The matrix is stored transposed, and transposed by the graph."""
    n = net.shapes[x][0]
    pooled = net.reduce("ReduceMean", x, [2, 3], keepdims=0)
    weight = net.transpose(net.normal(6, n, fan_in=n), 1, 0)
    hidden = net.act(net.node("MatMul", [pooled, weight], (6, 1)), 0)
    y = net.node("MatMul", [hidden, net.normal(6, 4, fan_in=6)], (4, 1))
    return net.add(y, net.normal(4, fan_in=25.0))


BLOCKS: dict[Kind, Callable[[Net, str, Block], str]] = {
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
    "transposed": _transposed,
    "unary": _unary,
    "elementwise": _elementwise,
    "logic": _logic,
    "instance-norm": _instance_norm,
    "group-norm": _group_norm,
    "layer-norm": _layer_norm,
    "softmax": _softmax,
    "selective": _selective,
    "reduce": _reduce,
    "arg": _arg,
    "blocks-of-depth": _blocks_of_depth,
    "tile": _tile,
    "expand": _expand,
    "gather": _gather,
    "slice": _slice,
    "pad": _pad,
    "resize": _resize,
    "channels-last": _channels_last,
    "computed-shape": _computed_shape,
    "chunk": _chunk,
    "shared-weight": _shared_weight,
    "made-weight": _made_weight,
    "locked": _locked,
}
_HEADS: dict[Head, Callable[[Net, str], str]] = {
    "flatten": _flatten_head,
    "reshape": _reshape_head,
    "pool": _pool_head,
    "conv": _conv_head,
    "matmul": _matmul_head,
}
