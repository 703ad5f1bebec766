"""`bench`: check the models, then measure them in turns, batch size by batch size."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from reprune_onnx.analyzer import Scope, channels_of, graph_of
from reprune_onnx.arguments import wrong_type
from reprune_onnx.benchmark.backends import Loader, Runner, loader
from reprune_onnx.benchmark.candidate import (
    Candidate,
    batch_sizes,
    check_overrides,
    read_engine,
    read_onnx,
)
from reprune_onnx.benchmark.check import check_pairs, check_results
from reprune_onnx.benchmark.machine import cpus, machine
from reprune_onnx.benchmark.row import row, warning
from reprune_onnx.benchmark.settings import ON_CPU, BenchSettings
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.latency.interleaved import Turns, in_turns
from reprune_onnx.latency.measure import measure_layers
from reprune_onnx.model import ModelLike, as_model, save
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.tool import this_tool
from reprune_onnx.types import Floats
from reprune_onnx.watch import Progress

SCHEMA = 1
_FEWEST, _MOST = 10, 500  # rounds
_WARM_UP = 0.5  # seconds, for each model at each batch size

Result = dict[str, Any]


@dataclass(frozen=True)
class Watching:
    """Who is told: of steps, and of the result so far after every batch size."""

    progress: Progress | None = None
    so_far: Callable[[Result], None] | None = None

    def step(self, stage: str, done: int, total: int) -> None:
        """So much of a stage is done."""
        if self.progress is not None:
            self.progress(stage, done, total)


def bench(
    models: Sequence[ModelLike],
    settings: BenchSettings | None = None,
    watching: Watching | None = None,
) -> Result:
    """Measure how fast ``models`` are; the first is what the others are compared with.

    Each is a path, an ``onnx.ModelProto`` or a `Model`; without a path the result calls it by its
    place, such as ``models[1]``.
    The result is what `bench --json` writes. Every model must compute what a plain run of it on the
    CPU computes, and what was pruned from another one of them must be a cut of that, or nothing is
    measured. What cannot be run at a larger batch size, as for want of memory, ends there: it
    stands among the result's ``failures``, and all that was measured is kept. Raises UsageError
    where the backend is not installed, and ModelError or VerificationError before anything is
    measured.
    """
    with tempfile.TemporaryDirectory(prefix="reprune-", ignore_cleanup_errors=True) as folder:
        return _bench(models, settings or BenchSettings(), watching or Watching(), Path(folder))


def _bench(
    models: Sequence[ModelLike], settings: BenchSettings, watching: Watching, folder: Path
) -> Result:
    if isinstance(models, (str, PathLike)) or not isinstance(models, Sequence):
        raise wrong_type("models", models, "a list of paths or models, the original first")
    files = dict(_file(model, f"models[{k}]", folder) for k, model in enumerate(models))
    if not files or len(files) < len(models):
        raise UsageError("give the models to measure, each once")
    backend = loader(settings.backend)
    field = _read(files, backend, settings, folder)
    sizes = batch_sizes([c for c, _ in field], settings.batch_sizes)
    result = _head(settings, backend, [c for c, _ in field])
    _check(field, backend, min(sizes), result, watching)
    for k, size in enumerate(sizes):
        watching.step("measuring", k, len(sizes))
        field = _measure(field, size, settings, result)
        if watching.so_far is not None:
            watching.so_far(result)
    if settings.layers and result["rows"]:
        result["latency"] = _layers(field[0][0], settings, result["rows"][0], watching)
    return result


def _layers(
    first: Candidate, settings: BenchSettings, model_row: Mapping[str, Any], watching: Watching
) -> dict[str, Any]:
    """A table of the first model's layers, as `prune --latency-table` takes it."""
    assert first.model is not None
    scope = Scope(input_shapes=first.at(model_row["batch_size"]))
    graph = graph_of(head_of(first.model))
    channels = channels_of(graph, scope)
    ms = model_row["latency_ms"]["median"]
    return measure_layers(graph, channels, ms, watching.progress, settings.threads).as_json()


