"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from reprune_onnx.report.files import Destination
from reprune_onnx.report.terminal import Terminal
from reprune_onnx.runtime.evaluate_task import TaskEvaluation
from reprune_onnx.runtime.random_inputs import DRAWS
from reprune_onnx.sweeps.pareto import best, measure_of, varied
from reprune_onnx.tasks import TaskKind

_IMAGES = (
    "some hundreds of unlabelled images recover far more: give them with --calibration, or let"
    " --calibration generated make some by formula"
)


def print_analysis(analysis: dict[str, Any]) -> None:
    """Groups, locks, and the summary line."""
    console = Terminal()
    table = _table(
        f"{analysis['model']}: channels that go together",
        ["group", "channels", "prunable", "made by", "read by"],
        right={0, 1, 2},
    )
    for g in analysis["groups"]:
        made = [p["node"] for p in g["producers"]]
        row = (g["id"], g["channels"], g["prunable"] or "–", _names(made), _names(g["consumers"]))
        table.add_row(*map(str, row), style=None if g["prunable"] else "dim")
    console.print(table)
    if analysis["locked"]:
        table = _table("Why channels stay", ["channels", "node", "reason"], right={0})
        for lock in analysis["locked"]:
            table.add_row(str(lock["channels"]), lock["node"] or "–", lock["reason"])
        console.print(table)
    _print_stays(console, analysis)
    s = analysis["summary"]
    shapes = ", ".join(f"{k} {'×'.join(map(str, v))}" for k, v in analysis["input_shapes"].items())
    if analysis.get("sizes_found"):
        console.print(analysis["sizes_found"])
    console.print(
        f"{analysis['macs'] / 1e6:,.1f} M MACs at {shapes}; {analysis['params']:,} parameters"
    )
    for note in analysis["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(
        f"prunable: {s['prunable_layers']} of {s['layers']} layers, at most"
        f" {s['largest_macs_reduction']:.1%} of MACs (--residual {analysis['residual']})"
    )
    closed = [g["producers"][0]["node"] for g in analysis["groups"] if g["branch"]]
    if closed:
        what = "1 branch can" if len(closed) == 1 else f"{len(closed)} branches can"
        console.print(f"{what} go as a whole: --layer '{closed[0]}=0'", soft_wrap=True)


def _print_stays(console: Terminal, analysis: dict[str, Any]) -> None:
    """The layers that keep all their channels, those of one reason and one group in one row."""
    owner = {p["node"]: g["id"] for g in analysis["groups"] for p in g["producers"]}
    rows: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for layer in analysis["layers"]:
        if layer["stays"] is not None:
            key = (owner[layer["node"]], layer["stays"]["reason"])
            rows.setdefault(key, []).append(layer)
    if not rows:
        return
    table = _table("Layers that keep all channels", ["layers", "MACs", "why"], right={1})
    for (_, reason), layers in rows.items():
        share = layers[0]["stays"]["macs"] / max(1, analysis["macs"])
        table.add_row(_names([x["node"] for x in layers]), f"{share:.1%}", reason)
    console.print(table)


def print_pruning(report: Mapping[str, Any], destination: Destination) -> None:
    """Layer widths, what was asked and reached, the proof, and where the files are."""
    console = Terminal()
    table = _table("Layers", ["layer", "channels", "kept", "sparsity", "coverage"], {1, 2, 3, 4})
    for layer in report["layers"]:
        before, after = layer["out_channels"]
        if after < before:
            cover = "–" if layer["coverage"] is None else f"{layer['coverage']:.1%}"
            row = (layer["node"], before, after, f"{layer['sparsity']:.1%}", cover)
            table.add_row(*map(str, row))
    console.print(table if table.row_count else "no layer lost channels")
    table = _table("", ["", "before", "after", "reduction"], {1, 2, 3})
    for name, title in (("macs", "MACs"), ("params", "parameters"), ("bytes", "file size, bytes")):
        before, after = report["before"][name], report["after"][name]
        share = f"{1 - after / before:.1%}" if before else "–"
        table.add_row(title, f"{before:,}", f"{after:,}", share)
        if name == "macs" and report.get("scope") is not None:
            before, after = report["scope"]["macs"]
            share = f"{1 - after / before:.1%}" if before else "–"
            table.add_row("  of --include", f"{before:,}", f"{after:,}", share)
    console.print(table)
    if report["int8"] is not None:
        console.print(_int8(report["int8"]))
    for line in _lines(report, destination):
        console.print(line, soft_wrap=True)


