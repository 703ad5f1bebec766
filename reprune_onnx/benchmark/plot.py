"""Throughput over batch size, as the paper's Figure 4: one line per model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.report.figure import new_figure, save_figure


def plot_throughput(result: Mapping[str, Any], file: Path) -> None:
    """Draw images/s of every model in a result of `bench`, with bars from quartile to quartile.

    Raises UsageError without matplotlib, OutputError where the file cannot be written.
    """
    import numpy as np

    figure = new_figure(8, 5)
    axes = figure.subplots()
    for name in dict.fromkeys(row["model"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["model"] == name]
        speed = np.array([row["images_per_s"] for row in rows])
        sizes = np.array([row["batch_size"] for row in rows])
        ends = np.array([np.percentile(row["runs"], (75, 25)) for row in rows]).T
        reach = np.abs(1e3 * sizes / ends - speed)
        axes.errorbar(sizes, speed, reach, marker="o", capsize=3, label=Path(name).stem)
    ticks = sorted({row["batch_size"] for row in result["rows"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel("images/s")
    machine = result["machine"]
    axes.set_title(f"{machine['name']}, {result['backend']}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, [file])
