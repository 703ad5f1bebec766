"""The shared cases of recurrent and dense layers, of other domains and of bodies, and variants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import branches_oracle
import numpy as np
import onnx
import pytest
from masked_oracle import difference, masked, run
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import ModelError

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "make_cases.py"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CASES.exists():
        pytest.skip(f"{CASES} is not there")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, CASES, folder], check=True)
    return folder


def assert_exact(proto: onnx.ModelProto, shape: tuple[int, ...]) -> dict[str, Any]:
    """Half of the channels go; the judge knows nothing of labels. The report."""
    name = proto.graph.input[0].name
    settings = rp.Settings(
        sparsity=0.5, allocation="uniform", recover="none", input_shapes=((name, shape),)
    )

    result = rp.prune(rp.Model(proto), settings)

    rng = np.random.default_rng(1)
    feeds = [{name: rng.standard_normal(shape).astype(np.float32)} for _ in range(2)]
    small = run(result.model.proto, feeds)
    assert difference(run(masked(proto, result, feeds[0]), feeds), small) < 1e-5
    assert difference(run(proto, feeds), small) > 1e-2
    return result.report


def kept(report: dict[str, Any]) -> list[list[int]]:
    return [layer["out_channels"] for layer in report["layers"]]


def test_into_lstm(cases: Path) -> None:
    report = assert_exact(onnx.load(cases / "into_lstm.onnx"), (1, 1, 8, 40))

    assert kept(report) == [[24, 12], [32, 16], [16, 8], [8, 4], [5, 5]]


def test_no_conv(cases: Path) -> None:
    report = assert_exact(onnx.load(cases / "no_conv.onnx"), (3, 20))

    assert kept(report) == [[48, 24], [32, 16], [5, 5]]


def test_a_perceptron_of_matrices() -> None:
    rng = np.random.default_rng(3)
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        mlp (float[batch,30] features) => (float[batch,4] scores) {
          a = MatMul (features, w0)
          a1 = Add (a, b0)
          a2 = Elu (a1)
          c = Gemm <alpha = 0.5, beta = 2.0> (a2, w1, b1)
          c1 = Sigmoid (c)
          c2 = Mul (c, c1)
          scores = MatMul (c2, w2)
        }""",
        w0=rng.standard_normal((30, 14)),
        b0=rng.standard_normal(14),
        w1=rng.standard_normal((14, 18)),
        b1=rng.standard_normal(18),
        w2=rng.standard_normal((18, 4)),
    )

    report = assert_exact(proto, (5, 30))

    assert kept(report) == [[14, 7], [18, 9], [4, 4]]
    assert report["before"]["macs"] == 30 * 14 + 14 * 18 + 18 * 4


def test_a_mixer_of_channels() -> None:
    """Channels pass through the matrices over tokens; hidden units go from those over channels."""
    rng = np.random.default_rng(4)
    shapes = {"p": (12, 3, 4, 4), "t0": (16, 10), "t1": (10, 16), "c0": (12, 20), "c1": (20, 12)}
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        mixer (float[1,3,16,16] x) => (float[1,6] y) {
          [patches] a = Conv <strides = [4,4]> (x, p)
          tokens = Reshape (a, to)
          [token_up] b = MatMul (tokens, t0)
          b1 = Tanh (b)
          [token_down] b2 = MatMul (b1, t1)
          s = Add (tokens, b2)
          last = Transpose <perm = [0,2,1]> (s)
          [channel_up] d = MatMul (last, c0)
          d1 = Tanh (d)
          [channel_down] d2 = MatMul (d1, c1)
          e = Add (last, d2)
          m = ReduceMean <axes = [1], keepdims = 0> (e)
          [head] y = MatMul (m, h)
        }""",
        to=np.array([1, 12, 16]),
        h=rng.standard_normal((12, 6)),
        **{name: rng.standard_normal(shape) / 3 for name, shape in shapes.items()},
    )

    report = assert_exact(proto, (1, 3, 16, 16))

    widths = {x["node"]: x["out_channels"] for x in report["layers"]}
    assert widths["channel_up"] == [20, 10]
    stays = {x["node"]: x["stays"] for x in report["layers"]}
    assert "residual" in stays["patches"]


def test_custom_quant(cases: Path) -> None:
    with pytest.raises(
        ModelError, match=r"weights of 2 of 2 layers.*'onnx.brevitas', such as Quant"
    ):
        rp.analyze(rp.load(cases / "custom_quant.onnx"))


def test_convs_in_if(cases: Path) -> None:
    """What both branches make is the output, and stays; what is inside a branch goes by halves."""
    proto = rp.load(cases / "convs_in_if.onnx").proto
    settings = rp.Settings(sparsity=0.5, allocation="uniform", recover="none")

    result = rp.prune(rp.Model(proto), settings)

    report: Any = result.report
    assert [x["out_channels"] for x in report["layers"]] == [[24, 12], [4, 4]] * 2
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    for flag in (True, False):
        expected = branches_oracle.run(branches_oracle.masked(proto, report), x=x, flag=flag)
        outputs = branches_oracle.run(result.model.proto, x=x, flag=flag)
        assert branches_oracle.difference(expected, outputs) < 1e-5
        original = branches_oracle.run(proto, x=x, flag=flag)
        assert branches_oracle.difference(original, outputs) > 1e-2
