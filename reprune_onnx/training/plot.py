"""Coverage rates over the epochs, as the paper's Figure 3: one box per choice of channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.errors import OutputError, TrainingError


def plot_coverage(log: Mapping[str, Any], file: str | Path) -> None:
    """Draw the coverage rates of all pruned layers at every update in ``log``.

    The kind of picture follows from the name: .png, .svg, .pdf. Raises TrainingError without
    matplotlib, OutputError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError("a plot needs matplotlib: pip install 'reprune-onnx[torch]'") from error

    updates = [e for e in log["epochs"] if e.get("coverage")]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    rates = [list(e["coverage"].values()) for e in updates]
    axes.boxplot(rates, positions=[e["epoch"] for e in updates], widths=0.8, manage_ticks=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel("coverage rate of pruned layers")
    axes.set_ylim(0, 1.02)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the plot '{file}': {error}") from error
