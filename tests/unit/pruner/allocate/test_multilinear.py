"""The price of a selection as a formula equals what is counted on the selection itself."""

from typing import Any, Literal, get_args

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.measure import cost
from reprune_onnx.types import Bools, ChannelMap, Group

RNG = np.random.default_rng(1)
Measure = Literal["macs", "params", "channels"]

GRAPHS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "coupled": (
        """a = Conv <pads = [1,1,1,1]> (x, w1, b1)
        n = BatchNormalization (a, g1, b1, m1, v1)
        r = Relu (n)
        b = Conv <pads = [1,1,1,1]> (r, w2)
        c = Add (a, b)
        d = Conv <strides = [2,2]> (c, w3)
        p = GlobalAveragePool (d)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w4, b4)""",
        {
            **{"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (12, 8, 1, 1), "w4": (5, 12)},
            **{"b1": (8,), "g1": (8,), "m1": (8,), "v1": (8,), "b4": (5,)},
        },
    ),
    "depthwise": (
        """a = Conv (x, w1)
        b = Conv <group = 8, pads = [1,1,1,1]> (a, w2, b2)
        c = Relu (b)
        d = Conv (c, w3)
        e = Conv <group = 6> (d, w4)
        f = Flatten (e)
        y = Gemm (f, w5)""",
        {
            **{"w1": (8, 3, 1, 1), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (6, 8, 1, 1)},
            **{"w4": (12, 1, 7, 7), "w5": (48, 5)},
        },
    ),
    "grouped": (
        """a = Conv (x, w1)
        b = Conv <group = 2, pads = [1,1,1,1]> (a, w2)
        c = ConvTranspose <group = 3, strides = [2,2]> (b, w3)
        d = Conv (c, w4)
        p = GlobalAveragePool (d)
        y = Flatten (p)""",
        {"w1": (8, 3, 1, 1), "w2": (12, 4, 3, 3), "w3": (12, 4, 2, 2), "w4": (7, 12, 1, 1)},
    ),
    "concat": (
        """a = Conv (x, w1)
        b = Conv (x, w2)
        c = Concat <axis = 1> (a, x, b)
        d = Conv <pads = [1,1,1,1]> (c, w3)
        e = Concat <axis = 1> (d, a)
        h = Transpose <perm = [0,2,3,1]> (e)
        m = MatMul (h, w4)
        y = Add (m, b4)""",
        {
            **{"w1": (6, 3, 1, 1), "w2": (5, 3, 1, 1), "w3": (7, 14, 3, 3)},
            **{"w4": (13, 4), "b4": (4,)},
        },
    ),
}


def network(name: str) -> onnx.ModelProto:
    body, shapes = GRAPHS[name]
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] x) => (float[] y) {{ {body} }}"""
    weights = {key: np.abs(RNG.standard_normal(shape)) for key, shape in shapes.items()}
    return onnx.shape_inference.infer_shapes(model(text, **weights))


def kept(channels: ChannelMap, groups: list[Group], k: Any, rng: Any) -> Bools:
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for g, n in zip(groups, k, strict=True):
        keep[rng.choice(g.units, g.n - n, replace=False)] = False
    return keep


@pytest.mark.parametrize("measure", get_args(Measure))
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_count_of_any_selection(name: str, measure: Measure) -> None:
    graph = graph_of(rp.Model(network(name)))
    channels = channels_of(graph, rp.Scope(residual="prune"))
    groups = [g for g in channels.groups if g.free.any()]
    assert len(groups) >= 2
    price = multilinear(graph, channels, groups, measure)
    rng = np.random.default_rng(0)
    for _ in range(20):
        k = np.array([rng.integers(1, g.n + 1) for g in groups])
        selected = cost(graph, channels, kept(channels, groups, k, rng))
        if measure == "channels":
            assert price(k) == k.sum()
        else:
            assert price(k) == pytest.approx(getattr(selected, measure), abs=1e-6)
    full = np.array([g.n for g in groups])
    full_cost = full.sum() if measure == "channels" else getattr(cost(graph, channels), measure)
    assert price(full) == full_cost


@pytest.mark.parametrize("measure", get_args(Measure))
@pytest.mark.parametrize("name", GRAPHS)
def test_along_one_group_is_the_price_with_each_value(name: str, measure: Measure) -> None:
    graph = graph_of(rp.Model(network(name)))
    channels = channels_of(graph, rp.Scope(residual="prune"))
    groups = [g for g in channels.groups if g.free.any()]
    price = multilinear(graph, channels, groups, measure)
    rng = np.random.default_rng(0)
    k = np.array([rng.integers(1, g.n + 1) for g in groups], dtype=np.float64)
    for g in range(len(groups)):
        values = np.arange(1, groups[g].n + 1)
        expected = [price(np.where(np.arange(len(k)) == g, v, k)) for v in values]
        np.testing.assert_allclose(price.along(g, k, values), expected, rtol=1e-12)


def test_only_some_groups_move() -> None:
    """A layer whose other side belongs to no group is priced at its full size there."""
    graph = graph_of(rp.Model(network("coupled")))
    channels = channels_of(graph, rp.Scope(residual="prune"))
    groups = [g for g in channels.groups if g.free.any()]
    rng = np.random.default_rng(0)
    for g in groups:
        price = multilinear(graph, channels, [g], "macs")
        for n in range(1, g.n + 1):
            expected = cost(graph, channels, kept(channels, [g], [n], rng)).macs
            assert price(np.array([n])) == pytest.approx(expected, abs=1e-6)
