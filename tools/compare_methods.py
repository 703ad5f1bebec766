"""Selection methods and cut-off readings side by side, as a Markdown table on stdout.

    python tools/compare_methods.py models/digits_resnet.onnx \\
        --data models/digits.npz --preprocess scale=1/16

Every method drops the same number of channels of every layer (the γ quantile), and nothing is
recovered or trained afterwards. Methods with random choices are run with seeds 0-4: mean ± standard
deviation. Below the table stands what share of the MACs goes at each sparsity.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import reprune_onnx as rp
from reprune_onnx.data.open import open_data
from reprune_onnx.runtime.image_input import image_input

ROWS = [
    ("reprune", "merge-count", "random"),
    ("reprune", "merge-count", "max-l2"),
    ("reprune", "merge-count", "min-l2"),
    ("reprune", "height", "random"),
    ("reprune", "height", "max-l2"),
    ("representative", "merge-count", "max-l2"),
    ("l1", "merge-count", "max-l2"),
    ("l2", "merge-count", "max-l2"),
    ("fpgm", "merge-count", "max-l2"),
    ("bn-gamma", "merge-count", "max-l2"),
    ("random", "merge-count", "random"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preprocess")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.3, 0.55, 0.7])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()

    model = rp.load(arguments.model)
    port = image_input(model.proto, {})
    data = open_data(
        arguments.data, preprocess=arguments.preprocess, input_shape=port.shape, dtype=port.dtype
    )
    dense = rp.evaluate(model, data)
    print(f"unpruned: {dense.top1:.2f} % top-1 on {dense.n} images\n")
    heads = [f"top-1 at {s:g}" for s in arguments.sparsity]
    print("| method | cut-off | tie-break | " + " | ".join(heads) + " | coverage |")
    print("|---|---|---|" + "---|" * (len(heads) + 1))
    macs: dict[float, list[float]] = {sparsity: [] for sparsity in arguments.sparsity}
    for method, cutoff, tie_break in ROWS:
        cells, covers = [], []
        for sparsity in arguments.sparsity:
            accuracy = []
            seeds = arguments.seeds if "random" in (method, tie_break) else 1
            for seed in range(seeds):
                settings = rp.Settings(
                    recover="none",
                    sparsity=sparsity,
                    method=method,
                    cutoff=cutoff,
                    tie_break=tie_break,
                    seed=seed,
                )
                pruned = rp.prune(model, settings)
                accuracy.append(rp.evaluate(pruned.model, data).top1)
                macs[sparsity].append(100 * pruned.report["achieved"]["macs_reduction"])
                reached = [layer["coverage"] for layer in pruned.report["layers"]]
                covers += [c for c in reached if c is not None]
            cells.append(spread(accuracy))
        cover = f"{100 * min(covers):.0f}-{100 * max(covers):.0f} %" if covers else "–"
        other_method = method != "reprune"
        names = [method, "–" if other_method else cutoff, "–" if other_method else tie_break]
        print(f"| {' | '.join([*names, *cells, cover])} |", flush=True)
    falls = [f"{span(reached)} at {sparsity:g}" for sparsity, reached in macs.items()]
    print(f"\nMACs fall by {', '.join(falls)}")


def spread(values: list[float]) -> str:
    """Mean ± standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def span(percentages: list[float]) -> str:
    """The one value, or the least and the largest."""
    low, high = (f"{value:.1f}" for value in (min(percentages), max(percentages)))
    return f"{low} %" if low == high else f"{low}-{high} %"


if __name__ == "__main__":
    main()