def _int8(entry: Mapping[str, Any]) -> Table:
    """Float, pruned, int8 and both: accuracy, error, size and time."""
    measure = entry["measure"]
    heads = ["", *([f"{measure}, %"] if measure else []), "error of the outputs", "bytes", "ms"]
    title = f"On {entry['held_out']} held-out images, and one run in ONNX Runtime here"
    table = _table(title, heads, set(range(1, len(heads))))
    for row in entry["rows"]:
        points = [f"{row['score']:.2f}"] if measure else []
        error = "–" if row["error"] is None else f"{row['error']:.3g}"
        table.add_row(row["model"], *points, error, f"{row['bytes']:,}", f"{row['ms']:.3g}")
    return table


def print_evaluation(
    evaluation: dict[str, Any], preprocess: str, notes: Sequence[str] = ()
) -> None:
    """The measured percentages, after what the data is."""
    console = Terminal()
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    names = {
        "top1": "top-1 {:.2f} %",
        "top5": "top-5 {:.2f} %",
        "agreement": "agreement with the original {:.2f} %",
        "mean_kl": "mean KL {:.4g}",
    }
    parts = [text.format(evaluation[k]) for k, text in names.items() if evaluation[k] is not None]
    line = f"{', '.join(parts)} on {evaluation['n']} images (preprocess: {preprocess})"
    console.print(line, soft_wrap=True)
    if evaluation["unused_labels"] is not None:
        console.print(f"labels are not used: {evaluation['unused_labels']}", soft_wrap=True)


def print_task(
    evaluation: TaskEvaluation, task: TaskKind, preprocess: str, notes: Sequence[str] = ()
) -> None:
    """Print the data, the measures of a task, and what was assumed."""
    console = Terminal()
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    parts = [
        m.said(evaluation.scores) for m in task.said if evaluation.scores.get(m.key) is not None
    ]
    line = f"{', '.join(parts)} on {evaluation.n} images (preprocess: {preprocess})"
    console.print(line, soft_wrap=True)
    for note in evaluation.notes:
        console.print(note, soft_wrap=True)


def print_detection(evaluation: dict[str, Any], preprocess: str, against: bool = False) -> None:
    """Average precision of boxes and masks; ``against`` the original's detections or objects."""
    console = Terminal()
    measured = {
        kind: evaluation[kind]
        for kind in ("box", "mask", "keypoints")
        if evaluation[kind] is not None
    }
    names = list(next(iter(measured.values())))
    table = _table("", ["", *names], right=set(range(1, len(names) + 1)))
    for kind, values in measured.items():
        table.add_row(kind, *("–" if v is None else f"{v:.1f}" for v in values.values()))
    console.print(table)
    console.print(f"on {evaluation['n']} images (preprocess: {preprocess})")
    if against:
        console.print("the truth is what the original detects with a score of 0.25 or more")
    for note in evaluation["notes"]:
        console.print(note)


def _lines(report: Mapping[str, Any], destination: Destination) -> list[str]:
    lines = [f"note: {note}" for note in report["notes"]]
    lines += [_target(name, value, report) for name, value in report["requested"].items()]
    lines.append(_verified(report["verification"]))
    lines += _recovery(report["recovery"]) or _not_recovered(report)
    lines += _time_of_images(report["without_images"])
    paths = (destination.model, destination.int8, destination.report)
    written = [str(p) for p in paths if p is not None]
    lines.append(f"{report['seconds']['total']:.1f} s; wrote {' and '.join(written)}")
    return lines


def _verified(v: dict[str, Any] | None) -> str:
    """The line on the proof of the cut; it names the kind of inputs if that was not the first."""
    if v is None:
        return "NOT verified (--no-verify)"
    kind = "".join(v.get("inputs", ())[:1])
    of = "" if kind in ("", DRAWS[0].name) else f" ({kind}, as others show nothing)"
    at = (
        f" (copies with {v['sizes']}: larger ones take more time or memory)"
        if v.get("sizes")
        else ""
    )
    where = ", seen behind the cuts only," if v.get("inner") else ""
    taken = len(v.get("branches", ()))
    each = f"; branches of If that were cut, each in a copy that takes it: {taken}" * bool(taken)
    control = v["negative_control"]
    wrong = f"a wrong cut differs by {control:.2g}" if control else "nothing was cut"
    return (
        f"verified on {v['runs']} inputs{of}{at}: differs by {v['max_abs_diff']:.2g} from the"
        f" masked original{where} at scale {v['scale']:.3g}; {wrong}{each}"
    )


