"""Prune a little, fine-tune, and again: in rounds up to the whole of what is to go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.errors import UsageError
from reprune_onnx.pipeline import prune
from reprune_onnx.pruner.earlier import EarlierReport
from reprune_onnx.results import TensorCut
from reprune_onnx.settings import Settings
from reprune_onnx.training.around_tail import Finetuned, around_tail
from reprune_onnx.training.bridge import has_branches
from reprune_onnx.training.finetune import fit, usual_optimizer
from reprune_onnx.training.log import RunLog, log_path
from reprune_onnx.training.prepare import start_fabric
from reprune_onnx.training.proven_cut import Decided, cut_and_prove
from reprune_onnx.training.run import Run
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.types import Ints, Model
from reprune_onnx.verification.files import matched

_TARGETS = ("sparsity", "macs_reduction", "params_reduction")


@dataclass(frozen=True)
class PruneRounds:
    """Prune in ``count`` rounds; ``settings`` say what goes in all, and how it is chosen.

    >>> rounds = PruneRounds(Settings(sparsity=0.5), 2)
    >>> [round(rounds.settings_of(k).sparsity, 4) for k in (1, 2)]
    [0.25, 0.3333]
    """

    settings: Settings
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError("--rounds must be at least 1")
        if all(getattr(self.settings, name) is None for name in _TARGETS):
            raise UsageError("rounds prune to a --sparsity, --macs-reduction or --params-reduction")

    def settings_of(self, k: int) -> Settings:
        """Round ``k`` (from 1 on) takes an equal part of the whole from what is still there."""
        name = next(name for name in _TARGETS if getattr(self.settings, name) is not None)
        share = getattr(self.settings, name)
        before, after = (1 - share * j / self.count for j in (k - 1, k))
        changed: dict[str, Any] = {name: 1 - after / before, "basis": "file"}
        if self.settings.generates:  # what is trained next needs no images by formula
            changed["recover"] = "data-free"
        return replace(self.settings, **changed)


@dataclass
class Rows:
    """The rows left of the original's tensors, by axis, and the tensor that each copy is of.

    ``constants`` are no tensors of the original: they stand for branches that went as a whole.
    """

    rows: dict[str, dict[int, Ints]] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)

    def take_in(self, report: Mapping[str, Any]) -> None:
        """Cuts of a later round, whose rows are counted in what is there now."""
        self.constants |= {name for entry in report["removed"] for name in entry["constants"]}
        for cut in report["cuts"]:
            name, axis, origin = cut["initializer"], cut["axis"], cut.get("source")
            if origin is not None and name not in self.rows:
                self.rows[name] = dict(self.rows.get(origin, {}))
                self.source[name] = self.source.get(origin, origin)
            axes = self.rows.setdefault(name, {})
            keep = np.asarray(cut["keep"])
            axes[axis] = axes[axis][keep] if axis in axes else keep

    def cuts(self) -> tuple[TensorCut, ...]:
        """All of them as cuts of the original."""
        return tuple(
            TensorCut(name, axis, keep, self.source.get(name))
            for name, axes in self.rows.items()
            for axis, keep in axes.items()
            if name not in self.constants
        )


def finetune_in_rounds(
    model: Model, task: Task, settings: TrainSettings, rounds: PruneRounds, run: Run | None = None
) -> Finetuned:
    """Prune ``model`` in rounds with a fine-tuning after each; the report is about ``model``.

    Each round has a checkpoint of its own. Raises what `prune` and `finetune` raise.
    """
    settings, run = settings.with_optimizer(usual_optimizer(model, settings)), run or Run()
    fabric = start_fabric(settings, free=task.custom is not None or has_branches(model))

    def up_to_the_tail(head: Model, task: Task) -> Finetuned:
        return _in_rounds(head, task, settings, rounds, fabric, run)

    return around_tail(model, task, run, up_to_the_tail)


def _in_rounds(
    model: Model,
    task: Task,
    settings: TrainSettings,
    rounds: PruneRounds,
    fabric: Fabric,
    run: Run,
) -> Finetuned:
    original = written_out(model)
    current, rows = original, Rows()
    done: list[Finetuned] = []
    epochs: list[dict[str, Any]] = []
    for k in range(1, rounds.count + 1):
        small = prune(current, rounds.settings_of(k), run.progress)
        report: Any = small.report
        rows.take_in(report)
        done.append(fit(small.model, task, settings, fabric, run.part(k)))
        current = done[-1].model
        macs = report["after"]["macs"]
        epochs += [{**e, "round": k, "macs": macs} for e in done[-1].log["epochs"]]
    decided = Decided(rounds.settings, rows.cuts(), {}, {})
    _, report = cut_and_prove(model, original, decided, run.progress)
    matched(original, current, EarlierReport(rows.cuts(), settings=rounds.settings.as_report()))
    log = RunLog(_facts(model, done[0].log, rounds), _log_path(run, fabric.is_global_zero))
    log.epochs = epochs
    log.result = {**done[-1].log["result"], "achieved": report["achieved"]}
    log.write()
    report["training"] = {"settings": log.facts["settings"], "rounds": rounds.count}
    checkpoints = tuple(c for part in done for c in part.checkpoints)
    return Finetuned(current, log.as_json(), fabric.is_global_zero, checkpoints, report)


def _log_path(run: Run, main: bool) -> Any:
    return log_path(run.out) if run.out is not None and main else None


def _facts(model: Model, log: Mapping[str, Any], rounds: PruneRounds) -> dict[str, Any]:
    source = {"path": str(model.path or ""), "sha256": model.sha256}
    shared = {
        key: log[key] for key in ("command", "teacher", "settings", "data", "task", "machine")
    }
    return {"source": source, **shared, "rounds": rounds.count}
