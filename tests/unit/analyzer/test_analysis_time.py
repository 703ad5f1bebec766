"""The analysis of a large graph takes seconds, not minutes, and of a hostile one too."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer.labels import MOST, LabelSpace

CONVS = 500


def deep_residual_network() -> onnx.ModelProto:
    """250 residual blocks of two 3x3 convolutions of 64 channels, every conv with its BN."""
    nodes, weights = [], []
    kernel = np.zeros((64, 64, 3, 3), np.float32)
    ones = np.ones(64, np.float32)

    def conv_bn(source: str, k: int) -> str:
        weights.append(numpy_helper.from_array(kernel, f"w{k}"))
        weights.extend(numpy_helper.from_array(ones, f"{p}{k}") for p in "gbmv")
        nodes.append(helper.make_node("Conv", [source, f"w{k}"], [f"c{k}"], pads=[1, 1, 1, 1]))
        names = [f"c{k}", *(f"{p}{k}" for p in "gbmv")]
        nodes.append(helper.make_node("BatchNormalization", names, [f"n{k}"]))
        return f"n{k}"

    stream = "x"
    for k in range(0, CONVS, 2):
        nodes.append(helper.make_node("Relu", [conv_bn(stream, k)], [f"r{k}"]))
        inner = conv_bn(f"r{k}", k + 1)
        nodes.append(helper.make_node("Add", [stream, inner], [f"s{k}"]))
        stream = f"s{k}"
    nodes.append(helper.make_node("GlobalAveragePool", [stream], ["y"]))
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", 1, ["n", 64, 32, 32])],
        [helper.make_tensor_value_info("y", 1, ["n", 64, 1, 1])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_five_hundred_convolutions_take_under_two_seconds() -> None:
    model = rp.Model(deep_residual_network())
    seconds = []
    for _ in range(3):
        start = time.process_time()
        channels = rp.analyze(model)
        seconds.append(time.process_time() - start)
    assert sum(g.free.any() for g in channels.groups) == CONVS // 2
    assert min(seconds) < 2.0, seconds


def deep_transformer(blocks: int = 125, c: int = 96, heads: int = 4) -> onnx.ModelProto:
    """Four layers in every block, and shapes that are computed, as PyTorch exports them."""
    nodes, weights = [], []

    def node(op: str, inputs: list[str], *outputs: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, list(outputs), **attributes))
        return outputs[0]

    def linear(x: str, name: str, n_in: int, n_out: int) -> str:
        for part, shape in (("w", (n_in, n_out)), ("b", (n_out,))):
            weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), name + part))
        return node("Add", [node("MatMul", [x, name + "w"], name + "m"), name + "b"], name + "y")

    def norm(x: str, name: str) -> str:
        return node("LayerNormalization", [x, "scale", "shift"], name, axis=-1)

    constants = {
        **{"scale": np.ones(c, np.float32), "shift": np.zeros(c, np.float32)},
        **{f"c{k}": np.array(k, np.int64) for k in range(3)},
        **{"kernel": np.zeros((c, 3, 4, 4), np.float32), "flat": np.array([0, c, -1])},
        **{"first": np.array([0]), "three": np.array([3]), "d": np.array([c // heads])},
        **{"heads": np.array([heads]), "all": np.array([c]), "root": np.float32(0.2)},
    }
    weights += [numpy_helper.from_array(a, name) for name, a in constants.items()]
    node("Conv", ["x", "kernel"], "patches", strides=[4, 4])
    node("Reshape", ["patches", "flat"], "rows")
    stream = node("Transpose", ["rows"], "start", perm=[0, 2, 1])
    for k in range(blocks):
        sizes = []
        for axis in (0, 1):
            node("Gather", [node("Shape", [stream], f"s{k}{axis}"), f"c{axis}"], f"g{k}{axis}")
            sizes.append(node("Unsqueeze", [f"g{k}{axis}", "first"], f"u{k}{axis}"))
        parts = node("Concat", [*sizes, "three", "heads", "d"], f"p{k}", axis=0)
        node("Reshape", [linear(norm(stream, f"n{k}"), f"qkv{k}", c, 3 * c), parts], f"r{k}")
        node("Transpose", [f"r{k}"], f"t{k}", perm=[2, 0, 3, 1, 4])
        q, key, v = (node("Gather", [f"t{k}", f"c{i}"], f"{x}{k}") for i, x in enumerate("qkv"))
        node("MatMul", [q, node("Transpose", [key], f"kt{k}", perm=[0, 1, 3, 2])], f"a{k}")
        scores = node("Softmax", [node("Mul", [f"a{k}", "root"], f"z{k}")], f"e{k}", axis=-1)
        node("Transpose", [node("MatMul", [scores, v], f"o{k}")], f"ot{k}", perm=[0, 2, 1, 3])
        node("Reshape", [f"ot{k}", node("Concat", [*sizes, "all"], f"j{k}", axis=0)], f"l{k}")
        stream = node("Add", [stream, linear(f"l{k}", f"proj{k}", c, c)], f"x{k}")
        hidden = node("Sigmoid", [linear(norm(stream, f"m{k}"), f"up{k}", c, 4 * c)], f"h{k}")
        stream = node("Add", [stream, linear(hidden, f"down{k}", 4 * c, c)], f"y{k}")
    linear(node("ReduceMean", [stream], "mean", axes=[1], keepdims=0), "head", c, 10)
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("heady", 1, ["n", 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_five_hundred_layers_of_a_transformer_take_under_three_seconds() -> None:
    model = rp.Model(deep_transformer())
    seconds = []
    for _ in range(3):
        start = time.process_time()
        channels = rp.analyze(model, rp.Scope(residual="prune"))
        seconds.append(time.process_time() - start)
    assert len(channels.layers) == 502
    assert all(g.free.all() for g in channels.groups if g.n != 10)
    assert min(seconds) < 3.0, seconds


def between(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A Conv from x to a, ``nodes`` from a to b, and a Conv from b to y."""
    kernels = {"w1": np.ones((8, 3, 3, 3), np.float32), "w2": np.ones((8, 8, 1, 1), np.float32)}
    convs = [
        helper.make_node("Conv", [s, w], [t]) for s, w, t in (("x", "w1", "a"), ("b", "w2", "y"))
    ]
    graph = helper.make_graph(
        [convs[0], *nodes, convs[1]],
        "between",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(v, k) for k, v in (kernels | weights).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def seconds_of(model: onnx.ModelProto) -> float:
    start = time.process_time()
    rp.analyze(rp.Model(model))
    return time.process_time() - start


@pytest.mark.parametrize("name", ["", "same"])
def test_ten_thousand_nodes_of_no_name_or_one(name) -> None:
    tensors = ["a", *(f"t{k}" for k in range(9_999)), "b"]
    chain = [helper.make_node("Relu", [s], [t], name) for s, t in pairwise(tensors)]
    assert seconds_of(between(chain, {})) < 8.0


def test_three_thousand_casts_like_an_activation() -> None:
    """The type of the activation is looked for once, not anew through all nodes before it."""
    tensors = ["a", *(f"t{k}" for k in range(3_000))]
    chain = [helper.make_node("Relu", [s], [t]) for s, t in pairwise(tensors)]
    casts = [helper.make_node("CastLike", ["c", t], [f"c_{t}"]) for t in tensors[:0:-1]]
    made = helper.make_node("Sum", [tensors[-1], *(n.output[0] for n in casts)], ["b"])
    model = between([*chain, *casts, made], {"c": np.ones(1, np.float32)})
    assert seconds_of(model) < 8.0


@pytest.mark.parametrize("op", ["Concat", "Tile", "SpaceToDepth", "Pad", "Conv"])
def test_a_few_nodes_that_would_make_more_labels_than_memory_holds(op) -> None:
    weights = {
        "times": np.array([1, 2**40, 1, 1]),
        "pads": np.array([0, 2**40, 0, 0, 0, 0, 0, 0]),
        "shape": np.array([2**23, 8, 1, 1]),
    }
    tensors = ["a", *(f"t{k}" for k in range(40))]
    many = {
        "Concat": [helper.make_node(op, [s, s], [t], axis=1) for s, t in pairwise(tensors)],
        "Tile": [helper.make_node(op, ["a", "times"], ["t39"])],
        "SpaceToDepth": [helper.make_node(op, ["a"], ["t39"], blocksize=2**20)],
        "Pad": [helper.make_node(op, ["a", "pads"], ["t39"])],
        "Conv": [
            helper.make_node("ConstantOfShape", ["shape"], ["w"]),
            helper.make_node(op, ["a", "w"], ["t39"]),
        ],
    }[op]
    mean = helper.make_node("ReduceMean", ["t39"], ["m"], axes=[1], keepdims=1)
    model = between([*many, mean, helper.make_node("Mul", ["a", "m"], ["b"])], weights)
    channels = rp.analyze(rp.Model(model))
    assert any("is not understood" in lock.reason for lock in channels.locks)
    assert max(x.ids.size for x in channels.tensors.values()) <= MOST


def blocks_of_groups(n: int) -> onnx.ModelProto:
    """Grouped convolutions, the channels of each compared with each other: they stay."""
    w = {"wide": np.ones((32, 8, 1, 1), np.float32), "narrow": np.ones((8, 32, 1, 1), np.float32)}
    sizes = {"pairs": np.array([1, 2, 16, 64]), "axis": np.array(1)}
    nodes = [helper.make_node("Conv", ["a", "wide"], ["t0"])]
    for k in range(1, n + 1):
        w[f"k{k}"] = np.ones((32, 4, 3, 3), np.float32)
        conv = [f"t{k - 1}", f"k{k}"]
        nodes.append(helper.make_node("Conv", conv, [f"c{k}"], group=8, pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Reshape", [f"c{k}", "pairs"], [f"p{k}"]))
        nodes.append(helper.make_node("CumSum", [f"c{k}", "axis"], [f"t{k}"]))
    nodes.append(helper.make_node("Conv", [f"t{n}", "narrow"], ["b"]))
    return between(nodes, w | sizes)


def test_arrangements_are_settled_in_time_that_grows_with_the_graph(monkeypatch) -> None:
    """All locks are looked at once, not anew for every array of the graph."""
    looked = [0]
    roots = LabelSpace.roots

    def counted(self, ids):
        looked[0] += ids.size
        return roots(self, ids)

    monkeypatch.setattr(LabelSpace, "roots", counted)
    sizes = []
    for n in (20, 40, 80):
        looked[0] = 0
        rp.analyze(rp.Model(blocks_of_groups(n)))
        sizes.append(looked[0])
    assert sizes[2] - sizes[1] < 2.2 * (sizes[1] - sizes[0]), sizes
