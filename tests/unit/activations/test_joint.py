"""Where a layer joins the rest: z = scale·y + shift + other is the tensor that ORT computes."""

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.joint import Joint, joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.runtime.ort import Session

RNG = np.random.default_rng(3)
C = 4
CONSTANTS: dict[str, Any] = {
    "w": RNG.standard_normal((C, C, 3, 3)),
    "m": RNG.standard_normal((C, C)),
    "gamma": RNG.uniform(-2, 2, C),
    "beta": RNG.standard_normal(C),
    "mean": RNG.standard_normal(C),
    "var": RNG.uniform(0.5, 2, C),
    "channel": RNG.uniform(0.5, 2, (C, 1, 1)),
    "channel4": RNG.uniform(0.5, 2, (1, C, 1, 1)),
    "vector": RNG.uniform(0.5, 2, C),
    "number": 1.5,
    "one": np.full((1, 1, 1, 1), 2.5),
    "five": np.full((1, 1, 1, 1, 1), 2.5),
    "columns": RNG.uniform(0.5, 2, (1, 1, 1, 4)),
    "zeros": np.array([1.0, 0.0, 2.0, 3.0]).reshape(C, 1, 1),
    "low": -0.5,
    "high": np.array([1.5]),
    "far_below": -1000.0,
    "far_above": 1000.0,
    "spatial": RNG.uniform(0.5, 2, (C, 5, 4)),
}
CONV = "y = Conv <pads = [1,1,1,1]> (e, w)"
BN = "BatchNormalization <epsilon = 0.01> (y, gamma, beta, mean, var)"
SHORT = "s = Conv <pads = [1,1,1,1]> (x, w)"


