"""BatchNormalization with which a deep network of random weights still gives something."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BATCH = 2


def draw(net: nn.Module, run: nn.Module, image: tuple[int, ...], seed: int) -> None:
    """Draw BatchNormalization in place; ``run`` (``net``, or a part of it) takes (N, *image).

    γ lies in [0.5, 1.5]. Mean and variance are those of random images, as after training,
    disturbed by up to a quarter.
    """
    rng = torch.Generator().manual_seed(seed)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=rng)
        nn.init.normal_(norm.bias, std=0.3, generator=rng)
        norm.momentum = 1.0
    images: Tensor = torch.randn(BATCH, *image, generator=rng)
    with torch.no_grad():
        net.train()
        run.train()(images)
        for norm in norms:
            spread = torch.empty(2, norm.num_features).uniform_(-0.25, 0.25, generator=rng)
            norm.running_mean += spread[0] * norm.running_var.sqrt()
            norm.running_var *= 1 + spread[1]
            norm.momentum = 0.1
    net.eval()
