"""Classifiers in PyTorch: torchvision's, and its MobileNetV2 with the strides for 32x32 images."""

from __future__ import annotations

from torch import nn
from torchvision import models as torchvision_models

# Expansion, channels, blocks and stride of the stages (Sandler et al. 2018), for 32x32 images.
_CIFAR_STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 1],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def torchvision_classifier(name: str) -> nn.Module:
    """torchvision's network of that name, with 1,000 classes and its initial weights."""
    net: nn.Module = torchvision_models.get_model(name, weights=None)
    return net


def mobilenet_v2_cifar() -> nn.Module:
    """MobileNetV2 for 32x32 images and 10 classes: stem stride 1, stages 1, 1, 1, 2, 1, 2, 1."""
    net = torchvision_models.MobileNetV2(10, inverted_residual_setting=_CIFAR_STAGES)
    net.features[0][0].stride = (1, 1)
    return net