Field = list[tuple[Candidate, Runner]]


def _file(model: ModelLike, place: str, folder: Path) -> tuple[str, Path]:
    """The name of a model and its file; a model without a path is saved to ``folder``."""
    if isinstance(model, (str, PathLike)):
        return str(model), Path(model)
    path = folder / f"{place}.onnx"
    save(as_model(model, place), path)
    return place, path


def _read(
    files: Mapping[str, Path], backend: Loader, settings: BenchSettings, folder: Path
) -> Field:
    overrides = dict(settings.input_shapes)
    field: Field = []
    for name, path in files.items():
        if settings.backend == "tensorrt":
            runner = backend.load(path, settings.threads)
            field.append((read_engine(path, runner, overrides), runner))
        else:
            candidate = replace(read_onnx(path, overrides, folder), name=name)
            field.append((candidate, backend.load(candidate.runs, settings.threads)))
    check_overrides([c for c, _ in field], overrides)
    return field


def _head(settings: BenchSettings, backend: Loader, candidates: Sequence[Candidate]) -> Result:
    on_cpu = settings.backend in ON_CPU
    return {
        "schema": SCHEMA,
        "tool": this_tool(),
        "machine": machine(backend.versions(), gpu=not on_cpu),
        "backend": settings.backend,
        "threads": (settings.threads or cpus()) if on_cpu else None,
        "seconds": settings.seconds,
        "clock": settings.clock,
        "models": [_described(c) for c in candidates],
        "rows": [],
        "latency": None,
        "failures": [],
        "notes": [c.note for c in candidates if c.note is not None],
    }


def _described(candidate: Candidate) -> dict[str, Any]:
    model = candidate.model
    return {
        "model": candidate.name,
        "sha256": model.sha256 if model else None,
        "bytes": model.bytes if model else candidate.path.stat().st_size,
        "inputs": {name: list(size) for name, size in candidate.sizes.items()},
        "pruned_from": None,
        "verified": None,
        "note": candidate.note,
    }


def _check(field: Field, backend: Loader, size: int, result: Result, watching: Watching) -> None:
    """Fill in what is known of each model; nothing is measured where one of them is wrong."""
    outputs = {}
    for k, (candidate, runner) in enumerate(field):
        watching.step("checking", k, len(field))
        difference, outputs[candidate.name] = check_results(
            candidate, runner, size, backend.TOLERANCE
        )
        result["models"][k] |= difference
    pairs = check_pairs([c for c, _ in field], outputs)
    for entry in result["models"]:
        entry.update(pairs.get(entry["model"], {}))


def _measure(field: Field, size: int, settings: BenchSettings, result: Result) -> Field:
    """Add the rows of one batch size; return the models that can still be run."""
    running: Field = []
    for candidate, runner in field:
        try:
            runner.prepare(candidate.feeds(runner, size))
            runner.run()
        except (ModelError, MemoryError) as error:
            reason = str(error) or f"out of memory: '{candidate.name}' at batch size {size}"
            failure = {"model": candidate.name, "batch_size": size, "error": reason}
            result["failures"].append(failure)
        else:
            running.append((candidate, runner))
    if running:
        share = len(running)
        clock = time.process_time if settings.clock == "cpu" else time.perf_counter
        turns = Turns(settings.seconds * share, _FEWEST, _MOST, _WARM_UP * share, clock)
        times = in_turns([runner.run for _, runner in running], turns)
        _add(result, [c.name for c, _ in running], size, times)
    return running


def _add(result: Result, names: Sequence[str], size: int, times: Floats) -> None:
    first = result["models"][0]["model"]
    first_times = times[:, names.index(first)] if first in names else None
    for k, name in enumerate(names):
        measured = row(name, size, times[:, k], None if name == first else first_times)
        result["rows"].append(measured)
    notes = [entry["note"] for entry in result["models"] if entry["note"] is not None]
    result["notes"] = [*notes, *warning(result["rows"])]