def _target(name: str, asked: float, report: Mapping[str, Any]) -> str:
    """The line on the target, asked and reached."""
    reached, title = report["achieved"][name], name.replace("_", " ")
    title = title.replace("macs", "MACs").replace("params", "parameters")
    if name == "max_drop":
        d = report["drop"]
        return (
            f"asked for at most {asked:g} points less {d['measure']}, reached {reached:.2f}"
            f" ({d['before']:.2f} to {d['after']:.2f} % on {d['images']} held-out images)"
        )
    line = f"asked for {title} {asked:.2%}, reached {reached:.2%}"
    t = report["latency"]
    if name == "latency_reduction" and t is not None:
        line += f" ({t['before_ms']:.3g} to {t['after_ms']:.3g} ms, measured in turns)"
    return line + _rounding(name, report["rounding"]) + _missed(report["missed"])


def _missed(missed: dict[str, Any] | None) -> str:
    """Why a target was missed by more than a point, and what can be reached next to it."""
    if missed is None:
        return ""
    line = f"; {missed['why']}"
    around = [f"{missed[side]:.2%}" for side in ("less", "more") if missed[side] is not None]
    if around:
        line += f"; next to what was asked, {' and '.join(around)} can be reached"
    return f"{line}; {missed['next_step']}" if missed["next_step"] else line


def _rounding(name: str, rounding: dict[str, Any] | None) -> str:
    """The end of the line on the target: the rounding of widths, and the result without it."""
    if rounding is None:
        return ""
    line = f"; widths are multiples of {rounding['multiple']}"
    if rounding["narrow"] is not None:
        line += f", or {rounding['narrow']} where layers are narrow"
    if rounding["target"] is not None:
        line += f", for {rounding['target']}"
    if rounding["exceptions"]:
        line += (
            f", but for {rounding['exceptions']} layers that are tied to others or set by --layer"
        )
    if rounding["unrounded"] is not None:
        line += f" (unrounded {rounding['unrounded'][name]:.2%})"
    return line


def print_sweep(rows: list[dict[str, Any]], folder: Path) -> None:
    """One row per case; the ones that nothing beats are bold."""
    console, marks, measure = Terminal(), best(rows), measure_of(rows)
    ways = varied(rows)
    heads = [*ways, "asked", "MACs", "parameters", measure or "quality", "s"]
    table = _table("Sweep", heads, right=set(range(len(ways), len(heads))))
    for row, mark in zip(rows, marks, strict=True):
        cells = [str(row[name]) for name in ways] + [f"-{row['macs_reduction']:.0%}"]
        if "error" in row:
            cells += ["failed", "", ""]
        else:
            cells += [f"-{row['achieved'][f'{m}_reduction']:.1%}" for m in ("macs", "params")]
            cells.append("–" if measure is None else f"{row[measure]:.4g}")
        table.add_row(*cells, f"{row['seconds']:.1f}", style="bold" if mark else None)
    console.print(table)
    for note in dict.fromkeys(row.get("preprocess_note") for row in rows):
        if note is not None:
            console.print(f"note: {note}", soft_wrap=True)
    for row in rows:
        if "error" in row:
            line = f"{' '.join(row[w] for w in ways)} {row['macs_reduction']:g}: {row['error']}"
            console.print(line, soft_wrap=True)
    plots = ", pareto.png, pareto.svg"
    if measure is None:
        plots = ""
        console.print("quality was not measured: give --data or --calibration images")
    line = f"wrote sweep.json, sweep.md{plots} and models to {folder}"
    console.print(line, soft_wrap=True)


