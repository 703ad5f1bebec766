"""The rows of a sweep as a table and a plot, with those marked that nothing else beats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprune_onnx.report.figure import new_figure, save_figure
from reprune_onnx.sweeps.cases import VARIED

MEASURES = {
    "top1": "top-1 accuracy, %",
    "AP": "AP, %",
    "mean_iou": "mean IoU, %",
    "mean_ap": "mean AP, %",
    "rmse": "RMSE",
    "agreement_AP": "AP against the original, %",
    "agreement_mean_iou": "mean IoU with the original, %",
    "agreement_relative_error": "relative distance from the original",
    "agreement": "agreement with the original, %",
    "output_error": "error of the outputs, of their variance",
}

_ERRORS = {"rmse", "agreement_relative_error", "output_error"}  # of which less is better


def measure_of(rows: Sequence[dict[str, Any]]) -> str | None:
    """The quality that every finished row has; None where there is none."""
    done = [row for row in rows if "error" not in row]
    for name in MEASURES:
        if done and all(row.get(name) is not None for row in done):
            return name
    return None


def varied(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The settings in which the rows differ, beside the target; the method, if in none."""
    names = [name for name in VARIED if len({row[name] for row in rows}) > 1]
    return names or ["method"]


def best(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Whether no other row has at least as much of both, reduction and quality, and more of one."""
    measure = measure_of(rows)
    points = [None if measure is None else _point(row, measure) for row in rows]
    return [
        p is not None
        and not any(q is not None and q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)
        for p in points
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown; the ones that nothing beats are bold."""
    ways, measure = varied(rows), measure_of(rows)
    heads = [*ways, "asked", "MACs", "parameters"]
    heads += [] if measure is None else [MEASURES[measure]]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row, top in zip(rows, best(rows), strict=True):
        cells = [str(row[name]) for name in ways] + [f"-{row['macs_reduction']:.0%}"]
        if "error" in row:
            cells += [row["error"], *[""] * (len(heads) - len(cells) - 1)]
        else:
            got = row["achieved"]
            cells += [f"-{got['macs_reduction']:.1%}", f"-{got['params_reduction']:.1%}"]
        if measure is not None and "error" not in row:
            value = f"{row[measure]:.4g}"
            cells.append(f"**{value}**" if top else value)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], files: Sequence[Path], title: str) -> None:
    """Draw quality over reduction of MACs, a line per way, into ``files`` (.png, .svg, …).

    Raises UsageError without matplotlib, OutputError where a file cannot be written.
    """
    measure = measure_of(rows)
    if measure is None:
        return
    figure = new_figure(8, 5)
    axes = figure.subplots()
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "error" not in row:
            way = ", ".join(str(row[name]) for name in varied(rows))
            lines.setdefault(way, []).append(row)
    for way, points in lines.items():
        axes.plot(
            [100 * row["achieved"]["macs_reduction"] for row in points],
            [row[measure] for row in points],
            marker="o",
            linewidth=1,
            label=way,
        )
    top = [row for row, mark in zip(rows, best(rows), strict=True) if mark]
    axes.scatter(
        [100 * row["achieved"]["macs_reduction"] for row in top],
        [row[measure] for row in top],
        s=140,
        facecolors="none",
        edgecolors="black",
        label="nothing beats it",
    )
    axes.set_xlabel("fewer MACs, %")
    axes.set_ylabel(MEASURES[measure])
    if measure in _ERRORS:
        axes.set_yscale("log")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, files)


def _point(row: dict[str, Any], measure: str) -> tuple[float, float] | None:
    if "error" in row:
        return None
    sign = -1.0 if measure in _ERRORS else 1.0
    return float(row["achieved"]["macs_reduction"]), sign * float(row[measure])
