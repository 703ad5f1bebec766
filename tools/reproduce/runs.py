"""One run of a table: train as it says, measure, and keep the result as a file."""

from __future__ import annotations

import json
import platform
import statistics
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from experiments import PAPER, Run
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.data.dataset import Dataset
from reprune_onnx.errors import OutputError
from reprune_onnx.training.finetune import Finetuned, finetune
from reprune_onnx.training.initial import random_weights
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.run import Run as Place
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.training.train import train
from reprune_onnx.types import Model

Result = dict[str, Any]
INTERVAL = 2  # ΔT
REGROW = 0.2  # δ_0


@dataclass(frozen=True)
class Setting:
    """The setting that all runs share; results are measured on ``test``, every epoch on ``val``."""

    model: Model
    train: Dataset
    test: Dataset
    val: Dataset | None
    settings: TrainSettings
    finetune_lr: float
    folder: Path


def measured(run: Run, seed: int, setting: Setting) -> Result:
    """The result of ``run``: from its file, or else by training, which goes on where it stopped."""
    file = setting.folder / f"{run.name}-seed{seed}.json"
    lr = setting.finetune_lr if run.kind == "finetuned" else setting.settings.lr
    settings = replace(setting.settings, seed=seed, lr=lr)
    if file.exists():
        return _earlier(file, settings, setting)
    out = file.with_suffix(".onnx")
    place = Place(
        out, on_epoch=lambda e: print(f"  {run.name} seed {seed}: {_line(e)}", flush=True)
    )
    if run.kind == "concurrent":
        trained = train(
            setting.model, _task(setting), settings, _plan(run, seed, settings), place, True
        )
        start = setting.model
    elif run.kind == "baseline":
        start = random_weights(setting.model, np.random.default_rng(seed))
        trained = finetune(start, _task(setting), settings, place)
    else:
        start, trained = _finetuned(run, settings, setting, place)
    result = _result(run, start, trained, setting)
    rp.save(trained.model, out)
    file.write_text(json.dumps(result, indent=1) + "\n")
    for checkpoint in trained.checkpoints:
        checkpoint.delete()
    return result


def _earlier(file: Path, settings: TrainSettings, setting: Setting) -> Result:
    """The result in ``file``; an error where it was trained otherwise."""
    stored: Result = json.loads(file.read_text())
    places = ("accelerator", "devices", "workers")
    asked = {**settings.as_report(), "images": len(setting.train), "source": setting.model.sha256}
    had = {**stored["settings"], "images": stored["data"]["images"], "source": stored["network"]}
    different = [k for k, v in asked.items() if k not in places and had.get(k) != v]
    if different:
        raise OutputError(
            f"'{file}' was trained with another {', '.join(different)}: give another folder -o"
        )
    return stored


def _finetuned(
    run: Run, settings: TrainSettings, setting: Setting, place: Place
) -> tuple[Model, Finetuned]:
    base = setting.folder / f"baseline-seed{settings.seed}.onnx"
    measured(Run("baseline", "baseline"), settings.seed, setting)
    pruned = rp.prune(rp.load(base), _pruning(run, settings.seed))
    trained = finetune(pruned.model, _task(setting), settings, place)
    return pruned.model, replace(trained, report=pruned.report)


def _task(setting: Setting) -> Task:
    return Task(setting.train, setting.val)


def _pruning(run: Run, seed: int) -> rp.Settings:
    options = {**PAPER, **run.pruning}
    return rp.Settings(
        sparsity=run.sparsity, seed=seed, allocation="bn-gamma", recover="none", **options
    )


def _plan(run: Run, seed: int, settings: TrainSettings) -> PrunePlan:
    share = min(round(run.prune_share * settings.epochs), settings.epochs - 1)  # then train on
    last = max(INTERVAL, share // INTERVAL * INTERVAL)
    return PrunePlan(_pruning(run, seed), last, INTERVAL, REGROW)


def _line(epoch: Result) -> str:
    val = f", val {epoch['val_top1']:.2f} %" if "val_top1" in epoch else ""
    return f"epoch {epoch['epoch']}, loss {epoch['loss']:.4f}{val}, {epoch['seconds']:.1f} s"


def _result(run: Run, start: Model, trained: Finetuned, setting: Setting) -> Result:
    epochs = trained.log["epochs"]
    report = trained.report
    achieved = {"macs_reduction": 0.0, "sparsity": 0.0} if report is None else report["achieved"]
    result: Result = {
        "run": run.name,
        "kind": run.kind,
        "top1": rp.evaluate(trained.model, setting.test).top1,
        "test_images": len(setting.test),
        "flops_cut": round(100 * achieved["macs_reduction"], 2),
        "sparsity": achieved["sparsity"],
        "network": setting.model.sha256,
        "settings": trained.log["settings"],
        "data": trained.log["data"],
        "machine": _machine(trained.log["machine"]),
        "seconds_per_epoch": _times(epochs),
        "epochs": epochs,
    }
    if run.kind == "finetuned":
        result["start_top1"] = rp.evaluate(start, setting.test).top1
        result["shift"] = _shift(start, trained.model)
    return result


def _times(epochs: list[Result]) -> Result:
    """Of the first epoch, when nothing is pruned, and the median of the last third; also of CPU."""
    last = epochs[-max(1, len(epochs) // 3) :]
    times = {}
    for key in ("seconds", "cpu_seconds"):
        times[f"{key}_first"] = epochs[0][key]
        times[f"{key}_last"] = statistics.median(e[key] for e in last)
    return times


def _shift(before: Model, after: Model) -> float:
    """The movement of filters: the mean over convolutions of ‖W' - W‖ / ‖W‖."""
    old, new = (
        {t.name: numpy_helper.to_array(t) for t in m.proto.graph.initializer}
        for m in (before, after)
    )
    moved = [
        float(np.linalg.norm(new[name] - w) / np.linalg.norm(w))
        for name, w in old.items()
        if w.ndim == 4
    ]
    return round(statistics.mean(moved), 4)


def _machine(logged: Result) -> Result:
    names = ("onnx", "onnxruntime", "numpy")
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {**logged, "cpu": cpu} | {name: version(name) for name in names}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
