"""The training loop: steps, epochs, the state that a checkpoint holds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from reprune_onnx.data.source import rows
from reprune_onnx.errors import TrainingError
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.ema import MovingAverage
from reprune_onnx.training.feed import Feed, seed_of
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.training.judge import Judge, Scores
from reprune_onnx.training.objective import Objective
from reprune_onnx.training.optimizers import OPTIMIZERS, Memory, memory_of, remember
from reprune_onnx.training.schedule import learning_rate
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.watch import Progress

Epoch = dict[str, Any]
_SAVE_SECONDS = 60.0  # between checkpoints within an epoch; one is written after every epoch


@dataclass
class TrainWatch:
    """The observers of a training: a progress bar, and the checkpoint (None: nothing is kept)."""

    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    save_seconds: float = _SAVE_SECONDS
    saved: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Best:
    """The best that was measured so far: after which epoch (0: none), its scores and values.

    The values are the epoch's by ``share``, and for the rest those that training began with.
    """

    epoch: int
    scores: Scores
    state: dict[str, Tensor]
    share: float = 1.0


class Trainer:
    """Trains one module after the other; `adopt` gives it the next, as when channels are cut.

    ``lr`` is the highest learning rate; ``frozen`` are the parameters that stay as they are.
    """

    module: OnnxModule
    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        fabric: Fabric,
        settings: TrainSettings,
        objective: Objective,
        feed: Feed,
        watch: TrainWatch,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        self.fabric, self.settings, self.objective = fabric, settings, objective
        self.feed, self.watch, self.frozen = feed, watch, frozen
        self.lr = 0.0
        self.epoch = self.step = 0
        self.loss_sum = self.correct = 0.0
        self.history: list[Epoch] = []
        self.facts: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.best: Best | None = None
        self.ema: MovingAverage | None = None

    def adopt(self, module: OnnxModule, memory: Memory | None = None) -> None:
        """Train ``module`` from now on, with what an optimizer remembers of its parameters."""
        s = self.settings
        module.mode.synchronize = s.sync_batch_norm and self.fabric.world_size > 1
        module.mode.keep_statistics = s.freeze_bn
        self.module = module
        for name, weight in module.named_parameters():
            weight.requires_grad_(name not in self.frozen)
            if weight.ndim == 4:  # convolutions are quicker with channels last
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        trained = self._trained()
        self.optimizer = OPTIMIZERS[s.optimizer].make(trained.values(), s)
        self._wrapped, self._stepper = self.fabric.setup(module, self.optimizer)
        remember(self.optimizer, trained, memory or {})
        self.ema = MovingAverage(module, s.ema) if s.ema else None

    def _trained(self) -> dict[str, nn.Parameter]:
        return {k: p for k, p in self.module.named_parameters() if k not in self.frozen}

    def memory(self) -> Memory:
        """The state of the optimizer, by the parameters' names."""
        return memory_of(OPTIMIZERS[self.settings.optimizer], self.optimizer, self._trained())

    # ── training ────────────────────────────────────────────────────────────────────────────

    def train_epoch(self) -> Epoch:
        """Train to the end of the epoch; its mean loss, accuracy (None where unknown), seconds.

        ``cpu_seconds`` are those of this process: what a busy machine does not add to.

        Raises TrainingError where the loss is not finite: the checkpoint keeps the last good state.
        """
        start, cpu = time.perf_counter(), time.process_time()
        self._wrapped.train()
        counted = False
        seen = 0
        for x, target in self.feed.epoch(self.epoch, self.step):
            counted = self._one_step(x, target)
            seen = rows(x) * self.feed.steps
        record: Epoch = {
            "epoch": self.epoch + 1,
            "lr": learning_rate(self.settings, self.lr, self.epoch + 0.5),
            "loss": self.loss_sum / self.feed.steps,
            "train_top1": 100 * self.correct / seen if counted else None,
            "seconds": round(time.perf_counter() - start, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
        }
        self.epoch, self.step, self.loss_sum, self.correct = self.epoch + 1, 0, 0.0, 0.0
        return record

    def _one_step(self, x: Inputs, target: Any) -> bool:
        """Take the next step of the epoch; whether it could count images."""
        s, steps = self.settings, self.feed.steps
        lr = learning_rate(s, self.lr, self.epoch + (self.step + 0.5) / steps)
        mean_loss, mean_correct = self.take_step(x, target, lr)
        if self.ema is not None:
            self.ema.update(self.module)
        self.step += 1
        self.loss_sum += mean_loss
        self.correct += mean_correct or 0.0
        if self.watch.progress is not None:
            self.watch.progress(f"epoch {self.epoch + 1}/{s.epochs}", self.step, steps)
        if time.monotonic() - self.watch.saved > self.watch.save_seconds and self.step < steps:
            self.save()
        return mean_correct is not None

    def take_step(self, x: Inputs, target: Any, lr: float) -> tuple[float, float | None]:
        """One step at the rate ``lr``: the mean loss before it, and how many were right.

        The latter is None where that cannot be said of single images. Raises TrainingError where
        loss or gradient is not finite; no value has changed then.
        """
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(seed_of(s.seed, self.epoch, self.step, self.fabric.global_rank, 2))
        given = self.objective(self._wrapped, x, target)
        loss = given.loss
        with torch.no_grad():
            right = self.objective.right(given, target)
        correct = torch.zeros_like(loss) if right is None else right
        both = torch.stack([loss.detach().float(), correct.float()])
        mean_loss, mean_correct = self._reduced(both, "mean").tolist()
        if not math.isfinite(mean_loss):
            raise self._diverged(f"the loss is {mean_loss}")
        self.optimizer.zero_grad()
        if not loss.requires_grad:  # an If took a branch in which nothing is trained
            return mean_loss, None if right is None else mean_correct
        self.fabric.backward(loss)
        if s.clip_norm:
            norm = self.fabric.clip_gradients(
                self._wrapped, self._stepper, max_norm=s.clip_norm, error_if_nonfinite=False
            )
            # in fp16 the scaler leaves such a step out, and makes its scale smaller
            if s.precision != "fp16" and norm is not None and not torch.isfinite(norm):
                raise self._diverged(f"the gradient's norm is {norm.item()}")
        self._stepper.step()
        return mean_loss, None if right is None else mean_correct

    def _reduced(self, x: Tensor, how: str) -> Tensor:
        return torch.as_tensor(self.fabric.all_reduce(x, reduce_op=how))

    def _diverged(self, what: str) -> TrainingError:
        kept = self.watch.checkpoint
        last = f"; the last good state is in '{kept.path}'" if kept and kept.path.exists() else ""
        return TrainingError(
            f"{what} at step {self.step + 1} of epoch {self.epoch + 1}, at a learning rate of up to"
            f" {self.lr:g}: try a smaller --lr{last}"
        )

    # ── measuring ───────────────────────────────────────────────────────────────────────────

    def measured(self, judge: Judge) -> Scores:
        """The scores of the (averaged) module."""
        values = None if self.ema is None else _copied(self.module)
        if self.ema is not None:
            self.module.load_state_dict(self.ema.state)
        scores = judge(self.module)
        if values is not None:
            self.module.load_state_dict(values)
        return scores

    def averaged(self) -> Mapping[str, Tensor]:
        """The values that count: the averaged ones where they are averaged over the steps."""
        return self.module.state_dict() if self.ema is None else self.ema.state

    def keep_as_best(
        self, scores: Scores, state: Mapping[str, Tensor] | None = None, share: float = 1.0
    ) -> None:
        """Remember ``state``, else the (averaged) module as it is now, as the best."""
        values = self.averaged() if state is None else state
        copies = {k: v.detach().cpu().clone() for k, v in values.items()}
        self.best = Best(self.epoch, scores, copies, share)

    def snapshot(self) -> dict[str, Tensor]:
        """The module's values as they are, to be put back after a trial."""
        return _copied(self.module)

    def put_back(self, snapshot: Mapping[str, Tensor]) -> None:
        """The module as it was, and an optimizer that remembers nothing."""
        self.module.load_state_dict(snapshot)
        self.optimizer.state.clear()
        self.optimizer.zero_grad()

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────

    def save(self) -> None:
        """Write the checkpoint; a TrainingError, and no file, where a weight is not finite."""
        state = self.module.state_dict()
        if not all(torch.isfinite(v).all() for v in state.values()):
            raise self._diverged("a weight is not finite")
        self.watch.saved = time.monotonic()
        if self.watch.checkpoint is None or not self.fabric.is_global_zero:
            return
        ema = None if self.ema is None else {"state": self.ema.state, "steps": self.ema.steps}
        self.watch.checkpoint.save(
            {
                "epoch": self.epoch,
                "step": self.step,
                "sums": [self.loss_sum, self.correct],
                "history": self.history,
                "module": {k: v.cpu() for k, v in state.items()},
                "memory": {
                    kind: {k: v.cpu() for k, v in held.items()}
                    for kind, held in self.memory().items()
                },
                "ema": ema,
                "lr": self.lr,
                "facts": self.facts,
                "best": None if self.best is None else vars(self.best),
                "extra": self.extra,
            }
        )

    def resume(self, state: Mapping[str, Any], module: OnnxModule) -> None:
        """Go on from a checkpoint's ``state``; ``module`` has the structure it was written with."""
        module.load_state_dict(state["module"])
        self.adopt(module, state["memory"])
        if self.ema is not None:
            self.ema.load(state["ema"]["state"], state["ema"]["steps"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum, self.correct = state["sums"]
        self.history, self.extra = state["history"], state["extra"]
        self.lr, self.facts = state["lr"], state["facts"]
        self.best = None if state["best"] is None else Best(**state["best"])

    def finish(self) -> OnnxModule:
        """The best module that was measured, in eval mode, on the CPU."""
        if self.best is not None:
            self.module.load_state_dict(self.best.state)
        return self.module.to("cpu").eval()


def between(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """The state at ``share`` of the way from ``start`` to ``end``; its integers are the end's."""
    return {
        key: torch.lerp(start[key].to(value.device), value, share)
        if value.is_floating_point()
        else value
        for key, value in end.items()
    }


def _copied(module: OnnxModule) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}
