"""Plots as files, drawn by matplotlib: what all of them share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reprune_onnx.atomic import check_folder, write_atomically
from reprune_onnx.errors import OutputError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches; UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("a plot needs matplotlib: pip install 'reprune-onnx[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def check_plot(file: Path | None) -> None:
    """Refuse, before anything is computed, a plot that could not be drawn or written."""
    if file is None:
        return
    formats = new_figure(1, 1).canvas.get_supported_filetypes()
    if file.suffix.lstrip(".").lower() not in formats:
        raise UsageError(f"--plot '{file}': give a name that ends in .png, .svg or .pdf")
    check_folder(file)
    if file.is_dir():
        raise OutputError(f"cannot write '{file}': it is a folder; give the name of a file in it")


def save_figure(figure: Figure, files: Sequence[Path]) -> None:
    """Write a figure in the kinds that the names end in; OutputError where that fails."""
    for file in files:
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=150, format=file.suffix.lstrip(".").lower())
        write_atomically(file, drawn.getvalue())
