"""A network of the catalog as an ONNX file."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import torchvision
from onnx import numpy_helper
from torch import nn

from models import maskrcnn, resnet_cifar, ssd
from models.catalog import Network, network
from models.checkpoint import (
    CIFAR_NAMES,
    COUNTER,
    MASK_NAMES,
    SSD_NAMES,
    check_fits,
    read_checkpoint,
)
from models.fold import fold_batch_norm
from models.random_weights import draw
from reprune_onnx.errors import ModelError, UsageError

OPSET = 17
TRACED = {"maskrcnn_resnet50_fpn": (160, 192)}  # image sides while tracing, where they are free


@dataclass(frozen=True)
class Recipe:
    """The settings that make the file.

    ``weights`` is a checkpoint, or "torchvision" for the weights that torchvision offers; random
    otherwise, drawn from ``seed``, with distinct γ, or with the γ of 1 that networks start with
    (``fresh``). ``fold``: no BatchNormalization is left behind a Conv. Of detectors, ``post`` says
    whether NMS and all else that follows the network is part of the file; boxes that score
    ``threshold`` or less are dropped, by default 0.05, and with random weights 0, so that there are
    some. Of Mask R-CNN, ``min_size`` is the shorter side to which it resizes images, ``proposals``
    and ``detections`` the numbers of boxes that its heads read and give, by default 1,000 and 100.
    """

    weights: str | None = None
    fold: bool = False
    seed: int = 0
    fresh: bool = False
    post: bool = True
    threshold: float | None = None
    min_size: int | None = None
    proposals: int | None = None
    detections: int | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The options of Mask R-CNN that are given, as torchvision calls them."""
        options = {
            "min_size": self.min_size,
            "rpn_post_nms_top_n_test": self.proposals,
            "box_detections_per_img": self.detections,
        }
        return {key: n for key, n in options.items() if n is not None}


def export(name: str, recipe: Recipe | None = None) -> onnx.ModelProto:
    """The network called ``name``, with live BatchNormalization unless ``recipe.fold``.

    Raises UsageError for an unknown name or option, ModelError for weights that do not fit.
    """
    recipe, entry = recipe or Recipe(), network(name)
    if not entry.detector and (recipe.threshold is not None or not recipe.post):
        raise UsageError(f"{name} is no detector: nothing follows it")
    if recipe.sizes and name != "maskrcnn_resnet50_fpn":
        raise UsageError(
            f"{name} is not Mask R-CNN: it has no --min-size, --proposals or --detections"
        )
    if min(recipe.sizes.values(), default=1) < 1:
        raise UsageError("--min-size, --proposals and --detections are at least 1")
    proto = _cifar(entry, recipe) if entry.build is None else _traced(entry, recipe)
    if recipe.fold:
        proto = fold_batch_norm(proto)
    onnx.checker.check_model(proto)
    return proto


# ── networks written as ONNX ────────────────────────────────────────────────────────────────────


