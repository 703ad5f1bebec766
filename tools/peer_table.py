"""The table and the plot of what `peers.py` measured.

    python tools/peer_table.py docs/peers.json --plot docs/peers.svg

The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

COLUMNS = [
    "network",
    "tool",
    "seconds",
    "CPU s",
    "peak, MB",
    "Conv cut",
    "MACs ÷",
    "params ÷",
    "batch 1, ms",
    "faster",
    "batch 8, images/s",
    "faster",
    "top-1, %",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    result = json.loads(arguments.json.read_text())
    print("; ".join(f"{name} {value}" for name, value in result["machine"].items()), end="\n\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in result["rows"]:
        print(f"| {' | '.join(cells(row))} |")
    if arguments.plot:
        plot(result["rows"], arguments.plot)


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table; one that says why where there is nothing to count."""
    good = [r for r in row["runs"] if "error" not in r]
    if not good or "ms" not in row:
        why = row.get("error") or row["runs"][0]["error"]
        return [row["network"], row["tool"], why, *[""] * (len(COLUMNS) - 3)]
    one, eight = row["ms"]["1"], row["ms"]["8"]
    ms = [statistics.median(one[when]) for when in ("before", "after")]
    images = [8e3 / statistics.median(eight[when]) for when in ("before", "after")]
    return [
        row["network"],
        row["tool"],
        spread([r["seconds"] for r in good]),
        spread([r["cpu_s"] for r in good]),
        f"{statistics.median(r['peak_mb'] for r in good):.0f}",
        f"{row['convs_cut']} of {row['convs']}",
        f"{row['macs_ratio']:.2f}",
        f"{row['params_ratio']:.2f}",
        " → ".join(map(three_digits, ms)),
        faster(one),
        " → ".join(map(three_digits, images)),
        faster(eight),
        " → ".join(f"{a:.1f}" for a in row["top1"]) if "top1" in row else "–",
    ]


def spread(values: list[float]) -> str:
    """Median, and the least and the largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def three_digits(x: float) -> str:
    """Three significant digits, without an exponent.

    >>> [three_digits(x) for x in (1.2345, 34.56, 1163.4)]
    ['1.23', '34.6', '1160']
    """
    return f"{float(f'{x:.3g}'):g}"


def faster(ms: dict[str, list[float]]) -> str:
    """The speedup: the ratio of medians, and the quartiles of the turns' ratios."""
    ratios = [a / b for a, b in zip(ms["before"], ms["after"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{speedup(ms):.2f}× ({low:.2f}–{high:.2f})"


def speedup(ms: dict[str, list[float]]) -> float:
    return statistics.median(ms["before"]) / statistics.median(ms["after"])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the time that each tool took, and the speedup of its pruned networks."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "peers"
    from matplotlib import pyplot as plt

    networks, tools = (list(dict.fromkeys(row[key] for row in rows)) for key in ("network", "tool"))
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharey=True)
    height = 0.8 / len(tools)
    for k, tool in enumerate(tools):
        of_tool = [row for row in rows if row["tool"] == tool and "ms" in row]
        at = [
            networks.index(row["network"]) + (k - (len(tools) - 1) / 2) * height for row in of_tool
        ]
        took = [
            statistics.median(r["cpu_s"] for r in row["runs"] if "cpu_s" in r) for row in of_tool
        ]
        axes[0].barh(at, took, height, label=tool)
        axes[1].barh(at, [speedup(row["ms"]["8"]) for row in of_tool], height)
        axes[1].plot([row["macs_ratio"] for row in of_tool], at, "k|", markersize=8)
    axes[0].set(xscale="log", xlabel="CPU seconds to prune")
    axes[1].set(xlabel="times the throughput at batch 8 (black: times fewer MACs)")
    axes[1].axvline(1, color="grey", linewidth=0.8)
    axes[0].set_yticks(range(len(networks)), networks)
    axes[0].invert_yaxis()
    figure.legend(loc="lower center", ncols=3, fontsize=8)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
