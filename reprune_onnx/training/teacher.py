"""The unpruned network that teaches is not asked twice about one image."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from reprune_onnx.data.source import each_of
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.training.settings import TrainSettings

_MEMORY = 2**28
"""Bytes of answers that are remembered; images beyond are asked about again and again."""


def remembering(
    teacher: OnnxModule | None, settings: TrainSettings, fabric: Fabric
) -> nn.Module | None:
    """``teacher``, with a memory where it sees the same images again and again, on a CPU.

    On a GPU an answer costs less than to find it.
    """
    again = settings.augment == "none" and not settings.mixup
    if teacher is None or not again or fabric.device.type != "cpu":
        return teacher
    return RememberedAnswers(teacher)


class RememberedAnswers(nn.Module):
    """A teacher whose answers are remembered by image, as a hash of its values tells it.

    In epochs after the first, and in the trials of a learning rate, the teacher costs next to
    nothing then.
    """

    def __init__(self, teacher: OnnxModule) -> None:
        super().__init__()
        self.teacher = teacher
        self._answers: dict[bytes, tuple[Tensor, ...]] = {}
        self._bytes = 0

    @torch.no_grad()
    def forward(self, x: Inputs) -> Any:
        """The answers to the images ``x (n, …)``: a tensor ``(n, …)``, or a tuple of them."""
        keys = _keys(x)
        answers = [self._answers.get(key) for key in keys]
        if all(answer is not None for answer in answers):
            columns = zip(*(answer for answer in answers if answer is not None), strict=True)
            stacked = tuple(torch.stack(column) for column in columns)
            return stacked if len(stacked) > 1 else stacked[0]
        outputs = self.teacher(x)
        self._remember(keys, outputs if isinstance(outputs, tuple) else (outputs,))
        return outputs

    def _remember(self, keys: list[bytes], outputs: tuple[Tensor, ...]) -> None:
        if any(y.ndim == 0 or len(y) != len(keys) for y in outputs):
            return  # not one answer per image
        for key, answer in zip(keys, zip(*outputs, strict=True), strict=True):
            if key not in self._answers and self._bytes < _MEMORY:
                self._answers[key] = tuple(part.clone() for part in answer)
                self._bytes += sum(part.nbytes for part in answer)


def _keys(x: Inputs) -> list[bytes]:
    """The key of each sample: a hash of the values of all its inputs."""
    each = [tensor.contiguous().numpy() for tensor in each_of(x)]
    keys = []
    for sample in zip(*each, strict=True):
        key = hashlib.blake2b(digest_size=16)
        for values in sample:
            key.update(values)
        keys.append(key.digest())
    return keys
