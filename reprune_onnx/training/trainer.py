"""The training loop: steps, epochs, the state that a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprune_onnx.errors import TrainingError
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.ema import MovingAverage
from reprune_onnx.training.examples import Examples
from reprune_onnx.training.feed import Feed, seed_of
from reprune_onnx.training.objective import Objective
from reprune_onnx.training.schedule import learning_rate
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.watch import Progress

Epoch = dict[str, Any]
_EVAL_BATCH = 256
_SAVE_SECONDS = 60.0  # between checkpoints within an epoch; one is written after every epoch


@dataclass
class Watch:
    """What looks on: a progress bar, and the checkpoint (None: nothing is kept)."""

    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    save_seconds: float = _SAVE_SECONDS
    saved: float = field(default_factory=time.monotonic)


class Trainer:
    """Trains one module after the other; `adopt` gives it the next, as when channels are cut."""

    module: OnnxModule
    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        fabric: Fabric,
        settings: TrainSettings,
        objective: Objective,
        feed: Feed,
        watch: Watch,
    ) -> None:
        self.fabric, self.settings, self.objective = fabric, settings, objective
        self.feed, self.watch = feed, watch
        self.epoch = self.step = 0
        self.loss_sum = self.correct = 0.0
        self.history: list[Epoch] = []
        self.extra: dict[str, Any] = {}
        self.ema: MovingAverage | None = None

    def adopt(self, module: OnnxModule, momentum: Mapping[str, Tensor] | None = None) -> None:
        """Train ``module`` from now on, with the optimizer's ``momentum`` by name."""
        s = self.settings
        module.mode.synchronize = s.sync_batch_norm and self.fabric.world_size > 1
        self.module = module
        for weight in module.parameters():
            if weight.ndim == 4:  # convolutions are quicker with channels last
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            module.parameters(), lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay
        )
        self._wrapped, self._stepper = self.fabric.setup(module, self.optimizer)
        for key, parameter in module.named_parameters():
            if momentum and key in momentum:
                buffer = torch.empty_like(parameter).copy_(momentum[key])
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.ema = MovingAverage(module, s.ema) if s.ema else None

    def momentum(self) -> dict[str, Tensor]:
        """The optimizer's momentum by name, where there is some."""
        found = {
            key: self.optimizer.state[p].get("momentum_buffer")
            for key, p in self.module.named_parameters()
        }
        return {key: buffer for key, buffer in found.items() if buffer is not None}

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
            counted = self.objective.classes is not None and target is not None
            self._one_step(x, target)
            seen = len(x) * self.feed.steps
        record: Epoch = {
            "epoch": self.epoch + 1,
            "lr": learning_rate(self.settings, self.epoch + 0.5),
            "loss": self.loss_sum / self.feed.steps,
            "train_top1": 100 * self.correct / seen if counted else None,
            "seconds": round(time.perf_counter() - start, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
        }
        self.epoch, self.step, self.loss_sum, self.correct = self.epoch + 1, 0, 0.0, 0.0
        return record

    def _one_step(self, x: Tensor, target: Any) -> None:
        s, steps = self.settings, self.feed.steps
        lr = learning_rate(s, self.epoch + (self.step + 0.5) / steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(seed_of(s.seed, self.epoch, self.step, self.fabric.global_rank, 2))
        loss, correct = self.objective(self._wrapped, x, target)
        both = torch.stack([loss.detach().float(), correct.float()])
        mean_loss, mean_correct = self._reduced(both, "mean").tolist()
        if not torch.isfinite(torch.tensor(mean_loss)):
            raise self._diverged(f"the loss is {mean_loss}")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self._stepper.step()
        if self.ema is not None:
            self.ema.update(self.module)
        self.step += 1
        self.loss_sum += mean_loss
        self.correct += mean_correct
        if self.watch.progress is not None:
            self.watch.progress(f"epoch {self.epoch + 1}/{s.epochs}", self.step, steps)
        if time.monotonic() - self.watch.saved > self.watch.save_seconds and self.step < steps:
            self.save()

    def _reduced(self, x: Tensor, how: str) -> Tensor:
        return torch.as_tensor(self.fabric.all_reduce(x, reduce_op=how))

    def _diverged(self, what: str) -> TrainingError:
        kept = self.watch.checkpoint
        last = f"; the last good state is in '{kept.path}'" if kept and kept.path.exists() else ""
        return TrainingError(
            f"{what} at step {self.step + 1} of epoch {self.epoch + 1}: try a smaller --lr, or"
            f" --warmup 1{last}"
        )

    # ── measuring ───────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def top1(self, examples: Examples) -> float:
        """The percentage of ``examples`` that the (averaged) module classifies rightly."""
        own = None if self.ema is None else _copied(self.module)
        if self.ema is not None:
            self.module.load_state_dict(self.ema.state)
        self.module.eval()
        numbers = np.arange(self.fabric.global_rank, len(examples), self.fabric.world_size)
        order = [numbers[i : i + _EVAL_BATCH] for i in range(0, len(numbers), _EVAL_BATCH)]
        right = torch.zeros((), device=self.fabric.device)
        for x, y in examples.batches(order, self.settings.workers):
            assert y is not None
            logits = self.module(x.to(self.fabric.device)).flatten(1)
            right += (logits.argmax(1) == y.to(self.fabric.device)).sum()
        total = self._reduced(right, "sum").item()
        if own is not None:
            self.module.load_state_dict(own)
        return round(100 * total / len(examples), 4)

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
                "momentum": {k: v.cpu() for k, v in self.momentum().items()},
                "ema": ema,
                "extra": self.extra,
            }
        )

    def resume(self, state: Mapping[str, Any], module: OnnxModule) -> None:
        """Go on from a checkpoint's ``state``; ``module`` has the structure it was written with."""
        module.load_state_dict(state["module"])
        self.adopt(module, state["momentum"])
        if self.ema is not None:
            self.ema.load(state["ema"]["state"], state["ema"]["steps"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum, self.correct = state["sums"]
        self.history, self.extra = state["history"], state["extra"]

    def finish(self) -> OnnxModule:
        """The trained module in eval mode, on the CPU; with EMA, its averaged values."""
        if self.ema is not None:
            self.module.load_state_dict(self.ema.state)
        return self.module.to("cpu").eval()


def _copied(module: OnnxModule) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}
