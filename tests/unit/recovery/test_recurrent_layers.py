"""What a recurrent layer makes of its input is linear: it is measured and refitted as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.images import calibration_images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.sensitivity.curves import Ways, measure_losses


def network(op: str, redundant: bool = True) -> onnx.ModelProto:
    """A Conv, half of whose channels are sums of the others, feeds ``op``, whose last state is y.

    Which of its channels go does not matter, if the layer that reads them is refitted.
    """
    rng = np.random.default_rng(2)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    w = rng.standard_normal((8, 2, 5, 1))
    if redundant:
        w[4:] = rng.standard_normal((4, 4)).dot(w[:4].reshape(4, -1)).reshape(4, 2, 5, 1) / 2
    return model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[n,2,5,9] x) => (float[n,3] y) {{
          [conv] c = Conv (x, w)
          s = Squeeze (c, two)
          t = Transpose <perm = [2,0,1]> (s)
          [layer] , h = {op} <hidden_size = 6, direction = "bidirectional"> (t, m, r, b)
          u = Transpose <perm = [1,0,2]> (h)
          v = Flatten (u)
          [head] y = MatMul (v, k)
        }}""",
        w=w,
        two=np.array([2]),
        m=rng.standard_normal((2, 6 * gates, 8)) / 4,
        r=rng.standard_normal((2, 6 * gates, 6)) / 3,
        b=rng.standard_normal((2, 12 * gates)) / 3,
        k=rng.standard_normal((12, 3)),
    )


def images(folder: Path) -> str:
    array = np.random.default_rng(0).standard_normal((64, 2, 5, 9)).astype(np.float32)
    np.savez(folder / "images.npz", x=array)
    return str(folder / "images.npz")


def pruned(op: str, tmp_path: Path, recover: rp.choices.Recover, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"sparsity": 0.5, "exclude": ("layer",), "method": "l1"} | more
    return rp.prune(
        rp.Model(network(op)),
        rp.Settings(
            calibration=images(tmp_path),
            preprocess="none",
            recover=recover,
            allocation="uniform",
            **settings,
        ),
    ).report


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_inputs_that_others_tell_are_made_good(op: str, tmp_path: Path) -> None:
    report = pruned(op, tmp_path, "least-squares")

    assert report["layers"][0]["out_channels"] == [8, 4]
    assert report["verification"]["passed"]
    assert report["recovery"]["layers"] == 2  # and the matrix that reads what follows
    assert report["recovery"]["error_before"] > 1e-2
    assert report["recovery"]["error_after"] < 1e-4


def test_hidden_units_that_go_leave_the_rest_to_be_refitted(tmp_path: Path) -> None:
    report = pruned("LSTM", tmp_path, "least-squares", exclude=())

    assert [x["out_channels"][1] for x in report["layers"]] == [4, 3, 3]
    assert report["recovery"]["layers"] == 2
    assert report["recovery"]["error_after"] < report["recovery"]["error_before"]


def test_statistics_are_restored_where_there_are_some(tmp_path: Path) -> None:
    """Of the gates of a recurrent layer there are none to see."""
    report = pruned("GRU", tmp_path, "batch-norm")

    assert report["recovery"]["layers"] == 1  # the matrix at the end


def test_losses_are_measured_at_a_recurrent_layer(tmp_path: Path) -> None:
    """Four channels of the Conv tell the others: these cost nothing."""

    def errors(redundant: bool) -> list[float]:
        given = rp.Model(network("LSTM", redundant))
        settings = rp.Settings(sparsity=0.5, calibration=images(tmp_path), preprocess="none")
        graph, data = graph_of(given), calibration_images(given.proto, settings)
        losses = measure_losses(given, graph, channels_of(graph, rp.Scope()), data, Ways())
        return [float(e) for e in losses.error[0]]

    told, independent = errors(redundant=True), errors(redundant=False)
    assert told[4] < 1e-2 * told[3]
    assert independent[4] > 0.1 * independent[3]
