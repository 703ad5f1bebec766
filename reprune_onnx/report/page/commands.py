"""The commands that made the files, as they would be typed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from reprune_onnx.options import flag
from reprune_onnx.report.page.html import Html, section, terminal
from reprune_onnx.report.page.pruning import pruned_name
from reprune_onnx.report.page.sources import ReportFile, Sources
from reprune_onnx.settings import Settings

_DEFAULTS = {f.name: None if f.default is MISSING else f.default for f in fields(Settings)}
_OWN_FORM = ("verify", "layer", "input_shapes", "include", "exclude", "jobs")


def commands(sources: Sources) -> list[Html]:
    """The section with one command per file that tells its own."""
    makers: Mapping[str, Callable[[ReportFile], Sequence[str] | None]] = {
        "prune": _prune,
        "training": _typed,
        "sweep": _typed,
        "evaluation": _evaluate,
        "bench": _bench,
    }
    lines = [
        words
        for kind, maker in makers.items()
        for source in sources.of(kind)
        if (words := maker(source)) is not None
    ]
    files = [str(path) for path in sources.files]
    lines.append(["reprune-onnx", "report", *files, "-o", "REPORT.html"])
    return [section("Commands to repeat it", terminal(lines), id_="commands")]


def _prune(source: ReportFile) -> list[str] | None:
    if source.data.get("training"):
        return None  # such a report is made by training, whose log tells its settings
    settings = source.data["settings"]
    words = ["reprune-onnx", "prune", source.data["source"]["path"]]
    for name, default in _DEFAULTS.items():
        value = settings.get(name, default)
        if name not in _OWN_FORM and value != default and value is not None:
            words += [flag(name), str(value)]
    words += [] if settings.get("verify", True) else ["--no-verify"]
    words += list(_repeated(settings))
    return [*words, "-o", pruned_name(source)]


def _typed(source: ReportFile) -> list[str] | None:
    words = source.data.get("command")  # null where the run was started from Python
    return None if not words else [str(word) for word in words]


def _repeated(settings: Mapping[str, Any]) -> Iterator[str]:
    for name in ("include", "exclude"):
        for glob in settings.get(name) or ():
            yield from (f"--{name}", str(glob))
    for glob, n in settings.get("layer") or ():
        yield from ("--layer", f"{glob}={n}")
    for name, shape in settings.get("input_shapes") or ():
        yield from ("--input-shape", f"{name}={','.join(map(str, shape))}")


def _evaluate(source: ReportFile) -> list[str] | None:
    data = source.data
    if not data.get("model") or not data.get("data"):
        return None
    words = ["reprune-onnx", "evaluate", str(data["model"]), "--data", str(data["data"])]
    for name in ("against", "preprocess"):
        words += [f"--{name}", str(data[name])] if data.get(name) else []
    return [*words, "--json", source.path.name]


def _bench(source: ReportFile) -> list[str] | None:
    data = source.data
    models = [entry.get("model") for entry in data.get("models") or ()]
    if not models or None in models:
        return None  # made on a device, by the script of a bundle
    sizes = dict.fromkeys(row["batch_size"] for row in data["rows"])
    words = ["reprune-onnx", "bench", *map(str, models), "--backend", data["backend"]]
    words += ["--batch-size", ",".join(map(str, sizes))] if sizes else []
    words += ["--threads", str(data["threads"])] if data.get("threads") else []
    words += ["--clock", "cpu"] if data.get("clock") == "cpu" else []
    words += ["--seconds", f"{data['seconds']:g}"] if data.get("seconds") else []
    return [*words, "--json", source.path.name]
