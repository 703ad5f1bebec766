"""Seconds of a whole selection, with the engine and with a loop over scipy, in the same run.

    python tools/selection_speed.py resnet50.onnx … --sparsity 0.5 --residual inner

Layer by layer, both cluster the same kernels in turns. Scipy sees at most 64 input channels of a
layer, evenly spread, and its time is scaled up. A selection is the clustering and everything else:
reading kernels, cutting dendrograms, covering. Beside it what a pruning needs further.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import reprune_onnx as rp
from reprune_onnx.pipeline import prune_file
from reprune_onnx.pruner.select import cluster, compiled
from reprune_onnx.report.files import Destination
from reprune_onnx.types import Floats, Linkage

SAMPLE = 64  # input channels of a layer that scipy clusters


class Clock:
    """Stands in for `cluster.dendrograms`, and times scipy beside it."""

    def __init__(self) -> None:
        self.engine = self.scipy = self.spent = 0.0  # spent: on scipy's sample
        self.clusterings = 0

    def __call__(self, kernels: Floats, linkage: Linkage) -> cluster.Merges:
        n_in = kernels.shape[1]
        start = time.perf_counter()
        found = cluster.Merges(*compiled.merges(kernels, linkage))
        self.engine += time.perf_counter() - start
        some = np.unique(np.linspace(0, n_in - 1, SAMPLE).astype(int))
        start = time.perf_counter()
        for j in some:
            hierarchy.linkage(pdist(kernels[:, j]), linkage)
        passed = time.perf_counter() - start
        self.spent += passed
        self.scipy += passed * n_in / len(some)
        self.clusterings += n_in
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--residual", default="keep", choices=["keep", "inner", "prune"])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    settings = rp.Settings(
        sparsity=arguments.sparsity, residual=arguments.residual, allocation="uniform"
    )
    compiled.merges(np.zeros((2, 1, 1)), "ward")
    compiled.merges(np.zeros((2, 1, 9)), "ward")
    print(
        "| network | clusterings | scipy's loop, s | engine, s | selection, s | selection ÷"
        " | cut, verify, write, s |\n|---|---|---|---|---|---|---|"
    )
    for path in arguments.models:
        rows = [measure(path, settings) for _ in range(arguments.runs)]
        rows.sort(key=lambda row: row[-2])
        n, scipy, engine, selection, ratio, rest = rows[len(rows) // 2]
        print(
            f"| {path.stem} | {n} | {scipy:.1f} | {engine:.2f} | {selection:.2f} | {ratio:.1f}"
            f" ({rows[0][-2]:.1f}-{rows[-1][-2]:.1f}) | {rest:.1f} |",
            flush=True,
        )


def measure(path: Path, settings: rp.Settings) -> tuple[int, float, float, float, float, float]:
    """Clusterings; seconds of scipy, engine, whole selection; how many times as fast; the rest."""
    clock = Clock()
    original, cluster.dendrograms = cluster.dendrograms, clock
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / path.name
            pruned = prune_file(path, settings, Destination(out, out.with_suffix(".json")))
    finally:
        cluster.dendrograms = original
    seconds = pruned.report["seconds"]
    assert isinstance(seconds, dict)
    selection = seconds["select"] - clock.spent
    ratio = (selection - clock.engine + clock.scipy) / selection
    rest = seconds["cut"] + seconds["verify"] + seconds["write"]
    return clock.clusterings, clock.scipy, clock.engine, selection, ratio, rest


if __name__ == "__main__":
    main()
