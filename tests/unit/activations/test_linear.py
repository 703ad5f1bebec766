"""A layer as a linear map: its rows and its matrix give what ONNX Runtime computes."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from text_graphs import model

from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

Array = np.ndarray[Any, np.dtype[Any]]
SIZES = {1: (7,), 2: (6, 5), 3: (4, 5, 3)}


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def graph_of(op: str, x: Array, constants: list[Array], attributes: dict[str, Any]) -> Graph:
    names = [f"w{k}" for k in range(len(constants))]
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, ["x", *names], ["y"], **attributes)],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return Graph(Model(proto))


def check(op: str, x: Array, constants: list[Array], **attributes: Any) -> None:
    """X·Wᵀ + bias is ONNX Runtime's output, at all positions and at some."""
    graph = graph_of(op, x, constants, attributes)
    y = Session(graph.proto, optimize=False).run({"x": x})["y"]
    weight = constants[0]
    layer = Linear(graph.ops[0], weight.shape)
    W = layer.matrix(weight)
    assert layer.n_out == W.shape[0] * W.shape[1]
    assert layer.fan_in == W.shape[2]
    np.testing.assert_allclose(layer.weight(W), weight, rtol=1e-6, atol=0)
    n = layer.positions(y)
    for at in (np.arange(n), np.arange(n)[n // 2 :: 2]):
        X = layer.inputs(x, y.shape, at)
        Y = np.concatenate([rows @ w.T for rows, w in zip(X, W, strict=True)], axis=1)
        expected = layer.outputs(y, at)
        assert expected.shape == (len(x) * len(at), layer.n_out)
        np.testing.assert_allclose(Y + layer.bias(graph), expected, rtol=1e-4, atol=1e-4)


def conv(op: str, rank: int, groups: tuple[int, int, int], kernel: int, **more: Any) -> None:
    """``groups`` are (g, input channels and output channels per group)."""
    g, n_in, n_out = groups
    k = [kernel, kernel + 1, 2][:rank]
    shape = (g * n_out, n_in, *k) if op == "Conv" else (g * n_in, n_out, *k)
    x = normal(3, g * n_in, *SIZES[rank])
    check(op, x, [normal(*shape, seed=1), normal(g * n_out, seed=2)], group=g, **more)


OPS = ["Conv", "ConvTranspose"]
GROUPS = {"dense": (1, 4, 3), "grouped": (2, 2, 3), "depthwise": (4, 1, 1), "multiplied": (4, 1, 2)}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_of_every_rank(op: str, rank: int, groups: Any, kernel: int) -> None:
    conv(op, rank, groups, kernel)
    conv(op, rank, groups, kernel, strides=[2] * rank, pads=[1, 0, 1][:rank] * 2)


@settings(deadline=None, max_examples=60, database=None, derandomize=True)
@given(
    op=st.sampled_from(OPS),
    groups=st.sampled_from(list(GROUPS.values())),
    kernel=st.integers(1, 3),
    strides=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    dilations=st.lists(st.integers(1, 2), min_size=2, max_size=2),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_strides_dilations_and_pads(
    op: str, groups: Any, kernel: int, strides: Any, dilations: Any, pads: Any
) -> None:
    conv(op, 2, groups, kernel, strides=strides, dilations=dilations, pads=pads)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("auto_pad", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_auto_pad(op: str, auto_pad: str, stride: int) -> None:
    for kernel in (1, 2, 3, 4):
        conv(op, 2, (2, 2, 3), kernel, auto_pad=auto_pad, strides=[stride, 1])
    conv(op, 1, (1, 2, 3), 3, auto_pad=auto_pad, strides=[stride])


@pytest.mark.parametrize("auto_pad", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("extra", [0, 1])
def test_the_output_padding_of_a_transposed_convolution(auto_pad: str, extra: int) -> None:
    for kernel, stride in product((1, 2, 3, 4), (2, 3)):
        padding = {"pads": [1, 0, 0, 1]} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
        conv(
            *("ConvTranspose", 2, (2, 2, 3), kernel),
            strides=[stride, 2],
            output_padding=[extra, 1 - extra],
            **padding,
        )


@pytest.mark.parametrize("auto_pad", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("output_padding", [[0, 0], [1, 0], [1, 1]])
def test_the_output_shape_of_a_transposed_convolution(
    auto_pad: str, output_padding: list[int]
) -> None:
    full = [(n - 1) * 2 + k for n, k in zip(SIZES[2], (3, 4), strict=True)]
    for less in range(4):
        conv(
            *("ConvTranspose", 2, (1, 3, 2), 3),
            strides=[2, 2],
            output_shape=[n + p - less for n, p in zip(full, output_padding, strict=True)],
            output_padding=output_padding,
            auto_pad=auto_pad,
        )


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,), ()], ids=str)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, -2.0)])
def test_gemm(transposed: int, bias: Any, alpha: float, beta: float) -> None:
    weight = normal(5, 4) if transposed else normal(4, 5)
    constants = [weight] if bias is None else [weight, normal(*bias)]
    check("Gemm", normal(6, 4), constants, transB=transposed, alpha=alpha, beta=beta)


@pytest.mark.parametrize("shape", [(6, 5), (6, 1), (5, 1)], ids=str)
def test_what_a_gemm_adds_row_by_row_is_no_bias(shape: tuple[int, int]) -> None:
    graph = graph_of("Gemm", normal(shape[0], 4), [normal(4, 5), normal(*shape)], {})
    layer = Linear(graph.ops[0], (4, 5))
    assert not layer.has_plain_bias(graph)
    assert not layer.bias(graph).any()


def test_an_activation_that_a_gemm_adds_is_no_bias() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[6,4] x, float[5] c) => (float[6,5] y) { y = Gemm (x, w, c) }""",
        w=normal(4, 5),
    )
    graph = Graph(Model(proto))
    layer = Linear(graph.ops[0], (4, 5))
    assert not layer.has_plain_bias(graph)
    assert not layer.bias(graph).any()


@pytest.mark.parametrize("lead", [(6,), (3, 7), (2, 3, 5)], ids=str)
def test_matmul(lead: tuple[int, ...]) -> None:
    check("MatMul", normal(*lead, 4), [normal(4, 5)])
