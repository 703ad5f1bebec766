"""Run a sweep: ways in parallel, one preparation for each; cases that are done stay done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.atomic import Files, told, write_atomically
from reprune_onnx.data.class_names import class_names_for
from reprune_onnx.data.objects import open_objects, without_broken
from reprune_onnx.data.preprocess import parse_preprocess
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import DataError, ModelError, OutputError, RepruneError, UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.json_text import json_bytes, parse_json
from reprune_onnx.model import load, stage
from reprune_onnx.pipeline import prune
from reprune_onnx.pruner.knowledge import measure
from reprune_onnx.results import Measured, Pruned
from reprune_onnx.runtime.evaluate import evaluate
from reprune_onnx.runtime.evaluate_detection import DetectionTask, evaluate_detection
from reprune_onnx.runtime.evaluate_task import evaluate_task
from reprune_onnx.search.score import measured_on
from reprune_onnx.subject import subject_of
from reprune_onnx.sweeps.cases import Case, data_key
from reprune_onnx.tasks import KINDS, TASKS
from reprune_onnx.watch import Progress, Watch


@dataclass(frozen=True)
class Job:
    """Where a sweep reads and writes; ``data`` measures accuracy, else held-out images agreement.

    Paths are absolute: a worker on another machine needs to see the same files.
    """

    model: Path
    folder: Path
    data: str | InMemory | None
    reading: Reading

    def result(self, case: Case) -> Path:
        """The file with what came of a case."""
        return self.folder / "runs" / f"{case.name}.json"


def run(
    job: Job,
    ways: list[list[Case]],
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return one row per case, in order; a case that could not be done has an ``error``.

    Cases whose result lies in the folder already are not run again. ``jobs`` is the number of
    processes; ``scheduler`` the address of a Dask scheduler, whose workers are used instead.
    """
    model = load(job.model)
    sha = model.sha256
    own_folders = [(job.folder / name).resolve() for name in ("runs", "models")]
    if any(file.resolve().parent in own_folders for file in model.files):
        raise OutputError(
            f"'{job.model}' is read, and lies where a sweep to '{job.folder}' writes: give another"
            " folder"
        )
    if job.folder.is_file():
        raise OutputError(f"'{job.folder}' is a file; give the name of a folder")
    for folder in own_folders:
        with told(job.folder):
            folder.mkdir(parents=True, exist_ok=True)
    missing = [[c for c in way if _done(job, c, sha) is None] for way in ways]
    todo = [way for way in missing if way]
    total, done = sum(map(len, ways)), sum(map(len, ways)) - sum(map(len, todo))
    for finished in _parallel(job, todo, sha, jobs, scheduler):
        done += finished
        if progress is not None:
            progress("sweeping", done, total)
    rows = []
    for case in (c for way in ways for c in way):
        row = _done(job, case, sha, failures=True)
        assert row is not None
        rows.append(row)
    return rows


def _parallel(
    job: Job, todo: list[list[Case]], sha: str, jobs: int, scheduler: str | None
) -> Iterator[int]:
    if scheduler is None and (jobs == 1 or len(todo) < 2):
        for way in todo:
            yield run_way(job, way, sha)
        return
    from joblib import Parallel, delayed, parallel_config

    with ExitStack() as stack:
        if scheduler is not None:
            stack.enter_context(_client(scheduler))
            stack.enter_context(parallel_config(backend="dask"))
            jobs = -1
        work = Parallel(n_jobs=jobs, return_as="generator_unordered")
        yield from work(delayed(run_way)(job, way, sha) for way in todo)


def _client(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'reprune-onnx[cluster]'") from error
    connect: Any = Client
    try:
        return connect(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"--scheduler {address}: no Dask scheduler answers there ({error}); start one with"
            " `dask scheduler`"
        ) from error


def run_way(job: Job, way: list[Case], sha: str) -> int:
    """Run the cases of one way and write what came of each; return how many there were."""
    model = load(job.model)
    measured: Measured | RepruneError
    try:
        subject = subject_of(model, way[0].settings)
        measured = measure(subject, way[0].settings, Watch(), hold_out=job.data is None)
    except RepruneError as error:
        measured = error
    for case in way:
        start = time.perf_counter()
        try:
            if isinstance(measured, RepruneError):
                raise measured
            row = _row(job, case, measured)
        except OutputError:  # no fault of the case: a disk that is full, a folder that is gone
            raise
        except RepruneError as error:
            row = {"error": str(error)}
        row = case.row | row | {"seconds": round(time.perf_counter() - start, 2)}
        facts = {"key": case.key(sha, str(data_key(job.data))), "row": row}
        write_atomically(job.result(case), json.dumps(facts, indent=1).encode())
    return len(way)


def _row(job: Job, case: Case, measured: Measured) -> dict[str, Any]:
    result = prune(measured.subject.source, case.settings, measured=measured)
    path = job.folder / "models" / f"{case.name}.onnx"
    with Files() as files:
        stage(result.model, path, files)
        files.add(path.with_name(f"{case.name}.report.json"), json_bytes(result.report))
        files.commit()
    recovery = result.report["recovery"]
    images = measured.images
    row: dict[str, Any] = {
        "preprocess_note": None if images is None else images.better,
        "model": str(path.relative_to(job.folder)),
        "achieved": result.report["achieved"],
        "output_error": recovery["error_after"] if recovery else None,
    }
    return row | _quality(job, case, result, measured)


def _quality(job: Job, case: Case, result: Pruned, measured: Measured) -> dict[str, Any]:
    """Accuracy on the data, or agreement on held-out images, as the task has them.

    Nothing for what is no classifier, where no other task is given.
    """
    original, task = measured.subject.model, case.settings.task
    if job.data is not None and task == "detection":
        return _average_precision(job, case, result)
    try:
        if job.data is not None:
            shapes = dict(case.settings.input_shapes)
            labels = KINDS[task].labels.where_they_fit()
            data = open_for(original.proto, Wanted(job.data, job.reading, labels), shapes)
            note = {} if data.better is None else {"preprocess_note": data.better}
            if task in TASKS:
                return note | evaluate_task(result.model, data, task, original).scores
            return note | asdict(evaluate(result.model, data, against=original))
        if measured.held_out is not None:
            return measured_on(result.model, original, measured.held_out, case.settings)
    except ModelError:
        if task != "classification":
            raise
    return {}


def _average_precision(job: Job, case: Case, result: Pruned) -> dict[str, Any]:
    """AP of a detector on data with objects."""
    if isinstance(job.data, InMemory) or job.data is None:
        raise DataError("--task detection measures on objects in files; give their path as --data")
    names = class_names_for(job.reading.classes, result.model.proto)
    plan = DetectionTask(
        preprocess=parse_preprocess(job.reading.preprocess),
        decode=case.settings.decode,
        names=names,
    )
    data = open_objects(Path(job.data), names=names)
    if job.reading.skip_broken:
        data = without_broken(data)
    precision = evaluate_detection(result.model, data, plan)
    assert precision.box is not None
    return {"n": precision.n, **asdict(precision.box)}


def _done(job: Job, case: Case, sha: str, failures: bool = False) -> dict[str, Any] | None:
    """The row of a case that was run before; one that failed only where ``failures`` count."""
    try:
        earlier = parse_json(job.result(case).read_text(encoding="utf-8"))
        row: dict[str, Any] = earlier["row"]
        same = earlier["key"] == case.key(sha, str(data_key(job.data)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or ("error" in row and not failures):
        return None
    complete = "error" in row or (job.folder / row["model"]).is_file()
    return row if complete else None
