"""A small error must be seen where an output holds large numbers too."""

import numpy as np
import pytest
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import VerificationError
from reprune_onnx.results import Verification
from reprune_onnx.types import Model
from reprune_onnx.verification import cut as verification
from reprune_onnx.verification.compare import difference

TAILS = {
    "corners": "y = Add (s, corners)",
    "corners and steps": "c = Add (corners, s)\n y = Mul (c, eight)",
    "far away": "n = Sub (corners, s)\n y = Div (n, eight)",
    "beside scores": """c = Add (s, corners)
        o = Sigmoid (s)
        j = Concat <axis = 1> (c, o)
        y = Reshape (j, rows)""",
    "what the graph makes": """shape = Shape (x)
        zeros = ConstantOfShape (shape)
        z = ReduceSum <keepdims = 1> (zeros)
        f = Add (corners, z)
        y = Add (s, f)""",
}


SATURATED = {
    "sliced": """a = Slice (o, zero, two, one)
        b = Slice (o, two, four, one)
        c = Mul (a, eight)
        y = Concat <axis = 1> (c, b)""",
    "split": """a, b = Split <axis = 1> (o, halves)
        c = Pow (a, halves0)
        y = Concat <axis = 1> (b, c)""",
    "gathered": "y = Gather <axis = 1> (o, turned)",
    "padded": "p = Pad (o, pads)\n y = Expand (p, wide)",
    "scores of two": """a, b = Split <axis = 1> (o, halves)
        c = Mul (a, b)
        y = ReduceMax <axes = [1]> (c)""",
    "moved to depth": "y = SpaceToDepth <blocksize = 2> (o)",
    "averaged": "a = GlobalAveragePool (o)\n c = Mean (a, a)\n y = Mul (c, eight)",
    "chosen": "c = Where (yes, o, eight)\n y = Tile (c, thrice)",
}
TAILS |= {name: f"q = Sub (s, sixteen)\n o = Sigmoid (q)\n {t}" for name, t in SATURATED.items()}


def network(tail: str) -> Model:
    rng = np.random.default_rng(3)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 8, 8] x) => (float[] y) {{
        h = Conv <pads = [1, 1, 1, 1]> (x, first)
        r = Relu (h)
        s = Conv (r, second, bias)
        {tail}
    }}"""
    return Model(
        text_graphs.model(
            text,
            first=rng.standard_normal((16, 3, 3, 3)) / 5,
            second=rng.standard_normal((4, 16, 1, 1)) / 8,
            bias=np.zeros(4),
            corners=np.linspace(0, 4000, 64).reshape(1, 1, 8, 8),
            eight=np.array(8.0),
            rows=np.array([1, -1]),
            sixteen=np.array(16.0),
            zero=np.array([0]),
            one=np.array([1]),
            two=np.array([2]),
            four=np.array([4]),
            halves=np.array([2, 2]),
            halves0=np.array(2.0),
            turned=np.array([3, 1, 2, 0, 1]),
            pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            wide=np.array([2, 4, 10, 10]),
            thrice=np.array([1, 3, 1, 1]),
            yes=np.array([[[[True]], [[False]], [[True]], [[True]]]]),
        )
    )


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_an_error_that_is_small_beside_the_largest_number_is_seen(
    tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias that is off by 0.01 is 2.5e-6 of the largest box, and 1 % of what the layer makes."""
    model, wanted = network(tail), rp.Settings(sparsity=0.5, method="l1", recover="none")
    assert rp.prune(model, wanted).report["verification"]["passed"]
    real = verification.FedModel

    def off(proto):
        made = real(proto)
        second = next(n for n in made.proto.graph.node if n.output[0] == "s")
        bias = next(t for t in proto.graph.initializer if t.name == "bias")
        made.rewire(second, 2, numpy_helper.to_array(bias) + np.float32(0.01))
        return made

    monkeypatch.setattr(verification, "FedModel", off)
    with pytest.raises(VerificationError, match="differs from the masked original"):
        rp.prune(model, wanted)


@pytest.mark.parametrize(
    ("tail", "compared"),
    [
        ("o = Sigmoid (s)\n y = ReduceMean <axes = [2, 3]> (o)", "s"),
        ("o = Tanh (s)\n g = GlobalAveragePool (o)\n y = Mul (g, eight)", "s"),
        ("o = Sigmoid (s)\n c = Mean (o, eight)\n y = ReduceSum (c)", "s"),
        ("y = ReduceMean <axes = [2, 3]> (s)", "y"),  # shows as much as what it is made of
    ],
)
def test_an_average_of_squashed_values_is_not_compared_by_its_own_scale(
    tail: str, compared: str
) -> None:
    """Sigmoid rounds to a part of 1, which is more than the last digit of an average of 1e-4."""
    graph = graph_of(network(tail))
    channels = channels_of(graph, rp.Scope())
    keep = np.ones(channels.n_units, dtype=bool)
    assert verification.observed_tensors(graph, channels, keep) == [compared]


def test_what_an_output_is_made_of_is_not_compared_alone_where_more_goes_into_it() -> None:
    """The other part of the Concat must not be lost from sight."""
    tail = "d = Dropout (x)\n w = Mul (s, corners)\n y = Concat <axis = 1> (w, d)"
    graph = graph_of(network(tail))
    channels = channels_of(graph, rp.Scope())
    keep = np.ones(channels.n_units, dtype=bool)
    seen = verification.observed_tensors(graph, channels, keep)
    assert set(seen) >= {"s"}
    assert set(seen) - {"s"} <= {"d", "x"}
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("expected", "computed"),
    [
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, np.inf]),
    ],
)
def test_another_shape_or_a_number_that_is_none_is_no_small_difference(
    expected: list[float], computed: list[float]
) -> None:
    seen = difference({"y": np.array(expected)}, {"y": np.array(computed)}, ["y"])
    assert seen.relative == np.inf


def test_what_is_equally_wild_and_what_are_no_numbers_makes_no_difference() -> None:
    wild = np.array([1.0, np.nan, np.inf])
    arrays = {"y": wild, "text": np.array(["a"]), "none": np.zeros((0, 3))}
    assert difference(arrays, arrays, list(arrays)).relative == 0
    off = {**arrays, "y": np.array([1.5, np.nan, np.inf])}
    assert difference(arrays, off, list(arrays)).relative == 0.5


@pytest.mark.parametrize(
    ("rounding", "says"),
    [(5e-4, "amplifies rounding"), (1e-6, "differs from the masked")],
)
def test_rounding_that_a_model_amplifies_is_told_from_a_wrong_cut(
    rounding: float, says: str
) -> None:
    result = Verification(False, 1e-3, 1.0, 0.0, 1e-4, 4, rounding)
    with pytest.raises(VerificationError, match=says):
        verification.check(result)
