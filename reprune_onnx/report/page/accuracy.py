"""Accuracies that were measured, epochs of training, and coverage over them (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx.report.page.chart import Axis, Box, Chart, Series
from reprune_onnx.report.page.html import Html, number, section, table, tag
from reprune_onnx.report.page.sources import Source, Sources

_CURVES = {"val_top1": "validation", "train_top1": "training"}
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


def _training(source: Source, k: int) -> Html:
    epochs: Sequence[Mapping[str, Any]] = source.data["epochs"]
    x = Axis("epoch", ticks=_ticks([e["epoch"] for e in epochs]))
    charts = []
    curves = [
        Series(name, [(e["epoch"], e[key]) for e in epochs if _is_number(e.get(key))])
        for key, name in _CURVES.items()
    ]
    curves = [curve for curve in curves if curve.points]
    if curves:
        charts.append(_figure(Chart(x, Axis("top-1, %"), curves), "Accuracy by epoch"))
    loss = [(e["epoch"], e["loss"]) for e in epochs if _is_number(e.get("loss"))]
    if loss:
        charts.append(
            _figure(Chart(x, Axis("loss", zero=True), [Series("loss", loss)]), "Loss by epoch")
        )
    boxes = [_box(e["epoch"], list(e["coverage"].values())) for e in epochs if e.get("coverage")]
    if boxes:
        step = -(-len(boxes) // _MOST_BOXES)
        chart = Chart(x, Axis("coverage rate", zero=True), boxes=boxes[::step])
        charts.append(_figure(chart, "Coverage rate of the pruned layers by epoch (Eq. 14)"))
    said = tag("p", number(len(epochs)), " epochs", *_last(epochs))
    return section(
        f"Training: {_name(source)}", said, tag("div", charts, class_="charts"), id_=f"training-{k}"
    )


def _last(epochs: Sequence[Mapping[str, Any]]) -> list[Any]:
    value = epochs[-1].get("val_top1") if epochs else None
    return (
        ["; validation top-1 at the end ", number(value, ".2f", " %")] if _is_number(value) else []
    )


def _box(epoch: float, rates: Sequence[float]) -> Box:
    least, lower, median, upper, most = (
        float(q) for q in np.percentile(rates, (0, 25, 50, 75, 100))
    )
    return Box(epoch, (least, lower, median, upper, most))


def _figure(chart: Chart, title: str) -> Html:
    legend = chart.legend() if len(chart.series) > 1 else None
    return tag("figure", tag("figcaption", title), chart.svg(title), legend)


def _name(source: Source) -> str:
    return f"{source.path.name.removesuffix('.json').removesuffix('.training')}.onnx"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ticks(epochs: Sequence[float]) -> list[float]:
    """Whole epochs, ten at most."""
    if not epochs:
        return []
    step = -(-len(epochs) // 10)
    return list(epochs[::step])
