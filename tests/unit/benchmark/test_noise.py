"""A difference is judged by what the network itself makes of rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

import reprune_onnx as rp
from reprune_onnx.benchmark.backends import Arrays
from reprune_onnx.benchmark.candidate import read_onnx
from reprune_onnx.benchmark.check import check_results
from reprune_onnx.runtime.ort import Port

SIDE = 64
Array = NDArray[Any]


class Computed:
    """A runtime that multiplies with these weights, each rounded to a type."""

    inputs = (Port("x", (None, SIDE), np.dtype(np.float32)),)

    def __init__(self, weights: tuple[Array, Array], dtype: type) -> None:
        self.weights = [w.astype(dtype).astype(np.float64) for w in weights]

    def prepare(self, feeds: Arrays) -> None:
        self.x = feeds["x"].astype(np.float64)

    def run(self) -> None:
        a, b = (self.x @ w for w in self.weights)
        self.y = (a - b).astype(np.float32)

    def outputs(self) -> dict[str, Array]:
        return {"y": self.y}


def difference_of_products(path: Path, apart: float) -> tuple[Array, Array]:
    """Write y = x·A - x·B, with B as far from A as a share of it; return A and B."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    b = (a * (1 + apart * rng.uniform(-1, 1, a.shape))).astype(np.float32)
    proto = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, {SIDE}] x) => (float[N, {SIDE}] y)
        {{ p = MatMul (x, A) q = MatMul (x, B) y = Sub (p, q) }}
    """)
    proto.graph.initializer.extend(
        [numpy_helper.from_array(a, "A"), numpy_helper.from_array(b, "B")]
    )
    onnx.save(proto, path)
    return a, b


@pytest.mark.parametrize(("apart", "beyond"), [(1.0, False), (1e-3, True)])
def test_noise_passes_and_a_rounded_network_does_not(
    tmp_path: Path, apart: float, beyond: bool
) -> None:
    """Where nearly the same is subtracted, float32 sums differ by more than the usual 1e-4."""
    path = tmp_path / "model.onnx"
    weights = difference_of_products(path, apart)
    candidate = read_onnx(path, {}, tmp_path)
    said, _ = check_results(candidate, Computed(weights, np.float32), 4, 1e-5)
    assert (said["max_abs_diff"] > 1e-5 * said["scale"]) == beyond
    with pytest.raises(rp.ModelError, match="what is fast is wrong"):
        check_results(candidate, Computed(weights, np.float16), 4, 1e-5)


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (2.0, False), (0.0, False)])
def test_single_values_of_a_quantized_network_may_differ(
    tmp_path: Path, factor: float, passes: bool
) -> None:
    """One of 256 values is off by all that it can be; doubled outputs are refused."""
    path = tmp_path / "model.onnx"
    proto = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, {SIDE}] x) => (float[N, {SIDE}] y) <float step = {{0.01}}, int8 zero = {{0}}>
        {{ q = QuantizeLinear (x, step, zero) y = DequantizeLinear (q, step, zero) }}
    """)
    onnx.save(proto, path)

    class Other(Computed):
        def run(self) -> None:
            y = np.clip(np.rint(self.x / 0.01), -128, 127) * 0.01 * factor
            y[0, 0] = -np.sign(y[0, 0]) * 1.27
            self.y = y.astype(np.float32)

    weights = np.eye(SIDE), np.eye(SIDE)
    candidate = read_onnx(path, {}, tmp_path)
    if passes:
        check_results(candidate, Other(weights, np.float32), 4, 1e-5)
        return
    with pytest.raises(rp.ModelError, match="what its outputs vary by"):
        check_results(candidate, Other(weights, np.float32), 4, 1e-5)
