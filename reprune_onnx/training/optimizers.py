"""The optimizers by name: how each is made, and what it remembers of every parameter.

What is remembered can be taken out by the parameters' names and put back: into a checkpoint, or
into the optimizer of a network that has lost or regained channels since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from reprune_onnx.training.settings import OptimizerName, TrainSettings

Memory = dict[str, dict[str, Tensor]]
"""The state of an optimizer: per kind (such as momentum), a tensor per name of a parameter."""

Parameters = Iterable[nn.Parameter]


@dataclass(frozen=True)
class Optimizer:
    """``make(parameters, settings)`` it; ``remembers`` are the keys of its state per parameter."""

    make: Callable[[Parameters, TrainSettings], torch.optim.Optimizer]
    remembers: tuple[str, ...]


def _sgd(parameters: Parameters, s: TrainSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0, momentum=s.momentum, weight_decay=s.weight_decay)


def _adamw(parameters: Parameters, s: TrainSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, lr=0.0, betas=(s.momentum, 0.999), weight_decay=s.weight_decay
    )


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(_sgd, ("momentum_buffer",)),
    "adamw": Optimizer(_adamw, ("exp_avg", "exp_avg_sq", "step")),
}
assert {"auto", *OPTIMIZERS} == set(get_args(OptimizerName))


def memory_of(
    kind: Optimizer, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> Memory:
    """The state of ``optimizer`` for ``parameters``, by name; only tensors that exist already."""
    memory: Memory = {}
    for key in kind.remembers:
        held = {name: optimizer.state[p].get(key) for name, p in parameters.items()}
        memory[key] = {name: value for name, value in held.items() if value is not None}
    return memory


def remember(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], memory: Memory
) -> None:
    """Give ``optimizer`` a copy of ``memory``; parameters that it does not name begin anew."""
    for key, values in memory.items():
        for name, value in values.items():
            if name in parameters:
                parameter = parameters[name]
                like = torch.empty_like(parameter) if value.ndim else torch.empty_like(value)
                optimizer.state[parameter][key] = like.copy_(value)
