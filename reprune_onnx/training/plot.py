"""Coverage rates over the epochs, as the paper's Figure 3: one box per choice of channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.errors import OutputError, TrainingError

_LACKING = "a plot needs matplotlib: pip install 'reprune-onnx[torch]'"


def check_plot(file: str | Path) -> None:
    """Raise, before anything is trained, what `plot_coverage` would raise for this name."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise TrainingError(_LACKING) from error

    file = Path(file)
    if not file.resolve().parent.is_dir():
        raise OutputError(
            f"--plot '{file}': the folder '{file.parent}' does not exist; make it first"
        )
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if file.is_dir() or file.suffix.lower().lstrip(".") not in kinds:
        raise OutputError(
            f"--plot '{file}' is no picture: end its name with one of .{', .'.join(kinds)}"
        )


def plot_coverage(log: Mapping[str, Any], file: str | Path) -> None:
    """Draw the coverage rates of all pruned layers at every update in ``log``.

    The kind of picture follows from the name: .png, .svg, .pdf. Raises TrainingError without
    matplotlib, OutputError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError(_LACKING) from error

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
