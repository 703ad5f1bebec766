"""Files as ONNX Runtime's optimizer saves them lose what the plain files lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from text_graphs import model

import reprune_onnx as rp


def unfused() -> onnx.ModelProto:
    """Layers and what the optimizer joins to them: ReLUs, a shortcut, a scale, a Transpose."""
    rng = np.random.default_rng(3)
    shapes = {"a": (10, 3, 3, 3), "b": (10, 10, 3, 3), "c": (12, 10, 3, 3)}
    shapes |= {"m": (12, 16), "n": (9, 16), "k": (9, 4)}
    return model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,8,8] x) => (float[1,4] y) {
          [a] s = Conv <pads = [1,1,1,1]> (x, a, a_b)
          s1 = Relu (s)
          [b] t = Conv <pads = [1,1,1,1]> (s1, b, b_b)
          t1 = Add (t, s1)
          t2 = Relu (t1)
          [c] u = Conv <pads = [1,1,1,1]> (t2, c, c_b)
          u1 = LeakyRelu <alpha = 0.1> (u)
          p = GlobalAveragePool (u1)
          f = Flatten (p)
          [m] g = Gemm (f, m, m_b)
          g1 = Relu (g)
          nt = Transpose <perm = [1,0]> (n)
          [n] h = MatMul (g1, nt)
          h1 = Mul (h, half)
          [k] y = MatMul (h1, k)
        }""",
        a_b=rng.standard_normal(10),
        b_b=rng.standard_normal(10),
        c_b=rng.standard_normal(12),
        m_b=rng.standard_normal(16),
        half=np.float32(0.5),
        **{name: rng.standard_normal(shape) / 3 for name, shape in shapes.items()},
    )


def optimized(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return onnx.load(path)


def layers(proto: onnx.ModelProto) -> list[Any]:
    settings = rp.Settings(
        sparsity=0.5, residual="prune", recover="none", method="l1", allocation="uniform"
    )
    report: Any = rp.prune(rp.Model(proto), settings).report
    assert report["verification"]["passed"]
    return [(x["node"], x["out_channels"]) for x in report["layers"]]


def test_a_saved_optimized_file_is_cut_like_the_plain_one(tmp_path: Path) -> None:
    fused = optimized(unfused(), tmp_path / "fused.onnx")

    kinds = {node.op_type for node in fused.graph.node if node.domain == "com.microsoft"}
    assert {"FusedConv", "FusedGemm", "FusedMatMul"} <= kinds
    assert [kept for _, kept in layers(fused)] == [kept for _, kept in layers(unfused())]


def test_the_file_keeps_its_fused_nodes_and_names_them() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
          [first] s = com.microsoft.FusedConv <activation = "Relu"> (x, a)
          [second] y = com.microsoft.FusedConv <activation = "Relu"> (s, b)
        }""",
        a=np.random.default_rng(0).standard_normal((6, 3, 1, 1)),
        b=np.random.default_rng(1).standard_normal((4, 6, 1, 1)),
    )

    result = rp.prune(rp.Model(proto), rp.Settings(sparsity=0.5, recover="none"))

    assert [n.op_type for n in result.model.proto.graph.node] == ["FusedConv"] * 2
    entry: Any = result.report["layers"]
    assert [(x["op"], x["out_channels"]) for x in entry] == [
        ("FusedConv", [6, 3]),
        ("FusedConv", [4, 4]),
    ]
    assert result.report["before"]["macs"] == 64 * (6 * 3 + 4 * 6)


def test_a_fused_shortcut_is_a_residual_one() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
          [first] s = Conv (x, a)
          [second] t = com.microsoft.FusedConv <activation = "Relu"> (s, b, , s)
          [last] y = Conv (t, c)
        }""",
        a=np.ones((6, 3, 1, 1)),
        b=np.ones((6, 6, 1, 1)),
        c=np.ones((4, 6, 1, 1)),
    )

    (kept, _) = rp.analyze(rp.Model(proto)).groups
    (free, _) = rp.analyze(rp.Model(proto), rp.Scope(residual="prune")).groups

    assert [p.layer.name for p in kept.producers] == ["first", "second"]
    assert not kept.free.any()
    assert free.free.all()


@pytest.mark.parametrize(
    ("node", "weights"),
    [
        ("u = com.microsoft.BiasAdd (t, b, t)", {"b": (8,)}),
        ("u = com.microsoft.NhwcMaxPool <kernel_shape = [2,2]> (t)", {}),
    ],
)
def test_ops_without_a_kernel_here_pass_channels_last(node: str, weights: dict[str, Any]) -> None:
    proto = model(
        f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[1,3,8,8] x) => (float[1,4,a,b] y) {{
          c = Conv (x, w)
          t = Transpose <perm = [0,2,3,1]> (c)
          {node}
          v = Transpose <perm = [0,3,1,2]> (u)
          y = Conv (v, k)
        }}""",
        w=np.ones((8, 3, 1, 1)),
        k=np.ones((4, 8, 1, 1)),
        **{name: np.ones(shape) for name, shape in weights.items()},
    )

    channels = rp.analyze(rp.Model(proto))

    assert channels.groups[0].free.all()
    assert {s.tensor for s in channels.sites if s.role == "param"} == set(weights)


def test_a_norm_of_com_microsoft_mixes_like_that_of_onnx() -> None:
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[4,3] x) => (float[4,2] y) {
          s = MatMul (x, w)
          t = com.microsoft.LayerNormalization <axis = -1> (s, k, k)
          y = MatMul (t, v)
        }""",
        w=np.ones((3, 8)),
        k=np.ones(8),
        v=np.ones((8, 2)),
    )

    channels = rp.analyze(rp.Model(proto))

    assert not channels.groups[0].free.any()
    assert any("LayerNormalization" in lock.reason for lock in channels.locks)
