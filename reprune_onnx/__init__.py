"""reprune-onnx: channel pruning of convolutional networks, straight from the ONNX file.

>>> import reprune_onnx as rp
>>> model = rp.load("models/digits_resnet.onnx")
>>> pruned = rp.prune(model, rp.Settings(sparsity=0.55))
>>> rp.save(pruned.model, "small.onnx")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from reprune_onnx.analyzer import Scope, analyze
    from reprune_onnx.benchmark.run import bench
    from reprune_onnx.benchmark.settings import BenchSettings
    from reprune_onnx.choices import Criterion, RecoveryMethod, SelectOptions
    from reprune_onnx.data.dataset import Dataset
    from reprune_onnx.data.open import open_data
    from reprune_onnx.errors import (
        ArgumentError,
        DataError,
        EngineError,
        KernelError,
        ModelError,
        OutOfReachError,
        OutputError,
        RepruneError,
        SelectionError,
        TrainingError,
        UsageError,
        VerificationError,
    )
    from reprune_onnx.model import as_model, load, save
    from reprune_onnx.pipeline import prune, recover
    from reprune_onnx.pruner.earlier import read_report
    from reprune_onnx.report.fields import Report
    from reprune_onnx.report.page.build import html_report
    from reprune_onnx.results import Pruned
    from reprune_onnx.runtime.evaluate import Evaluation, evaluate
    from reprune_onnx.runtime.evaluate_task import TaskEvaluation, evaluate_task
    from reprune_onnx.settings import Settings
    from reprune_onnx.sweeps.sweep import SweepOptions, sweep
    from reprune_onnx.training.bridge import torch_module as torch_module
    from reprune_onnx.training.bridge import write_back as write_back
    from reprune_onnx.training.cuts import apply_cuts as apply_cuts
    from reprune_onnx.training.finetune import finetune as finetune
    from reprune_onnx.training.plan import PrunePlan as PrunePlan
    from reprune_onnx.training.run import Run as Run
    from reprune_onnx.training.settings import TrainSettings as TrainSettings
    from reprune_onnx.training.task import Task as Task
    from reprune_onnx.training.train import train as train
    from reprune_onnx.types import ChannelMap, Choice, Model, Problem
    from reprune_onnx.verification.files import FileVerification, verify

_HOME = {
    "ArgumentError": "errors",
    "BenchSettings": "benchmark.settings",
    "ChannelMap": "types",
    "Choice": "types",
    "Criterion": "choices",
    "DataError": "errors",
    "Dataset": "data.dataset",
    "EngineError": "errors",
    "Evaluation": "runtime.evaluate",
    "FileVerification": "verification.files",
    "KernelError": "errors",
    "Model": "types",
    "ModelError": "errors",
    "OutOfReachError": "errors",
    "OutputError": "errors",
    "Problem": "types",
    "Pruned": "results",
    "RecoveryMethod": "choices",
    "Report": "report.fields",
    "RepruneError": "errors",
    "Scope": "analyzer",
    "SelectOptions": "choices",
    "SelectionError": "errors",
    "Settings": "settings",
    "SweepOptions": "sweeps.sweep",
    "TaskEvaluation": "runtime.evaluate_task",
    "TrainingError": "errors",
    "UsageError": "errors",
    "VerificationError": "errors",
    "analyze": "analyzer",
    "as_model": "model",
    "bench": "benchmark.run",
    "evaluate": "runtime.evaluate",
    "evaluate_task": "runtime.evaluate_task",
    "html_report": "report.page.build",
    "load": "model",
    "open_data": "data.open",
    "prune": "pipeline",
    "read_report": "pruner.earlier",
    "recover": "pipeline",
    "save": "model",
    "sweep": "sweeps.sweep",
    "verify": "verification.files",
}

_TRAINING = {  # these need the extra [torch], so a star import leaves them out
    "PrunePlan": "plan",
    "Run": "run",
    "Task": "task",
    "TrainSettings": "settings",
    "apply_cuts": "cuts",
    "finetune": "finetune",
    "torch_module": "bridge",
    "train": "train",
    "write_back": "bridge",
}

__all__ = [
    "ArgumentError",
    "BenchSettings",
    "ChannelMap",
    "Choice",
    "Criterion",
    "DataError",
    "Dataset",
    "EngineError",
    "Evaluation",
    "FileVerification",
    "KernelError",
    "Model",
    "ModelError",
    "OutOfReachError",
    "OutputError",
    "Problem",
    "Pruned",
    "RecoveryMethod",
    "Report",
    "RepruneError",
    "Scope",
    "SelectOptions",
    "SelectionError",
    "Settings",
    "SweepOptions",
    "TaskEvaluation",
    "TrainingError",
    "UsageError",
    "VerificationError",
    "analyze",
    "as_model",
    "bench",
    "evaluate",
    "evaluate_task",
    "html_report",
    "load",
    "open_data",
    "prune",
    "read_report",
    "recover",
    "save",
    "sweep",
    "verify",
]


def __dir__() -> list[str]:
    """The public names, those that need PyTorch too, before any of them is imported."""
    return sorted([*__all__, *_TRAINING, "__version__"])


if not TYPE_CHECKING:  # else every name would be one for type checkers

    def __getattr__(name: str) -> object:
        """Import the public names on first use, so that starting up stays quick."""
        if name in _TRAINING:
            from reprune_onnx.training.needs_torch import require

            require(name)
            return getattr(import_module(f"reprune_onnx.training.{_TRAINING[name]}"), name)
        if name not in _HOME:
            raise AttributeError(f"module 'reprune_onnx' has no attribute '{name}'")
        return getattr(import_module(f"reprune_onnx.{_HOME[name]}"), name)
