"""Accuracies that were measured, epochs of training, and coverage over them (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx.report.page.chart import Axis, Box, Chart, Series
from reprune_onnx.report.page.html import Html, number, section, table, tag
from reprune_onnx.report.page.sources import ReportFile, Sources
from reprune_onnx.tasks import KINDS
from reprune_onnx.tasks.tally import Measure

_CURVES = {"val": "validation", "train": "training"}
_MOST_BOXES = 40


def evaluations(sources: Sources) -> list[Html]:
    """One table of everything that `evaluate` measured."""
    rows = [
        [
            Path(source.data.get("model") or source.path.name).name,
            number(source.data["n"]),
            number(source.data["top1"], ".2f", " %"),
            number(source.data["top5"], ".2f", " %"),
            number(source.data["agreement"], ".2f", " %"),
            number(source.data.get("mean_kl"), ".4g"),
        ]
        for source in sources.of("evaluation")
    ]
    if not rows:
        return []
    heads = ["model", "images", "top-1", "top-5", "agreement with the original", "mean KL"]
    return [section("Accuracy", table(heads, rows, right=range(1, 6)), id_="accuracy")]


def trainings(sources: Sources) -> list[Html]:
    """For every training: accuracy and loss by epoch, and coverage where it pruned."""
    return [_training(source, k) for k, source in enumerate(sources.of("training"))]


def _training(source: ReportFile, k: int) -> Html:
    epochs: Sequence[Mapping[str, Any]] = source.data["epochs"]
    x = Axis("epoch", ticks=_ticks([e["epoch"] for e in epochs]))
    measures = _measures(source)
    charts = []
    for measure in measures:
        keys = {f"{when}_{measure.key}": name for when, name in _CURVES.items()}
        if curves := _series(epochs, keys):
            title = f"{measure.title[:1].upper()}{measure.title[1:]} by epoch"
            charts.append(_figure(Chart(x, Axis(_label(measure)), curves), title))
    if losses := _series(epochs, {"loss": "training", "val_loss": "validation"}):
        charts.append(_figure(Chart(x, Axis("loss", zero=True), losses), "Loss by epoch"))
    boxes = [_box(e["epoch"], list(e["coverage"].values())) for e in epochs if e.get("coverage")]
    if boxes:
        step = -(-len(boxes) // _MOST_BOXES)
        chart = Chart(x, Axis("coverage rate", zero=True), boxes=boxes[::step])
        charts.append(_figure(chart, "Coverage rate of the pruned layers by epoch (Eq. 14)"))
    said = tag("p", number(len(epochs)), " epochs", *_last(epochs, measures))
    return section(
        f"Training: {_name(source)}", said, tag("div", charts, class_="charts"), id_=f"training-{k}"
    )


def _measures(source: ReportFile) -> list[Measure]:
    """The measures of a training's task: against labels, and against the original's answers.

    A log that names no task is of a classifier; a custom loss alone has no measure.
    """
    task = source.data.get("task", {"kind": "classification"})
    kind = KINDS.get(str(task.get("kind"))) if isinstance(task, Mapping) else None
    if kind is None:
        return []
    named = {m.key: m for m in (kind.measure, kind.likeness, *kind.said)}
    return [named[kind.measure.key], named[kind.likeness.key]]


def _label(measure: Measure) -> str:
    """The measure as an axis names it: ``mean IoU, %``."""
    return ", ".join(filter(None, (measure.title, measure.unit.strip())))


def _series(epochs: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> list[Series]:
    """A line for each of ``keys`` that epochs have numbers of, under its name."""
    lines = [
        Series(name, [(e["epoch"], e[key]) for e in epochs if _is_number(e.get(key))])
        for key, name in keys.items()
    ]
    return [line for line in lines if line.points]


def _last(epochs: Sequence[Mapping[str, Any]], measures: Sequence[Measure]) -> list[Any]:
    last = epochs[-1] if epochs else {}
    return [
        part
        for measure in measures
        if _is_number(value := last.get(f"val_{measure.key}"))
        for part in (
            f"; validation {measure.title} at the end ",
            number(value, ".2f" if measure.unit else ".4g", measure.unit),
        )
    ]


def _box(epoch: float, rates: Sequence[float]) -> Box:
    least, lower, median, upper, most = (
        float(q) for q in np.percentile(rates, (0, 25, 50, 75, 100))
    )
    return Box(epoch, (least, lower, median, upper, most))


def _figure(chart: Chart, title: str) -> Html:
    legend = chart.legend() if len(chart.series) > 1 else None
    return tag("figure", tag("figcaption", title), chart.svg(title), legend)


def _name(source: ReportFile) -> str:
    return f"{source.path.name.removesuffix('.json').removesuffix('.training')}.onnx"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ticks(epochs: Sequence[float]) -> list[float]:
    """Whole epochs, ten at most."""
    if not epochs:
        return []
    step = -(-len(epochs) // 10)
    return list(epochs[::step])