def network(body: str, opset: int = 17) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["": {opset}]>
    g (float[2,{C},5,4] x) => (float[2,{C},5,4] out) {{
      e = Conv <pads = [1,1,1,1]> (x, w)
      {body}
    }}"""
    return onnx.shape_inference.infer_shapes(model(text, **CONSTANTS))


def joint(proto: onnx.ModelProto, through_adds: bool = True) -> Joint:
    """The joint of the layer that makes ``y``, after a comparison with what ORT computes."""
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope())
    op = graph.producer("y")
    assert op is not None
    layer = Linear(op, graph.shape(op.inputs[1]))
    junction = joint_of(graph, channels, layer, through_adds)
    x = np.random.default_rng(0).standard_normal((2, C, 5, 4)).astype(np.float32)
    names = [*dict.fromkeys(["y", junction.tensor, *([junction.other] if junction.other else [])])]
    arrays = Session(proto, optimize=False, outputs=names).run({"x": x})
    y = np.moveaxis(arrays["y"], y_axis(layer), -1)
    z = y * junction.scale + junction.shift
    if junction.other is not None:
        z = z + np.moveaxis(arrays[junction.other], y_axis(layer), -1)
    expected = np.moveaxis(arrays[junction.tensor], y_axis(layer), -1)
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-4)
    return junction


def y_axis(layer: Linear) -> int:
    return -1 - layer.trailing


STEPS = {
    "batch norm": BN,
    "add": "Add (y, channel)",
    "add before": "Add (channel4, y)",
    "sub": "Sub (y, channel)",
    "sub from": "Sub (channel, y)",
    "mul": "Mul (y, channel4)",
    "mul before": "Mul (number, y)",
    "div": "Div (y, channel)",
    "div by a number": "Div (y, one)",
    "identity": "Identity (y)",
    "dropout": "Dropout (y)",
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_that_scales_or_shifts_is_followed(step: str) -> None:
    junction = joint(network(f"{CONV}\n z = {step}\n out = Tanh (z)"))
    assert (junction.tensor, junction.other, junction.bounded) == ("z", None, False)


def test_several_steps_and_a_shortcut() -> None:
    body = f"""{CONV}
      b = {BN}
      i = Identity (b)
      c = Mul (channel, i)
      d = Sub (number, c)
      f = Div (d, channel4)
      a = Add (e, f)
      out = Relu (a)"""
    junction = joint(network(body))
    assert (junction.tensor, junction.other, junction.low, junction.high) == ("a", "e", 0.0, np.inf)
    assert junction.bounded
    before = joint(network(body), through_adds=False)
    assert (before.tensor, before.other, before.bounded) == ("f", None, False)


ROUNDED = "r = Clip (y, far_below, far_above)"


def test_the_range_of_rounded_values_is_looked_through() -> None:
    """As it stands in a file in QDQ form between a layer and the Add or Relu behind it."""
    junction = joint(network(f"{CONV}\n {ROUNDED}\n a = Add (r, e)\n out = Relu (a)"))
    assert (junction.tensor, junction.other, junction.low) == ("a", "e", 0.0)
    junction = joint(network(f"{CONV}\n {ROUNDED}\n out = Relu (r)"))
    assert (junction.tensor, junction.low) == ("r", 0.0)
    junction = joint(network(f"{CONV}\n {ROUNDED}\n out = Tanh (r)"))
    assert (junction.tensor, junction.low, junction.high) == ("y", -1000.0, 1000.0)


@pytest.mark.parametrize("add", ["Add (y, s)", "Add (s, y)", "Sum (y, s)"])
def test_what_comes_after_the_shortcut_is_not_part_of_it(add: str) -> None:
    junction = joint(network(f"{SHORT}\n{CONV}\n a = {add}\n b = Mul (a, number)\n out = Tanh (b)"))
    assert (junction.tensor, junction.other) == ("a", "s")


STOPS = {
    "two readers": ("y", f"{CONV}\n a = Mul (y, number)\n b = Tanh (y)\n out = Add (a, b)"),
    "both operands": ("y", f"{CONV}\n a = Add (y, y)\n out = Tanh (a)"),
    "an activation": ("y", f"{CONV}\n a = Tanh (y)\n b = Mul (a, number)\n out = Tanh (b)"),
    "the output": ("out", f"{CONV}\n out = Mul (y, number)"),
    "one over": ("y", f"{CONV}\n a = Div (channel, y)\n out = Tanh (a)"),
    "division by zero": ("y", f"{CONV}\n a = Div (y, zeros)\n out = Tanh (a)"),
    "along another axis": ("y", f"{CONV}\n a = Mul (y, columns)\n out = Tanh (a)"),
    "a vector over columns": ("y", f"{CONV}\n a = Mul (y, vector)\n out = Tanh (a)"),
    "a map per place": ("y", f"{CONV}\n a = Add (y, spatial)\n out = Tanh (a)"),
    "a gate": ("y", f"{CONV}\n a = Mul (y, e)\n out = Tanh (a)"),
    "a broadcast shortcut": (
        "y",
        f"{CONV}\n p = GlobalAveragePool (e)\n a = Add (y, p)\n out = Tanh (a)",
    ),
    "three summands": ("y", f"{SHORT}\n{CONV}\n a = Sum (y, s, e)\n out = Tanh (a)"),
    "another rank": (
        "y",
        f"{CONV}\n a = Mul (y, five)\n shape = Shape (e)\n b = Reshape (a, shape)\n out = Tanh (b)",
    ),
    "statistics that are computed": (
        "y",
        f"""q = GlobalAveragePool (e)
        k = Constant <value = int64[1] {{-1}}> ()
        f = ReduceSum <keepdims = 0> (q)
        own = Mul (gamma, f)
        {CONV}
        a = BatchNormalization (y, own, beta, mean, var)
        out = Tanh (a)""",
    ),
}


@pytest.mark.parametrize(("tensor", "body"), STOPS.values(), ids=STOPS)
def test_where_it_stops(tensor: str, body: str) -> None:
    junction = joint(network(body))
    assert (junction.tensor, junction.other, junction.bounded) == (tensor, None, False)


def test_a_tensor_that_is_an_output_too_is_not_passed() -> None:
    proto = network(f"{CONV}\n a = Mul (y, number)\n out = Mul (a, channel)")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("a", 1, [2, C, 5, 4]))
    assert joint(proto).tensor == "a"


def test_a_body_that_reads_the_tensor_counts_as_a_reader() -> None:
    body = f"""{CONV}
      yes = Constant <value = bool {{1}}> ()
      r = If (yes) <
        then_branch = t () => (float[2,{C},5,4] p) {{ p = Tanh (y) }},
        else_branch = u () => (float[2,{C},5,4] q) {{ q = Relu (y) }}
      >
      a = Mul (y, number)
      out = Add (a, r)"""
    assert joint(network(body)).tensor == "y"


BOUNDS = {
    "relu": ("Relu (y)", 17, (0.0, np.inf)),
    "clip": ("Clip (y, low, high)", 17, (-0.5, 1.5)),
    "clip from below": ("Clip (y, low)", 17, (-0.5, np.inf)),
    "clip from above": ("Clip (y, , high)", 17, (-np.inf, 1.5)),
    "clip without bounds": ("Clip (y)", 17, (-np.inf, np.inf)),
    "clip-6": ("Clip <min = 0.0, max = 6.0> (y)", 6, (0.0, 6.0)),
    "clip-6 from above": ("Clip <max = 6.0> (y)", 6, (-np.inf, 6.0)),
    "leaky": ("LeakyRelu (y)", 17, (-np.inf, np.inf)),
}


@pytest.mark.parametrize(("op", "opset", "bounds"), BOUNDS.values(), ids=BOUNDS)
def test_bounds(op: str, opset: int, bounds: tuple[float, float]) -> None:
    junction = joint(network(f"{CONV}\n r = {op}\n out = Conv <pads = [1,1,1,1]> (r, w)", opset))
    assert junction.tensor == "y"
    assert (junction.low, junction.high) == pytest.approx(bounds)


def test_a_bound_that_is_computed_is_none() -> None:
    body = f"{CONV}\n f = ReduceMax <keepdims = 0> (e)\n out = Clip (y, low, f)"
    assert (joint(network(body)).low, joint(network(body)).high) == (-0.5, np.inf)


def test_bounds_only_where_nothing_else_reads() -> None:
    body = f"{CONV}\n r = Relu (y)\n t = Tanh (y)\n out = Add (r, t)"
    assert not joint(network(body)).bounded


@pytest.mark.parametrize("step", ["Add (y, vector)", "Mul (vector, y)", "Div (y, number)"])
def test_after_a_matrix_product_the_channels_are_the_last_axis(step: str) -> None:
    body = f"""y = MatMul (e, m)
      z = {step}
      a = Add (z, e)
      out = Relu (a)"""
    junction = joint(network(body))
    assert (junction.tensor, junction.other) == ("a", "e")


@pytest.mark.parametrize("step", [BN, "Add (y, channel)"])
def test_after_a_matrix_product_another_axis_is_not_the_channels(step: str) -> None:
    junction = joint(network(f"y = MatMul (e, m)\n z = {step}\n out = Relu (z)"))
    assert junction.tensor == "y"
