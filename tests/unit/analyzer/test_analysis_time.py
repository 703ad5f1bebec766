"""The analysis of a large graph takes seconds, not minutes."""

from __future__ import annotations

import time

import numpy as np
import onnx
from onnx import helper, numpy_helper

import reprune_onnx as rp

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
        own = [f"c{k}", *(f"{p}{k}" for p in "gbmv")]
        nodes.append(helper.make_node("BatchNormalization", own, [f"n{k}"]))
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
