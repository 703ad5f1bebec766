"""Seconds of a whole selection, and of a loop over scipy's `linkage`, in the same run.

    python tools/selection_speed.py resnet50.onnx … --sparsity 0.5 --residual inner

A selection is the clustering and everything else: reading kernels, cutting dendrograms, covering.
Right after it scipy clusters the same kernels, of 4 to 64 input channels of a layer, evenly spread;
its time is scaled up. Beside it stands what a pruning needs further. CPU seconds, of all
threads together, are less disturbed by other work on the machine than seconds; two free cores do
two of them per second.
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
from reprune_onnx import pipeline
from reprune_onnx.choices import Linkage
from reprune_onnx.pipeline import prune_file
from reprune_onnx.pruner.select import cluster, compiled, compiled_cover
from reprune_onnx.report.files import Destination
from reprune_onnx.types import Floats

MOST, FEWEST, PAIRS = 64, 4, 2**24  # input channels of a layer that scipy clusters


class Seen:
    """The kernels clustered and the time of the selection; replaces functions of the tool."""

    def __init__(self) -> None:
        self.samples: list[tuple[Floats, int]] = []  # (m, k, d) of n_in input channels
        self.seconds = self.cpu = 0.0
        self._dendrograms, self._select = cluster.dendrograms, pipeline.select_channels

    def dendrograms(self, kernels: Floats, linkage: Linkage) -> cluster.Merges:
        n_in = kernels.shape[1]
        k = int(np.clip(PAIRS // len(kernels) ** 2, FEWEST, MOST))
        some = np.unique(np.linspace(0, n_in - 1, k).astype(int))
        self.samples.append((kernels[:, some], n_in))
        return self._dendrograms(kernels, linkage)

    def select_channels(self, *arguments: object) -> object:
        start, cpu = time.perf_counter(), time.process_time()
        selection = self._select(*arguments)
        self.seconds, self.cpu = time.perf_counter() - start, time.process_time() - cpu
        return selection

    def __enter__(self) -> Seen:
        cluster.dendrograms, pipeline.select_channels = self.dendrograms, self.select_channels
        return self

    def __exit__(self, *error: object) -> None:
        cluster.dendrograms, pipeline.select_channels = self._dendrograms, self._select


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
    warm_up()
    print(
        "| network | clusterings | scipy's loop, s (CPU s) | selection, s (CPU s) | times as fast"
        " | cut, verify, write, s |\n|---|---|---|---|---|---|"
    )
    for path in arguments.models:
        rows = sorted(measure(path, settings) for _ in range(arguments.runs))
        ratio, scipy, selection, n, rest = rows[len(rows) // 2]
        print(
            f"| {path.stem} | {n:,} | {scipy[0]:.1f} ({scipy[1]:.1f}) | {selection[0]:.2f}"
            f" ({selection[1]:.2f}) | {ratio:.1f} ({rows[0][0]:.1f}–{rows[-1][0]:.1f})"
            f" | {rest:.1f} |",
            flush=True,
        )


def warm_up() -> None:
    """Load the compiled code: that is done once per process, and compiled once per machine."""
    for d in (1, 9):
        pairs, _ = compiled.merges(np.zeros((2, 1, d)), "ward")
    compiled.cut(pairs, np.ones(1, dtype=np.int64))
    start = np.zeros(2, dtype=np.int32)
    compiled_cover.lost(start, start, start[:0].astype(np.int64), np.zeros(1), 1)


def measure(
    path: Path, settings: rp.Settings
) -> tuple[float, tuple[float, float], tuple[float, float], int, float]:
    """Times as fast; (seconds, CPU seconds) of scipy, of the selection; clusterings; the rest."""
    with Seen() as seen, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        pruned = prune_file(path, settings, Destination(out, out.with_suffix(".json")))
    scipy = np.zeros(2)
    for kernels, n_in in seen.samples:
        start = np.array([time.perf_counter(), time.process_time()])
        for j in range(kernels.shape[1]):
            hierarchy.linkage(pdist(kernels[:, j]), settings.linkage)
        passed = np.array([time.perf_counter(), time.process_time()]) - start
        scipy += passed * n_in / kernels.shape[1]
    stages = pruned.report["seconds"]
    assert isinstance(stages, dict)
    rest = stages["cut"] + stages["verify"] + stages["write"]
    n = sum(n_in for _, n_in in seen.samples)
    wall, cpu = (float(s) for s in scipy)
    return wall / seen.seconds, (wall, cpu), (seen.seconds, seen.cpu), n, rest


if __name__ == "__main__":
    main()
