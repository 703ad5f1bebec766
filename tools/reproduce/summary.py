"""The results of a table as JSON, and as Markdown beside the published figures."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from experiments import EXPERIMENTS, runs_of

Result = dict[str, Any]


def write(table: str, results: dict[str, dict[int, Result]], facts: Result, folder: Path) -> str:
    """Write ``TABLE.json`` and ``TABLE.md``; the Markdown."""
    rows = [_row(run.name, results[run.name]) for run in runs_of(table) if results.get(run.name)]
    data = {"table": table, "title": EXPERIMENTS[table].title, **facts, "rows": rows}
    (folder / f"{table}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    text = _markdown(table, rows, facts)
    (folder / f"{table}.md").write_text(text)
    return text


def _row(name: str, by_seed: dict[int, Result]) -> Result:
    results = list(by_seed.values())
    row: Result = {"run": name, "seeds": sorted(by_seed), "machine": results[0]["machine"]}
    for key in ("top1", "flops_cut", "start_top1", "shift"):
        values = [r[key] for r in results if key in r]
        if values:
            row[key] = values
    for key in results[0]["seconds_per_epoch"]:
        row[key] = [r["seconds_per_epoch"][key] for r in results]
    row["val_top1"] = [[e.get("val_top1") for e in r["epochs"]] for r in results]
    return row


def _markdown(table: str, rows: list[Result], facts: Result) -> str:
    experiment = EXPERIMENTS[table]
    lines = [
        f"# {experiment.title}",
        "",
        f"Published: {experiment.network}, {experiment.epochs} epochs. Measured:"
        f" {facts['network']}, {facts['epochs']} epochs on {facts['images']:,} images, tested on"
        f" {facts['test_images']:,}; mean ± standard deviation over the seeds.",
        "",
        f"    {facts['command']}",
        "",
        "| run | seeds | top-1, % | published | MACs cut, % | published | s per epoch, first → last"
        " | s of CPU time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    published = {run.name: run.published for run in runs_of(table)}
    for row in rows:
        paper = published[row["run"]]
        cells = [
            row["run"],
            ", ".join(map(str, row["seeds"])),
            spread(row["top1"]),
            _known(paper.get("top1")),
            spread(row["flops_cut"]),
            _known(paper.get("flops_cut")),
            f"{spread(row['seconds_first'], 1)} → {spread(row['seconds_last'], 1)}",
            f"{spread(row['cpu_seconds_first'], 1)} → {spread(row['cpu_seconds_last'], 1)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if any("shift" in row for row in rows):
        lines += _recovery(rows)
    machine = rows[0]["machine"]
    lines += ["", ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    return "\n".join(lines)


def _recovery(rows: list[Result]) -> list[str]:
    lines = [
        "",
        "| fine-tuned run | top-1 before it, % | shift of filters | top-1 after each epoch, % (of a"
        " part of the test images) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "shift" not in row:
            continue
        epochs = [[v for v in vs if v is not None] for vs in zip(*row["val_top1"], strict=True)]
        curve = ", ".join(f"{statistics.mean(vs):.1f}" for vs in epochs if vs) or "–"
        cells = [row["run"], spread(row["start_top1"]), spread(row["shift"], 4), curve]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def spread(values: list[float], digits: int = 2) -> str:
    """Mean ± standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
