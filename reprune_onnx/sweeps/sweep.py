"""`sweep`: many prunings side by side, from plan to table and plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprune_onnx.arguments import wrong_type
from reprune_onnx.atomic import told
from reprune_onnx.errors import UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.model import ModelLike, as_model, save
from reprune_onnx.ranges import check_jobs
from reprune_onnx.settings import Settings, check_settings
from reprune_onnx.sweeps.cases import VARIED, cases
from reprune_onnx.sweeps.run import Job, run
from reprune_onnx.sweeps.write import write
from reprune_onnx.taken import DataLike, PathLike, as_data, as_path
from reprune_onnx.watch import Progress


@dataclass(frozen=True)
class SweepOptions:
    """The options of a sweep beside `Settings`.

    ``data`` are labelled images to measure accuracy on, as ``settings.task`` has it; without, a
    third of the calibration images is held out to measure agreement with the model. ``jobs`` is the
    number of processes, -1 for all cores; ``scheduler`` the address of a Dask scheduler.
    ``command`` is noted in the result. Raises UsageError for a number of processes that cannot be.
    """

    data: DataLike | None = None
    jobs: int = 1
    scheduler: str | None = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_jobs(self.jobs)


def sweep(
    model: ModelLike,
    folder: PathLike,
    settings: Settings,
    varied: Mapping[str, Iterable[Any]],
    options: SweepOptions | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Prune ``model`` in every way that ``varied`` names; one row per case, in order.

    ``varied`` are the values of some fields of ``settings``: ``macs_reduction``, ``method``,
    ``coverage``, ``allocation``, ``recover``. The ``folder`` gets the models, ``sweep.json``,
    ``sweep.md`` and a plot; what lies there already is not run again. A case that could not be done
    has an ``error``. Raises UsageError for a value out of range, before anything is run.
    """
    check_settings(settings)
    options = options or SweepOptions()
    if settings.then is not None:
        raise UsageError("a sweep does not quantize: leave then out, and prune the best by itself")
    out = as_path("folder", folder)
    if out is None:
        raise wrong_type("folder", folder, "a path")
    planned = cases(_held(settings), *_ways(settings, varied))
    data = as_data("data", options.data)
    data = data.held(settings.calibration_size) if isinstance(data, InMemory) else data
    job = Job(_file(model, out), out.absolute(), data, settings.reading)
    rows = run(job, planned, options.jobs, options.scheduler, progress)
    write(job, rows, options.command)
    return rows


def _ways(
    settings: Settings, varied: Mapping[str, Iterable[Any]]
) -> tuple[Sequence[float], dict[str, list[Any]]]:
    """The reductions, and the values of the other fields that are varied; one each by default."""
    if not isinstance(varied, Mapping):
        raise wrong_type("varied", varied, "a dict such as {'macs_reduction': [0.3, 0.5]}")
    names = ("macs_reduction", *VARIED)
    for name in varied:
        if name not in names:
            raise UsageError(f"a sweep cannot vary '{name}': vary {', '.join(names)}")
    ways: dict[str, list[Any]] = {}
    for name in names:
        values = varied.get(name, [getattr(settings, name)])
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise wrong_type(f"varied['{name}']", values, "a list of values")
        ways[name] = list(dict.fromkeys(values))
    reductions = ways.pop("macs_reduction")
    if None in reductions:
        raise UsageError("a sweep needs targets: give macs_reduction, as in [0.3, 0.5]")
    return reductions, ways


def _held(settings: Settings) -> Settings:
    """The settings with calibration images that other processes can have."""
    images = settings.calibration
    if not isinstance(images, InMemory):
        return settings
    return replace(settings, calibration=images.held(settings.calibration_size))


def _file(model: ModelLike, folder: Path) -> Path:
    """The file of a model; one that is in memory alone is written to the folder."""
    if isinstance(model, str) or hasattr(model, "__fspath__"):
        return Path(model).absolute()
    path = folder.absolute() / "original.onnx"
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save(as_model(model), path)
    return path
