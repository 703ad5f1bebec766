"""The training of both networks of the scenes: one-cycle Adam on one CPU thread, fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

BATCH_SIZE = 50
LEARNING_RATE = 5e-3


def fitted(
    net: nn.Module, images: Tensor, loss: Callable[[Any, Tensor], Tensor], epochs: int
) -> nn.Module:
    """Train ``net`` and return it for inference.

    ``images`` (N, 1, h, w) are in [0, 1]; ``loss`` takes what the network makes of a batch, and the
    numbers (b,) of its images.
    """
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    steps = epochs * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    net.train()
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images), generator=rng), BATCH_SIZE):
            value = loss(net(images[batch]), batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    return net.eval()