def _cifar(entry: Network, recipe: Recipe) -> onnx.ModelProto:
    depth = int(entry.name.removeprefix("resnet"))
    variant = resnet_cifar.Variant(random_norms=not recipe.fresh)
    if recipe.weights is None:
        return resnet_cifar.resnet(depth, recipe.seed, variant)
    if recipe.weights == "torchvision":
        raise UsageError(f"torchvision has no weights of {entry.name}: give a checkpoint")
    state = read_checkpoint(Path(recipe.weights), CIFAR_NAMES)
    head = state.get("linear.weight")
    variant = resnet_cifar.Variant(
        project=any(".shortcut.conv." in key for key in state),
        classes=resnet_cifar.CLASSES if head is None else len(head),
    )
    proto = resnet_cifar.resnet(depth, recipe.seed, variant)
    tensors = {t.name: t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    wanted = {key: tuple(tensor.dims) for key, tensor in tensors.items()}
    check_fits(state, wanted, (recipe.weights, entry.name))
    for key, tensor in tensors.items():
        tensor.CopyFrom(numpy_helper.from_array(state[key].float().numpy(), key))
    return proto


# ── networks written in PyTorch ─────────────────────────────────────────────────────────────────


def _traced(entry: Network, recipe: Recipe) -> onnx.ModelProto:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net, bare = _built(entry, recipe)
    shape = (1, 3, *TRACED.get(entry.name, entry.input_shape[2:]))
    if recipe.weights is None and not recipe.fresh:
        draw(net, bare, shape[1:], recipe.seed)
        if isinstance(net, maskrcnn.MaskRCNN):
            maskrcnn.soften(net)
    elif recipe.weights is not None:
        _load(net, entry, recipe.weights)
    names, free = ["images"], {0: "N"}
    if entry.detector:
        free = {2: "H", 3: "W"} | ({} if recipe.post else free)
    traced = net if recipe.post else bare
    outputs = getattr(traced, "outputs", ("logits",))
    image: object = torch.rand(shape)
    if isinstance(traced, maskrcnn.MaskRCNN):  # takes a list of images of any size
        image, names, free = [torch.rand(shape[1:])], ["image"], {1: "H", 2: "W"}
        outputs = maskrcnn.OUTPUTS
    axes = {names[0]: free}
    if not recipe.post or not entry.detector:
        axes |= {output: {0: "N"} for output in outputs}
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # of the tracer, on what it takes as constant, and its age
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced.eval(),
            (image,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # BatchNormalization stays
            input_names=names,
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    proto = onnx.load_from_string(buffer.getvalue())
    return _unshared(proto)


def _built(entry: Network, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """The network, and the part of it that NMS and the like follow."""
    assert entry.build is not None
    threshold = recipe.threshold
    if threshold is None:
        threshold = 0.0 if recipe.weights is None else 0.05
    if entry.name == "ssd300_resnet50":
        if not recipe.post:
            return (bare := ssd.SSD300()), bare
        net = ssd.SSD300Detector(threshold)
        return net, ssd.Plain(net)
    if entry.detector:
        detector = maskrcnn.maskrcnn(box_score_thresh=threshold, **recipe.sizes)
        return detector, maskrcnn.WithoutPost(detector)
    net = entry.build()
    return net, net


def _load(net: nn.Module, entry: Network, weights: str) -> None:
    if weights == "torchvision":
        state = _pretrained(entry)
        if entry.detector:  # these weights were trained with statistics that have no epsilon
            for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.eps = 0.0
    else:
        names = {"ssd300_resnet50": SSD_NAMES, "maskrcnn_resnet50_fpn": MASK_NAMES}
        state = read_checkpoint(Path(weights), names.get(entry.name, ()))
    shapes = {k: tuple(t.shape) for k, t in net.state_dict().items() if not k.endswith(COUNTER)}
    check_fits(state, shapes, (weights, entry.name))
    net.load_state_dict(state, strict=False)


def _pretrained(entry: Network) -> dict[str, torch.Tensor]:
    if not entry.pretrained:
        raise UsageError(f"torchvision has no weights of {entry.name}: give a checkpoint")
    try:
        state = torchvision.models.get_weight(entry.pretrained).get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"torchvision's {entry.pretrained} cannot be downloaded: {reason}; give the file"
        ) from error
    return {key: tensor for key, tensor in state.items() if not key.endswith(COUNTER)}


def _unshared(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give tensors that are equal by chance, and that the exporter merged, their own names again.

    It leaves an Identity of one of them for each of the others.
    """
    graph = proto.graph
    values = {t.name: t for t in graph.initializer}
    merged = [n for n in graph.node if n.op_type == "Identity" and n.input[0] in values]
    for node in merged:
        tensor = graph.initializer.add()
        tensor.CopyFrom(values[node.input[0]])
        tensor.name = node.output[0]
        graph.node.remove(node)
    for node in graph.node:
        node.ClearField("doc_string")
    return proto
