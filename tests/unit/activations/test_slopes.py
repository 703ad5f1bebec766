"""The share of an error that gets through an activation function, against its derivative."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.activations.joint import joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.makers import Network
from reprune_onnx.activations.slopes import Activation, activation_of
from reprune_onnx.activations.stretch import Parts
from reprune_onnx.analyzer import channels_of, graph_of

CHANNELS = 3
RNG = np.random.default_rng(0)
Z = 2 * RNG.standard_normal((4000, CHANNELS)).astype(np.float32) - 0.5
SLOPES = np.array([0.1, 0.3, -0.2], np.float32)
WEIGHTS = {
    "w": RNG.standard_normal((CHANNELS, 2, 1, 1)),
    "m": RNG.standard_normal((2, CHANNELS)),
    "v": RNG.standard_normal((2, CHANNELS, 1, 1)),
    "p": SLOPES.reshape(-1, 1, 1),
    "by_place": RNG.standard_normal((1, 1, 4, 4)),
    "zero": np.float32(0),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "three": np.float32(3),
    "six": np.float32(6),
    "more": np.array([1, 1, 1, 1]),
    "root": np.float32(np.sqrt(2)),
}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def silu_slope(z: np.ndarray) -> np.ndarray:
    return sigmoid(z) * (1 + z * (1 - sigmoid(z)))


def gelu_slope(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def hard_swish_slope(z: np.ndarray) -> np.ndarray:
    return np.where(z < -3, 0, np.where(z > 3, 1, (2 * z + 3) / 6))


CONV = "z = Conv (x, w)  "
NEXT = "  y = Conv (a, v)"
CASES = {
    "Relu": ("a = Relu (z)", lambda z: z > 0),
    "ReLU6": ("a = Clip (z, zero, six)", lambda z: (z > 0) & (z < 6)),
    "LeakyRelu": ("a = LeakyRelu <alpha = 0.2> (z)", lambda z: np.where(z > 0, 1, 0.2)),
    "PRelu": ("a = PRelu (z, p)", lambda z: np.where(z > 0, 1, SLOPES)),
    "SiLU": ("s = Sigmoid (z)  a = Mul (z, s)", silu_slope),
    "GELU": (
        "d = Div (z, root)  e = Erf (d)  f = Add (e, one)  g = Mul (z, f)  a = Mul (g, half)",
        gelu_slope,
    ),
    "HardSwish in parts": (
        "b = Add (z, three)  c = Clip (b, zero, six)  d = Mul (z, c)  a = Div (d, six)",
        hard_swish_slope,
    ),
    "a function of each channel": (
        "n = Neg (z)  b = Mul (n, p)  a = Relu (b)",
        lambda z: SLOPES * (z * SLOPES < 0),
    ),
    "through a Dropout": ("b = Dropout (z)  a = Relu (b)", lambda z: z > 0),
}
"""Steps from z to a, and the derivative of a."""


def activation(body: str, rank: int = 4) -> Activation | None:
    """What lies behind the first layer of a network."""
    x = "float[n,2,4,4] x" if rank == 4 else f"float[{','.join(['n', '5', '2'][4 - rank - 1 :])}] x"
    text = f"""<ir_version: 8, opset_import: ["": 17]> g ({x}) => (float[] y) {{ {body} }}"""
    used = {name: array for name, array in WEIGHTS.items() if f" {name}" in body}
    proto = onnx.shape_inference.infer_shapes(text_graphs.model(text, **used))
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope())
    network = Network(rp.Model(proto), graph, channels, {})
    layer = min(channels.layers, key=lambda layer: layer.node)
    linear = Linear(graph.ops[layer.node], layer.shape)
    return activation_of(network, Parts(network.model), linear, joint_of(graph, channels, linear))


@pytest.mark.parametrize(("steps", "slope"), CASES.values(), ids=list(CASES))
def test_squared_slopes_are_those_of_the_function(steps, slope):
    f = activation(CONV + steps + NEXT)
    assert f is not None
    expected = (slope(Z.astype(np.float64)).astype(np.float64) ** 2).sum(axis=0)
    np.testing.assert_allclose(f.squared_slopes(Z), expected, rtol=0.02)


def test_channels_of_a_matrix_product_lie_last():
    f = activation("z = MatMul (x, m)  a = Relu (z)  y = ReduceSum (a)", rank=3)
    assert f is not None
    np.testing.assert_allclose(f.squared_slopes(Z), (Z > 0).sum(axis=0), rtol=0.02)


def test_everything_that_is_read_of_a_tensor_counts():
    """z goes on as it is and through a ReLU."""
    f = activation(f"{CONV} r = Relu (z)  a = Conv (r, v)  b = Conv (z, v)  y = Add (a, b)")
    assert f is not None
    np.testing.assert_allclose(f.squared_slopes(Z), len(Z) + (Z > 0).sum(axis=0), rtol=0.02)


def test_an_output_of_the_network_is_read():
    f = activation(f"{CONV} y = Relu (z)")
    assert f is not None
    np.testing.assert_allclose(f.squared_slopes(Z), (Z > 0).sum(axis=0), rtol=0.02)


@pytest.mark.parametrize(
    "body",
    [
        f"{CONV} y = Conv (z, v)",
        f"{CONV} y = MaxPool <kernel_shape = [2, 2]> (z)",
        f"{CONV} y = Softmax <axis = 1> (z)",
        f"{CONV} y = Mul (z, by_place)",
        f"{CONV} o = Conv (x, w)  y = Mul (z, o)",
    ],
    ids=["a layer", "a pool", "a softmax", "a map of places", "another tensor"],
)
def test_other_readers_are_no_function(body):
    assert activation(body) is None


def test_results_that_are_no_numbers_have_no_slope():
    assert activation(f"{CONV} b = Greater (z, zero)  y = Where (b, z, one)") is not None
    assert (
        activation(f"{CONV} b = Greater (z, zero)  c = Cast <to = 6> (b)  y = Expand (c, more)")
        is None
    )


def test_a_channel_without_variance_has_a_slope():
    f = activation(f"{CONV} a = LeakyRelu <alpha = 0.5> (z) {NEXT}")
    assert f is not None
    flat = np.zeros_like(Z)
    flat[:, 1] = 7.0
    slopes = f.squared_slopes(flat) / len(Z)
    assert np.isfinite(slopes).all()


def test_values_far_from_zero_are_no_matter_of_rounding():
    f = activation(f"{CONV} a = LeakyRelu <alpha = 0.5> (z) {NEXT}")
    assert f is not None
    far = (1000 + 0.001 * Z).astype(np.float32)
    np.testing.assert_allclose(f.squared_slopes(far), len(Z), rtol=0.02)


@pytest.mark.parametrize("op", ["Sqrt", "Log"])
def test_a_function_that_ends_beside_a_sample_counts_all_alike(op):
    f = activation(f"{CONV} a = {op} (z) {NEXT}")
    assert f is not None
    beside = np.abs(Z)
    beside[0] = 1e-9
    np.testing.assert_array_equal(f.squared_slopes(beside), np.full(CHANNELS, len(Z)))
