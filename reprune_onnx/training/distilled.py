"""Distillation as the last step of a recovery: all values at once, on unlabelled images.

Least squares fits one layer after the other to what the original made there. Here all values of the
pruned network move together, by gradient, so that its outputs come near to the original's,

    loss = mean over ends of  ‖y - z‖² / ‖z - z̄‖²

with y the pruned network's and z the original's: the parts of the outputs (`analyzer.ends`), before
a last Softmax or Sigmoid. The images are varied, for the original answers to any: shifted, and with
a part of another image put in (CutMix; Yun et al. 2019, arXiv 1905.04899). BatchNormalizations keep
their statistics, without which a network that was just fitted gets worse before it gets better. A
tenth of the images is held back to tell which epoch is best, or that none is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer.ends import compared_ends
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.squash import before_squash
from reprune_onnx.data.source import each_of
from reprune_onnx.errors import TrainingError
from reprune_onnx.results import Distillation
from reprune_onnx.shapes import image_layout
from reprune_onnx.training.augment import Views
from reprune_onnx.training.blend import blend
from reprune_onnx.training.bridge import torch_module, write_back
from reprune_onnx.training.examples import HeldExamples, Subset
from reprune_onnx.training.feed import Feed, ImageFeed, seed_of
from reprune_onnx.training.finetune import usual_optimizer
from reprune_onnx.training.held_out import rest_of, spread
from reprune_onnx.training.inputs import Inputs, joined
from reprune_onnx.training.judge import Judge, batches_of
from reprune_onnx.training.log import RunLog
from reprune_onnx.training.loop import begin, run_epochs
from reprune_onnx.training.objective import Objective
from reprune_onnx.training.prepare import start_fabric
from reprune_onnx.training.run import Run
from reprune_onnx.training.sampler import Sampler
from reprune_onnx.training.scores import taught_tensors
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.trainer import Trainer, TrainWatch
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_SETTINGS = TrainSettings(lr="auto", weight_decay=1e-4, freeze_bn=True)
_WORSE = 0.01  # of the loss: trials of a rate that are worse by more show that it is too large
_TENTH, _ENOUGH = 10, 32  # images to judge by: a part, and how many are enough


def distilled(
    original: Model,
    pruned: Model,
    images: Images,
    epochs: int,
    progress: Progress | None = None,
) -> tuple[Model, Distillation]:
    """Return ``pruned``, the same graph, with values by which it is nearer to ``original``.

    Raises ModelError, naming the node, where the PyTorch bridge lacks an op, and DataError where
    no output can be taught.
    """

    def told(record: Mapping[str, Any]) -> None:
        if progress is not None:
            progress("distilling", record["epoch"], epochs)

    told({"epoch": 0})
    settings = replace(_SETTINGS, epochs=epochs)
    settings = settings.with_optimizer(usual_optimizer(pruned, settings))
    fabric = start_fabric(settings)
    examples = HeldExamples(images.name, joined([_tensors(b) for b in images.batches]), None)
    some = next(examples.batches([spread(2)], 0))[0]
    teacher, mine = (_taught(model, some) for model in (original, pruned))
    trained, judged = _split(examples)
    sampler = Sampler(len(trained), settings.batch_size, seed=settings.seed)
    feed: Feed = ImageFeed(trained, sampler, _views(some), fabric.device)
    feed = CutMix(feed, settings.seed) if _is_image(some) else feed
    taught = torch_module(original, teacher).requires_grad_(False).to(fabric.device)
    objective = Objective(settings, None, taught)
    batches = batches_of(judged, fabric, sampler.size, 0)
    judge = Judge(objective, fabric, batches, f"{len(judged)} images", by_loss=True)
    trainer = Trainer(fabric, settings, objective, feed, TrainWatch())
    student = torch_module(pruned, mine)
    student.mode.drops = False
    begin(trainer, student, judge, None, _WORSE)
    with suppress(TrainingError):  # it diverged: what was best before that is taken
        run_epochs(trainer, judge, Run(on_epoch=told), RunLog({}))
    blend(trainer, judge, torch_module(pruned, mine).state_dict())
    best, start = trainer.best, trainer.facts["start"]["val_loss"]
    assert best is not None  # the start was measured
    model = write_back(pruned, trainer.finish()) if best.epoch else pruned
    taken = best.epoch, best.share if best.epoch else 0.0
    losses = start, best.scores["val_loss"]
    return model, Distillation(trainer.epoch, *taken, *losses, len(judged))


def _split(examples: HeldExamples) -> tuple[Subset, Subset]:
    """The images to learn from, and a tenth to judge by; of few, up to a quarter.

    Images to fit to come in random order.
    """
    n = len(examples)
    judged = np.arange(max(1, n // _TENTH, min(n // 4, _ENOUGH)))
    return Subset(examples, rest_of(n, judged)), Subset(examples, judged)


@dataclass(frozen=True)
class CutMix:
    """The batches of ``feed``; a box of random size and place shows the batch's next image."""

    feed: Feed
    seed: int

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.feed.steps

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Inputs, Any]]:
        """Yield ``(x, target)`` of every step from ``start`` on."""
        for k, (x, target) in enumerate(self.feed.epoch(epoch, start), start):
            draw = torch.Generator().manual_seed(seed_of(self.seed, epoch, k, 1))
            yield _pasted(each_of(x)[0], draw), target


def _pasted(x: Tensor, draw: torch.Generator) -> Tensor:
    """Images (b, c, h, w) or (b, h, w, c), each with the same box of the next one."""
    area, top, left = torch.rand(3, generator=draw).tolist()
    rows_at = 1 if image_layout(tuple(x.shape)) == "nhwc" else 2
    h, w = x.shape[rows_at : rows_at + 2]
    high, wide = (math.floor(n * math.sqrt(area)) for n in (h, w))
    y0, x0 = math.floor(top * (h - high + 1)), math.floor(left * (w - wide + 1))
    at = (slice(None),) * rows_at + (slice(y0, y0 + high), slice(x0, x0 + wide))
    mixed = x.clone()
    mixed[at] = x.roll(1, 0)[at]
    return mixed


def _taught(model: Model, some: Inputs) -> list[str]:
    """The tensors that are compared: the ends of the outputs, of probabilities the logits."""
    graph = Graph(written_out(model))
    ends = compared_ends(graph, taught_tensors(model, some))
    names = [before_squash(graph, end) for parts in ends.values() for end in parts]
    return list(dict.fromkeys(names))


def _tensors(feeds: dict[str, Any]) -> Inputs:
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    return tensors if len(tensors) > 1 else next(iter(tensors.values()))


def _is_image(some: Inputs) -> bool:
    """Whether the only input is an image, of which a part can be another's."""
    return not isinstance(some, dict) and some.ndim == 4 and some.is_floating_point()


def _views(some: Inputs) -> Views:
    """Shifts of images; other inputs stay as they are."""
    if not _is_image(some):
        return Views("none", torch.zeros(1))
    layout = image_layout(tuple(each_of(some)[0].shape))
    return Views("crop", torch.zeros(1), layout == "nhwc")
