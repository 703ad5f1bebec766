"""Throughput against batch size, a panel for each machine, as in Figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx.report.page.chart import Axis, Chart, Series
from reprune_onnx.report.page.html import Content, Html, number, section, table, tag, terminal
from reprune_onnx.report.page.pruning import pruned_name
from reprune_onnx.report.page.sources import ReportFile, Sources

_ENDINGS = (".onnx", ".engine", ".plan")
_MORE = {
    "energy_per_image_j": "J per image",
    "peak_memory_mb": "peak memory, MB",
    "engine_bytes": "engine, bytes",
}
"""Fields in the rows of a bundle beside time, and their headings."""
_PAPER = {"A6000": "RTX A6000", "TX2": "Jetson TX2"}
"""The machines of the paper: the sign in a machine's name, and what they are called."""


def throughput(sources: Sources) -> list[Html]:
    """The section: measured panels, and empty ones for the paper's machines that are not there."""
    measured = sources.of("bench")
    if not measured and not sources.of("prune"):
        return []
    panels = [_panel(source) for source in measured]
    titles = " ".join(_title(source) for source in measured)
    panels += [_empty(sign, name, sources) for sign, name in _PAPER.items() if sign not in titles]
    numbers = _table(measured) if measured else None
    return [section("Throughput", tag("div", panels, class_="charts"), numbers, id_="throughput")]


def machine_name(data: Mapping[str, Any]) -> str:
    """The name that a result gives its machine."""
    machine = data["machine"]
    if isinstance(machine, dict):
        machine = machine.get("name") or machine.get("gpu") or machine.get("cpu")
    return str(machine or "a machine without a name")


def _title(source: ReportFile) -> str:
    parts = [machine_name(source.data), source.data["backend"]]
    threads = source.data.get("threads")
    parts += [f"{threads} thread{'s' * (threads > 1)}"] if threads else []
    parts += ["CPU time"] if source.data.get("clock") == "cpu" else []
    return ", ".join(parts)


def _panel(source: ReportFile) -> Html:
    rows: Sequence[Mapping[str, Any]] = source.data["rows"]
    title = _title(source)
    notes: list[Content] = list(source.data.get("notes") or ())
    notes += [failure["error"] for failure in source.data.get("failures") or ()]
    notes += [_failed(failure) for failure in source.data.get("failed") or ()]
    said = [tag("p", note, class_="note") for note in notes]
    told = tag("p", _facts(source), class_="small")
    if not rows:
        return tag("figure", tag("figcaption", title), tag("p", "Nothing was measured."), said)
    series = [_series(name, rows) for name in dict.fromkeys(row["model"] for row in rows)]
    sizes = sorted({row["batch_size"] for row in rows})
    chart = Chart(Axis("batch size", ticks=sizes, log=True), Axis("images/s", zero=True), series)
    return tag("figure", tag("figcaption", title), chart.svg(title), chart.legend(), said, told)


def _series(name: str, rows: Sequence[Mapping[str, Any]]) -> Series:
    of_model = sorted(
        (row for row in rows if row["model"] == name), key=lambda row: row["batch_size"]
    )
    points = [(row["batch_size"], row["images_per_s"]) for row in of_model]
    spread = (
        [_quartiles(row) for row in of_model] if all(row.get("runs") for row in of_model) else []
    )
    return Series(label(name), points, spread)


def label(name: str) -> str:
    """A model's name without its folder, and without the ending of a file.

    >>> label("nets/resnet.v2.onnx"), label("resnet.v2 fp16")
    ('resnet.v2', 'resnet.v2 fp16')
    """
    file = Path(name).name
    return Path(file).stem if file.endswith(_ENDINGS) else file


def _failed(failure: Mapping[str, Any]) -> str:
    """A case of a bundle that failed on its device, and the reason."""
    where = f"{failure.get('model')} {failure.get('precision')}, batch {failure.get('batch_size')}"
    return f"{where}: {failure.get('reason')}"


def _facts(source: ReportFile) -> str:
    """The facts of a machine, as the paper's Table 7 has them."""
    machine = source.data["machine"]
    given = machine if isinstance(machine, dict) else {}
    flat = {**given, **(given.get("versions") or {})}
    shown = [
        f"{key} {value}" for key, value in flat.items() if isinstance(value, (str, int, float))
    ]
    return "; ".join(shown)


def _quartiles(row: Mapping[str, Any]) -> tuple[float, float]:
    slow, fast = np.percentile(row["runs"], (75, 25))
    return float(1e3 * row["batch_size"] / slow), float(1e3 * row["batch_size"] / fast)


def _table(measured: Sequence[ReportFile]) -> Html:
    """All rows of all machines."""
    results = [(_title(source), row) for source in measured for row in source.data["rows"]]
    more = [key for key in _MORE if any(row.get(key) is not None for _, row in results)]
    rows = [[title, *_cells(row), *(number(row.get(k)) for k in more)] for title, row in results]
    heads = ["machine", "model", "batch", "images/s", "speedup", "median ms", "p90", "IQR"]
    heads += [_MORE[key] for key in more]
    return table(heads, rows, right=range(2, len(heads)))


def _cells(row: Mapping[str, Any]) -> list[Content]:
    ms, speedup = row["latency_ms"], row.get("speedup")
    marks = [mark for mark in ("noisy", "throttled") if row.get(mark)]
    noisy = tag("span", f" {', '.join(marks)}", class_="noisy") if marks else None
    return [
        label(row["model"]),
        number(row["batch_size"]),
        number(row["images_per_s"], ",.5g"),
        number(speedup, ".2f", "×"),
        number(ms["median"], ".4g"),
        number(ms["p90"], ".4g"),
        [number(ms["iqr"], ".3g"), noisy],
    ]


def _empty(sign: str, name: str, sources: Sources) -> Html:
    """A panel without figures, and the commands that fill it."""
    return tag(
        "figure",
        tag("figcaption", name),
        tag("p", "Not measured: no result of this machine is among the files. These make one:"),
        terminal(_a6000(sources) if sign == "A6000" else _tx2(sources)),
        class_="empty",
    )


def _a6000(sources: Sources) -> list[list[str]]:
    result, models = "a6000.json", _models(sources)
    engines = [Path(model).with_suffix(".engine").name for model in models]
    how = ["--target", "rtx-a6000", "--precision", "fp16"]
    builds = [
        ["reprune-onnx", "build", m, *how, "-o", e] for m, e in zip(models, engines, strict=True)
    ]
    bench = ["reprune-onnx", "bench", *engines, "--backend", "tensorrt", "--json", result]
    return [*builds, bench, _again(sources, result)]


def _tx2(sources: Sources) -> list[list[str]]:
    """The bundle's README says how it is run on the device, and where its result lies."""
    return [
        ["reprune-onnx", "bundle", *_models(sources), "--target", "jetson-tx2", "-o", "tx2"],
        _again(sources, "results.json"),
    ]


def _models(sources: Sources) -> list[str]:
    pairs = [(s.data["source"]["path"], pruned_name(s)) for s in sources.of("prune")]
    return list(dict.fromkeys(m for pair in pairs for m in pair)) or ["MODEL.onnx", "PRUNED.onnx"]


def _again(sources: Sources, result: str) -> list[str]:
    return ["reprune-onnx", "report", *map(str, sources.files), result, "-o", "REPORT.html"]
