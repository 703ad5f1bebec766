"""The cost of a network, without its weights: on PyTorch's meta device nothing is computed."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from models import maskrcnn
from models.catalog import Network
from reprune_onnx.analyzer import Scope, channels_of, graph_of
from reprune_onnx.pruner.measure import cost
from reprune_onnx.types import Model


def macs_and_params(network: Network) -> tuple[int, int]:
    """Multiply-adds per image at ``network.input_shape``, and trained parameters.

    Of Mask R-CNN they are those of backbone, FPN and region proposal head: how much the heads
    compute depends on the image. Parameters are those of the whole network.
    """
    if network.graph is not None:
        graph = graph_of(Model(network.graph(0)))
        counted = cost(graph, channels_of(graph, Scope()))
        proto = network.graph(0)
        names = ("weight", "bias")
        trained = (t for t in proto.graph.initializer if t.name.endswith(names))
        return counted.macs, sum(prod(t.dims) for t in trained)
    assert network.build is not None
    with torch.device("meta"):
        net = network.build().eval()
        params = sum(p.numel() for p in net.parameters())
        run = maskrcnn.WithoutPost(net) if isinstance(net, maskrcnn.MaskRCNN) else net
        return _macs(run, torch.empty(network.input_shape)), params


def _macs(net: nn.Module, images: Tensor) -> int:
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        counts.append(weight.numel() * output.numel() // (len(images) * len(weight)))

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(count)
    with torch.no_grad():
        net(images)
    return sum(counts)
