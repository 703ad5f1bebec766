"""The exponential moving average of a module's state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Follows a module's parameters and buffers with ``decay``; quicker in the first steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's values after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for key, value in module.state_dict().items():
            self.state[key].lerp_(value.detach(), 1 - decay)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a checkpoint."""
        self.steps = steps
        for key, value in state.items():
            self.state[key].copy_(value)