def _recovery(recovery: dict[str, Any] | None) -> list[str]:
    """The lines on the repair of accuracy; the next step where more could be done."""
    if recovery is None:
        return []
    n = recovery["layers"]
    have = "1 layer has" if n == 1 else f"{n} layers have"
    line = f"recovered by {recovery['method']}: {have} new values"
    if not recovery["samples"]:
        return [f"{line}; {_IMAGES}"]
    line += f", fitted to {recovery['samples']} images"
    if recovery["error_before"] is not None and recovery["error_after"] is not None:
        before, after = recovery["error_before"], recovery["error_after"]
        line += f"; error of the outputs from {before:.3g} to {after:.3g} of their variance"
    lines = [line]
    if recovery.get("distillation"):
        lines.append(_distilled(recovery["distillation"]))
    if written := recovery.get("bytes_written", 0):
        said = f"{written / 1e6:,.0f} MB of activations went to a temporary file (--memory)"
        lines.append(said)
    return lines


def _distilled(told: Mapping[str, Any]) -> str:
    """The line on what distillation gave."""
    epochs, held = told["epochs"], told["held_out"]
    if not told["kept_epoch"]:
        return (
            f"none of {epochs} epochs of distillation was better on {held} images held back: OUT"
            " holds the values of least-squares"
        )
    share = told["kept_share"]
    part = "" if share == 1 else f" by {share:.0%} (the rest is least-squares)"
    return (
        f"distilled for {epochs} epochs: the error on {held} images held back went from"
        f" {told['loss_before']:.3g} to {told['loss_after']:.3g}; OUT holds epoch"
        f" {told['kept_epoch']}{part}"
    )


def _not_recovered(report: Mapping[str, Any]) -> list[str]:
    """A line where recovery was asked for and repaired nothing."""
    if not report["cuts"] or report["settings"]["recover"] == "none":
        return []
    return [f"not recovered: no layer could be repaired by the file alone; {_IMAGES}"]


def _time_of_images(instead: Mapping[str, Any] | None) -> list[str]:
    """The time that generated images took, where they were tried."""
    if instead is None or instead["error"] is None:
        return []
    took = f"{instead['seconds']:.1f} s of CPU time"
    return [f"generated images took {took} (--recover data-free does without)"]


def print_recovery(
    report: Mapping[str, Any], destination: Destination, notes: Sequence[str] = ()
) -> None:
    """Print the recovery, and where the files are."""
    console = Terminal()
    lines = [f"note: {note}" for note in notes]
    lines += _recovery(report["recovery"]) or ["nothing was recovered: no layer reads what was cut"]
    lines.append(f"wrote {destination.model} and {destination.report}")
    for line in lines:
        console.print(line, soft_wrap=True)


def print_bench(result: dict[str, Any]) -> None:
    """One row per model and batch size, then what is to be said of the models and of noise."""
    console = Terminal()
    heads = ["model", "batch", "images/s", "median ms", "p90", "IQR", "speedup"]
    title = f"{result['machine']['name']}, {result['backend']}"
    if result["threads"] is not None:
        title += f", {result['threads']} thread{'s' * (result['threads'] != 1)}"
    if result["clock"] == "cpu":
        title += ", CPU time"
    table = _table(title, heads, right=set(range(1, len(heads))))
    for row in result["rows"]:
        ms = row["latency_ms"]
        cells = [row["model"], str(row["batch_size"]), f"{row['images_per_s']:,.5g}"]
        cells += [f"{ms[name]:.4g}" for name in ("median", "p90", "iqr")]
        table.add_row(*cells, "–" if row["speedup"] is None else f"{row['speedup']:.2f}×")
    console.print(table)
    for line in [*filter(None, map(_checked, result["models"])), *result["notes"]]:
        console.print(line, soft_wrap=True)


def _checked(entry: dict[str, Any]) -> str:
    """The line on the checks of a model."""
    said = []
    if entry["max_abs_diff"] is not None:
        said.append(
            f"differs by {entry['max_abs_diff']:.2g} from a plain run at scale {entry['scale']:.3g}"
        )
    if entry["pruned_from"] is not None:
        said.append(f"pruned from {entry['pruned_from']}" + _PROVEN[entry["verified"]])
    return f"{entry['model']}: {'; '.join(said)}" if said else ""


_PROVEN = {
    "cut": ", the cut is verified",
    "structure": ", the structure is verified",
    None: " (not verified: its report is not beside it)",
}


def _names(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _table(title: str, columns: list[str], right: set[int]) -> Table:
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k in right else "left", overflow="fold")
    return table
