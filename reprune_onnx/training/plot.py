"""Coverage rates over the epochs, as the paper's Figure 3: one box per choice of channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.report.figure import new_figure, save_figure


def plot_coverage(log: Mapping[str, Any], file: Path) -> None:
    """Draw the coverage rates of all pruned layers at every update in ``log``.

    Raises UsageError without matplotlib, OutputError where the file cannot be written.
    """
    updates = [e for e in log["epochs"] if e.get("coverage")]
    figure = new_figure(8, 3.5)
    axes = figure.subplots()
    rates = [list(e["coverage"].values()) for e in updates]
    axes.boxplot(rates, positions=[e["epoch"] for e in updates], widths=0.8, manage_ticks=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel("coverage rate of pruned layers")
    axes.set_ylim(0, 1.02)
    save_figure(figure, [file])
