"""The page of `coverage_table.py`: totals, and a table per library, as Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

Row = dict[str, Any]

EXPORTERS = {"torchscript": "TorchScript", "dynamo": "dynamo"}
OPSET = 17  # of the TorchScript exporter; dynamo chooses its own
HEAD = """# What was pruned: {models} networks, {exporters}

Every network was built with random weights, exported by PyTorch, pruned by its file alone with
`--sparsity {sparsity:g} --residual prune --allocation uniform --method {method}{norms}`,
and the cut was proven in ONNX Runtime. *TorchScript* is `torch.onnx.export(dynamo=False)` with live
BatchNormalization and no constant folding, opset {opset}; *dynamo* is `dynamo=True`.

{summary}

Made on {date} by `python tools/coverage_table.py{options}` ([all rows]({json})), with Python
{python}, {packages}, on {machine}.

- **Conv cut**: Conv and ConvTranspose layers that lost output channels. **MACs**, **params**: the
  share that is left.
- **difference**: between the pruned model and the original with its dropped channels zeroed;
  **control**: that of a deliberately wrong cut. Both as a share of the output's largest value.
- **s**: seconds for analysis, choice, cut and proof.
- **stays**: why Convs keep all channels, other than those that make the graph's outputs.
"""
BY_HAND = "## float16 files of Ultralytics"  # from here on the page is written by hand
COLUMNS = "model | input | exporter | Conv cut | MACs | params | difference | control | s | stays"
TOTALS = (
    "networks | models | exports | not exported | refused | failed | exact | Conv cut"
    " | uncut: outputs | median MACs | largest difference | smallest control"
)


def page(about: Row, rows: list[Row], settings: Row, file: str) -> str:
    """The Markdown page: what was found in total, then a table per library."""
    options = about.get("lists", " --timm" * ("timm" in libraries(rows)))
    options += "".join(f" --{name.replace('_', '-')} {value}" for name, value in settings.items())
    parts = [
        HEAD.format(
            models=len({row["model"] for row in rows}),
            opset=OPSET,
            summary=summary(rows),
            options=options,
            exporters=["one exporter", "two exporters"][len({r["exporter"] for r in rows}) - 1],
            norms=f" --norm-statistics {norms}"
            if (norms := settings.get("norm_statistics"))
            else "",
            json=file,
            packages=", ".join(" ".join(pair) for pair in about["packages"].items()),
            **settings,
            **{name: about[name] for name in ("date", "python", "machine")},
        )
    ]
    for library in libraries(rows):
        parts += [f"## {library}\n", f"| {COLUMNS} |", f"|{'---|' * 3}{'--:|' * 6}---|"]
        mine = [cells(row) for row in rows if row["library"] == library]
        parts += [*(f"| {' | '.join(row)} |" for row in mine), ""]
    return "\n".join(parts).rstrip() + "\n"


def summary(rows: list[Row]) -> str:
    """A table of totals: per library all its networks, and those without LayerNorm streams."""
    lines = [f"| {TOTALS} |", "|---|" + "--:|" * TOTALS.count("|")]
    norms = {row["model"] for row in rows if row.get("layer_norm")}
    for library in libraries(rows):
        mine = [row for row in rows if row["library"] == library]
        lines.append(totals(library, mine))
        if streams := sorted({row["model"] for row in mine} & norms):
            rest = [row for row in mine if row["model"] not in norms]
            lines.append(totals(f"{library} without LayerNorm streams", rest))
            mine = [row for row in mine if row["model"] in norms]
            lines.append(totals(f"LayerNorm streams: {', '.join(streams)}", mine))
    return "\n".join(lines)


def totals(title: str, rows: list[Row]) -> str:
    """One line of the summary."""
    results = Counter(row["result"] for row in rows)
    done = [row for row in rows if row["result"] == "pruned"]
    n, cut = sum(row["convs"] for row in done), sum(row["convs_cut"] for row in done)
    failed = results["not proven"] + results["crash"]
    numbers = [len({row["model"] for row in rows}), len(rows), results["not exported"]]
    numbers += [results["refused"], failed, len(done)]
    if not done:
        return f"| {' | '.join([title, *map(str, numbers), *'–––––'])} |"
    last = [f"{cut} of {n} ({100 * cut / n:.1f} %)", f"{sum(r['convs_of_outputs'] for r in done)}"]
    last += [f"{statistics.median(r['macs'] for r in done):.3f}"]
    last += [f"{max(r['difference'] for r in done):.1g}", f"{min(r['control'] for r in done):.1g}"]
    return f"| {' | '.join([title, *map(str, numbers), *last])} |"


def cells(row: Row) -> list[str]:
    """One line of a library's table."""
    exporter = EXPORTERS[row["exporter"]] + ", fixed batch" * (row.get("batch") == "fixed")
    first = [f"`{row['model']}`", f"{row['side']}²", exporter]
    if row["result"] != "pruned":
        message = row["message"].replace("|", "\\|")
        return [*first, *["–"] * 6, f"**{row['result']}**: {message}"]
    shares = [f"{row[name]:.3f}" for name in ("macs", "params")]
    proof = [f"{row[name]:.1g}" for name in ("difference", "control")]
    reasons = "; ".join(f"{n}: {reason}" for reason, n in row["stays"].items())
    cut = f"{row['convs_cut']} of {row['convs']}"
    return [*first, cut, *shares, *proof, f"{row['seconds']:.1f}", reasons]


def libraries(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["library"] for row in rows))
