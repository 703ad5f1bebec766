"""Pruning needs memory in proportion to the model, and not many times its size."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

STATUS = Path("/proc/self/status")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="a process's peak is read from /proc")
PROBE = """
from reprune_onnx.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def convolutions(path, n, depth):
    """A chain of n→n convolutions, 1×1."""
    rng = np.random.default_rng(0)
    shape = [1, n, 4, 4]
    graph = helper.make_graph(
        [helper.make_node("Conv", [f"x{k}", f"W{k}"], [f"x{k + 1}"]) for k in range(depth)],
        "chain",
        [helper.make_tensor_value_info("x0", 1, shape)],
        [helper.make_tensor_value_info(f"x{depth}", 1, shape)],
        [
            numpy_helper.from_array(rng.normal(0, n**-0.5, (n, n, 1, 1)).astype("f"), f"W{k}")
            for k in range(depth)
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path.stat().st_size


def peak(root, *args):
    result = subprocess.run(
        [sys.executable, "-c", PROBE, "prune", *map(str, args)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-2]) * 1024


def test_peak_memory_grows_by_less_than_four_times_the_model(root, tmp_path):
    args = ("--sparsity", "0.5", "--method", "l1", "--quiet")
    small = convolutions(tmp_path / "small.onnx", 64, 12)
    large = convolutions(tmp_path / "large.onnx", 1408, 12)
    grown = peak(root, tmp_path / "large.onnx", *args) - peak(root, tmp_path / "small.onnx", *args)
    print(f"{grown / (large - small):.2f} times the model")
    assert grown < 4 * (large - small)


def on_images(path, channels, side):
    """Four 3×3 convolutions on images of 3×side×side, and what they come to."""
    rng = np.random.default_rng(0)
    widths = [3, *[channels] * 4]
    weights, nodes = [], []
    for k, (n, m) in enumerate(pairwise(widths)):
        nodes.append(helper.make_node("Conv", [f"x{k}", f"W{k}"], [f"z{k}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"z{k}"], [f"x{k + 1}"]))
        W = rng.normal(0, (2 / 9 / n) ** 0.5, (m, n, 3, 3)).astype("f")
        weights.append(numpy_helper.from_array(W, f"W{k}"))
    nodes.append(helper.make_node("GlobalAveragePool", ["x4"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "images",
        [helper.make_tensor_value_info("x0", 1, ["N", 3, side, side])],
        [helper.make_tensor_value_info("y", 1, ["N", channels, 1, 1])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_activations_of_many_images_do_not_stay_in_memory(root, tmp_path):
    """3.8 GB of activations pass; a few hundred MB of them, and the images, are held."""
    n, channels, side = 144, 16, 160
    on_images(tmp_path / "m.onnx", channels, side)
    x = np.random.default_rng(1).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    args = ("--macs-reduction", "0.3", "--method", "l1", "--allocation", "uniform", "--quiet")
    args = (*args, "--calibration", tmp_path / "x.npz", "--calibration-size")
    few = peak(root, tmp_path / "m.onnx", *args, 16, "-o", tmp_path / "few.onnx")
    many = peak(root, tmp_path / "m.onnx", *args, n, "-o", tmp_path / "many.onnx")
    passed = 8 * 2 * n * channels * side * side * 4  # behind each node of both networks
    print(f"{(many - few) / 1e6:.0f} MB more for {passed / 1e6:.0f} MB of activations")
    assert many - few < passed / 5
