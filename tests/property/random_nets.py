"""A network in the making: its nodes, its weights, and how it becomes a file."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from random_recipes import BATCH, SIDE, Form, Recipe

EXTENTS = {"n": BATCH, "h": SIDE, "w": SIDE}


class Net:
    """A graph in the making; ``shapes`` are (channels, side) of every activation."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.opset = recipe.opset
        self.rng = np.random.default_rng(recipe.seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, int]] = {}
        self.inputs: dict[str, tuple[int, tuple[str | int, ...]]] = {}
        self.input("x", TensorProto.FLOAT, "n", 3, "h", "w")

    def model(self, y: str, rank: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [
                helper.make_tensor_value_info(name, kind, [EXTENTS.get(n, n) for n in shape])
                for name, (kind, shape) in self.inputs.items()
            ],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
            self.tensors,
        )
        model = helper.make_model(graph, opset_imports=self._opsets(), ir_version=8)
        stated = [
            self._stated(n)
            for n in self.nodes
            if n.op_type == "GroupNormalization" or (n.domain and self.shapes[n.output[0]][0])
        ]
        model.graph.value_info.extend(stated)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        if not model.graph.output[0].type.tensor_type.HasField("shape") or self.recipe.symbolic:
            shape = [f"y{axis}" for axis in range(rank)]
            output = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
            model.graph.output[0].CopyFrom(output)
        if self.recipe.symbolic:
            del model.graph.value_info[:]
            model.graph.value_info.extend(stated)
            for given, (name, (kind, symbols)) in zip(
                model.graph.input, self.inputs.items(), strict=True
            ):
                given.CopyFrom(helper.make_tensor_value_info(name, kind, symbols))
            _open_bodies(model.graph)
        _put_weights(model, self.recipe.form)
        onnx.checker.check_model(model, full_check=True)
        if self.recipe.shuffled:
            nodes = [model.graph.node[k] for k in self.rng.permutation(len(model.graph.node))]
            copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
            del model.graph.node[:]
            model.graph.node.extend(copies)
        return model

    def input(self, name: str, kind: int, *shape: str | int) -> str:
        """An input of the graph, of which extents may be symbols (`EXTENTS`)."""
        self.inputs[name] = kind, shape
        self.shapes[name] = (3, SIDE)
        return name

    def _opsets(self) -> list[onnx.OperatorSetIdProto]:
        """ONNX's, and the first of every other domain that a node is of."""
        others = sorted({node.domain for node in self.nodes} - {""})
        standard = helper.make_opsetid("", self.opset)
        return [standard, *(helper.make_opsetid(domain, 1) for domain in others)]

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

    def scalar(self, value: int) -> str:
        return self.constant(np.array(value, dtype=np.int64))

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
        if self.recipe.dense and stride == group == 1:
            return self._product(x, n)
        per_group = self.shapes[x][0] // group
        weight = self.normal(n, per_group, k, k, fan_in=per_group * k * k)
        return self.conv_with(x, weight, (n, k), stride, group)

    def _product(self, x: str, n: int) -> str:
        """A layer as a product with a matrix, at every position."""
        n_in, side = self.shapes[x]
        last = self.transpose(x, 0, 2, 3, 1)
        y = self.aside("MatMul", last, self.normal(n_in, n, fan_in=n_in))
        if self.rng.random() < 0.5:
            y = self.aside("Add", y, self.normal(n, fan_in=25.0))
        return self.node("Transpose", [y], (n, side), perm=[0, 3, 1, 2])

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


def _open_bodies(graph: onnx.GraphProto) -> None:
    """No body states batches and sides, neither of what it gives back nor inside."""
    for body in (a.g for node in graph.node for a in node.attribute if a.HasField("g")):
        del body.value_info[:]
        for output in body.output:
            for axis, dim in enumerate(output.type.tensor_type.shape.dim):
                if axis != 1:
                    dim.Clear()


def _put_weights(model: onnx.ModelProto, form: Form) -> None:
    graph = model.graph
    if form == "constant nodes":
        weights = list(graph.initializer)
        del graph.initializer[:]
        nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in weights]
        nodes_now = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *nodes_now])
    elif form == "inputs":
        model.ir_version = 3
        graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in graph.initializer
        )
