"""The paper's networks, and VGG-16: by name, with where their definition comes from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import onnx
from torch import nn

from models import classifiers, hybrid, maskrcnn, resnet_cifar, ssd
from reprune_onnx.errors import UsageError

HERE = "this repository: models/{}.py, after {}"
TORCHVISION = "torchvision.models.{}"


@dataclass(frozen=True)
class Network:
    """A network. ``input_shape`` is that of one batch; sides of 0 are free.

    Exactly one of ``build`` (PyTorch) and ``graph`` (ONNX, from a seed) makes it. ``published`` are
    the FLOPs that the paper states, in multiply-adds, 0 where it states none; ``pretrained`` names
    torchvision's trained weights.
    """

    name: str
    input_shape: tuple[int, ...]
    source: str
    build: Callable[[], nn.Module] | None = None
    graph: Callable[[int], onnx.ModelProto] | None = None
    published: float = 0.0
    pretrained: str = ""
    detector: bool = False


_IMAGENET = (1, 3, 224, 224)
_CIFAR = (1, 3, 32, 32)
_HE = "He et al. 2016"


def _imagenet(name: str, weights: str, published: float = 0.0) -> Network:
    return Network(
        name,
        _IMAGENET,
        TORCHVISION.format(name),
        build=lambda: classifiers.torchvision_classifier(name),
        published=published,
        pretrained=weights,
    )


def _cifar(depth: int, published: float = 0.0) -> Network:
    return Network(
        f"resnet{depth}",
        _CIFAR,
        HERE.format("resnet_cifar", f"{_HE}, CIFAR-10, option A"),
        graph=lambda seed: resnet_cifar.resnet(depth, seed),
        published=published,
    )


NETWORKS = {
    network.name: network
    for network in (
        _imagenet("resnet18", "ResNet18_Weights.IMAGENET1K_V1", 1.81e9),
        _imagenet("resnet34", "ResNet34_Weights.IMAGENET1K_V1", 3.6e9),
        _imagenet("resnet50", "ResNet50_Weights.IMAGENET1K_V1", 4.1e9),
        _imagenet("vgg16_bn", "VGG16_BN_Weights.IMAGENET1K_V1"),
        _imagenet("mobilenet_v2", "MobileNet_V2_Weights.IMAGENET1K_V1"),
        Network(
            "mobilenet_v2_cifar",
            _CIFAR,
            HERE.format("classifiers", "torchvision's blocks, strides 1, 1, 1, 2, 1, 2, 1"),
            build=classifiers.mobilenet_v2_cifar,
            published=296e6,
        ),
        _cifar(20),
        _cifar(56, 127e6),
        _cifar(110),
        Network(
            "hybrid_cifar",
            _CIFAR,
            HERE.format("hybrid", "Liu et al. 2022 (ConvNeXt) and Vaswani et al. 2017 (attention)"),
            build=hybrid.HybridNet,
        ),
        Network(
            "ssd300_resnet50",
            (1, 3, 300, 300),
            HERE.format("ssd", "NVIDIA DeepLearningExamples: ResNet-50 up to conv4"),
            build=ssd.SSD300,
            detector=True,
        ),
        Network(
            "maskrcnn_resnet50_fpn",
            (1, 3, 800, 1344),
            TORCHVISION.format("detection.maskrcnn_resnet50_fpn"),
            build=maskrcnn.maskrcnn,
            pretrained="detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
            detector=True,
        ),
    )
}


def network(name: str) -> Network:
    """The network called ``name``; UsageError, naming near misses, where there is none."""
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, 1, 0.4)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise UsageError(f"no network '{name}'{hint}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]
