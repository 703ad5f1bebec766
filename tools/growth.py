"""The growth of a clustering's time with the width of a layer: a table, and a plot for the docs.

    python tools/growth.py [--plot docs/growth.svg]

CPU time of all threads together per input channel, the least of several runs: other work on the
machine disturbs it less than it disturbs the clock. The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reprune_onnx.pruner.select import compiled
from reprune_onnx.types import Floats

WIDTHS = (64, 128, 256, 512, 1024, 2048)
ORDERS: dict[str, Callable[[int], float]] = {
    "m log m": lambda m: m * math.log2(m),
    "m²": lambda m: m * m,
}
KERNELS = {"1×1": (1, "m log m"), "3×3": (9, "m²")}
RUNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    print("| kernels | " + " | ".join(f"m = {m}" for m in WIDTHS) + " | grows as |")
    print("|---|" + "---|" * (len(WIDTHS) + 1))
    seconds = {}
    for kernel, (d, order) in KERNELS.items():
        for name, engine in (("compiled", merge), ("scipy", loop)):
            times = [per_input(engine, m, d) for m in WIDTHS]
            seconds[kernel, name] = times
            cells = " | ".join(f"{t:.3f}" for t in times)
            print(
                f"| {kernel}, {name} | {cells} | ({order})^{power(times, order):.2f} |", flush=True
            )
    if arguments.plot:
        plot(seconds, arguments.plot)


def per_input(engine: Callable[[Floats], object], m: int, d: int) -> float:
    """Milliseconds of CPU time per input channel."""
    n_in = max(2, 2**21 // m**2) if d > 1 or engine is loop else 2**18 // m
    K = np.random.default_rng(m).normal(size=(m, n_in, d))
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        engine(K)
        seconds.append(time.process_time() - start)
    return min(seconds) / n_in * 1e3


def merge(K: Floats) -> object:
    """This project's clustering."""
    return compiled.merges(K, "ward")


def loop(K: Floats) -> object:
    """The same by a loop over scipy's."""
    return [hierarchy.linkage(pdist(K[:, j]), "ward") for j in range(K.shape[1])]


def power(times: list[float], order: str) -> float:
    """The power of ``order`` by which the times grow over all widths: at most 1 is wanted."""
    size = [math.log(ORDERS[order](m)) for m in WIDTHS]
    return float(np.polyfit(size, np.log(times), 1)[0])


def plot(seconds: dict[tuple[str, str], list[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for ax, (kernel, (_, order)) in zip(axes, KERNELS.items(), strict=True):
        for name, marker in (("compiled", "o"), ("scipy", "s")):
            ax.loglog(WIDTHS, seconds[kernel, name], marker=marker, label=name, base=2)
        first = seconds[kernel, "compiled"][0]
        line = [first * ORDERS[order](m) / ORDERS[order](WIDTHS[0]) for m in WIDTHS]
        ax.loglog(WIDTHS, line, "--", color="grey", label=f"∝ {order}", base=2)
        ax.set(title=f"{kernel} kernels", xlabel="width of the layer, m")
        ax.set_xticks(WIDTHS, [str(m) for m in WIDTHS])
        ax.legend()
    axes[0].set_ylabel("ms of CPU time per input channel")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
