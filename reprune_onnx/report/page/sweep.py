"""Sweeps: quality over what went, with those marked that nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.report.page.chart import Axis, Chart, Series
from reprune_onnx.report.page.html import Content, Html, number, section, table, tag
from reprune_onnx.report.page.sources import ReportFile, Sources
from reprune_onnx.sweeps.pareto import MEASURES, best, measure_of, varied


def sweeps(sources: Sources) -> list[Html]:
    """One section for every sweep."""
    return [_sweep(source, k) for k, source in enumerate(sources.of("sweep"))]


def _sweep(source: ReportFile, k: int) -> Html:
    rows, measure = source.data["rows"], measure_of(source.data["rows"])
    title = f"Sweep of {Path(source.data['model']).name}"
    ways, marks = varied(rows), best(rows)
    heads = [*ways, "asked", "MACs", "parameters", MEASURES.get(measure or "", "quality"), ""]
    body = [_cells(row, ways, measure, mark) for row, mark in zip(rows, marks, strict=True)]
    figure = None if measure is None else _chart(rows, ways, measure, marks)
    return section(
        title, figure, table(heads, body, right=range(len(ways), len(heads) - 1)), id_=f"sweep-{k}"
    )


def _chart(rows: list[Mapping[str, Any]], ways: list[str], measure: str, marks: list[bool]) -> Html:
    lines: dict[str, list[tuple[float, float, bool]]] = {}
    for row, mark in zip(rows, marks, strict=True):
        if "error" not in row:
            point = (100 * row["achieved"]["macs_reduction"], row[measure], mark)
            lines.setdefault(", ".join(str(row[way]) for way in ways), []).append(point)
    series = [
        Series(
            name, [(x, y) for x, y, _ in points], rings=[i for i, p in enumerate(points) if p[2]]
        )
        for name, points in lines.items()
    ]
    chart = Chart(Axis("fewer multiply-adds, %"), Axis(MEASURES[measure]), series)
    caption = tag("figcaption", "Ringed: nothing else has fewer multiply-adds and does as well")
    figure = tag("figure", caption, chart.svg("Pareto chart"), chart.legend())
    return tag("div", figure, class_="charts")


def _cells(
    row: Mapping[str, Any], ways: list[str], measure: str | None, mark: bool
) -> list[Content]:
    cells: list[Content] = [str(row[way]) for way in ways]
    cells.append(number(row["macs_reduction"], ".0%"))
    if "error" in row:
        return [*cells, "", "", row["error"], ""]
    got = row["achieved"]
    value = number(row[measure], ".4g") if measure is not None else "–"
    return [
        *cells,
        number(got["macs_reduction"], ".1%"),
        number(got["params_reduction"], ".1%"),
        tag("strong", value) if mark else value,
        "best" if mark else "",
    ]
