"""The distance of the reached reductions from the requested ones, over small random networks.

    python tools/reach.py --nets 40 --seed 0

Each network has two to five Conv layers of 3 to 24 channels, some with a BatchNormalization, some
with a shortcut, and a Gemm. Each is asked for shares of channels, multiply-adds and parameters, by
every allocation. It prints the percentage points missed, per allocation and target.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import reprune_onnx as rp
from reprune_onnx.errors import RepruneError
from reprune_onnx.pipeline import prune
from reprune_onnx.pruner.knowledge import measure
from reprune_onnx.subject import subject_of
from reprune_onnx.watch import Watch

SIDE = 8
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
TARGETS = ("sparsity", "macs_reduction", "params_reduction")
ALLOCATIONS = ("uniform", "bn-gamma", "sensitivity")


def network(rng: np.random.Generator) -> onnx.ModelProto:
    """Convs, some normalized, some with a shortcut around two, and a classifier."""
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []

    def constant(*shape: int, low: float | None = None) -> str:
        values = rng.standard_normal(shape) if low is None else rng.uniform(low, 1.5, shape)
        name = f"w{len(tensors)}"
        tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}{name}", **attributes))
        return name

    def conv(x: str, n_in: int, n_out: int) -> str:
        y = add("Conv", x, constant(n_out, n_in, 3, 3), pads=[1, 1, 1, 1])
        if rng.random() < 0.6:
            values = [constant(n_out, low=low) for low in (0.1, -0.5, -0.5, 0.5)]
            y = add("BatchNormalization", y, *values)
        return add("Relu", y)

    x, n = "x", 3
    for _ in range(rng.integers(2, 5)):
        width = int(rng.integers(3, 25))
        if n == width or rng.random() < 0.3:
            middle = conv(x, n, width)
            x = add("Add", x, conv(middle, width, n))
        else:
            x, n = conv(x, n, width), width
    x = add("Flatten", add("GlobalAveragePool", x))
    y = add("Gemm", x, constant(10, n), transB=1)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 10])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    missed: dict[tuple[str, str], list[float]] = {}
    refused: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = Path(folder) / "images.npz"
        np.savez(images, x=rng.standard_normal((64, 3, SIDE, SIDE)).astype(np.float32))
        for _ in range(args.nets):
            model = rp.Model(network(rng))
            for allocation in ALLOCATIONS:
                given = {"calibration": str(images)} if allocation == "sensitivity" else {}
                settings = rp.Settings(
                    sparsity=0.5,
                    allocation=allocation,
                    method="l1",
                    residual="prune",
                    recover="none",
                    verify=False,
                    **given,
                )
                measured = measure(subject_of(model, settings), settings, Watch())
                for target in TARGETS:
                    for share in SHARES:
                        asked = replace(settings, **{"sparsity": None, target: share})
                        try:
                            report = prune(model, asked, measured=measured).report
                        except RepruneError:
                            place = (allocation, target)
                            refused[place] = refused.get(place, 0) + 1
                            continue
                        reached = report["achieved"][target]
                        missed.setdefault((allocation, target), []).append(reached - share)
    print(f"{args.nets} networks, seed {args.seed}; percentage points missed by, either way")
    print(f"{'allocation':12} {'target':16} {'cases':>5} {'median':>7} {'p90':>6} {'most':>6}  > 1")
    for (allocation, target), values in sorted(missed.items()):
        points = 100 * np.abs(values)
        print(
            f"{allocation:12} {target:16} {len(points):5} {np.median(points):7.2f}"
            f" {np.quantile(points, 0.9):6.2f} {points.max():6.2f}  {np.mean(points > 1):.1%}"
            f" ({refused.get((allocation, target), 0)} refused)"
        )


if __name__ == "__main__":
    main()
