"""A detector of YOLOv8's structure with random weights: an architecture to prune, not a model.

``python -m models.yolo -o FILE`` (needs torch) writes it. Input ``images`` (N, 3, H, W); output
``predictions`` (N, 4 + classes, anchors): a box as centre x, centre y, width and height in pixels,
then one probability per class, for every cell of the maps with strides 8, 16 and 32.

What is in it, for a tool that follows channels: stages that split their channels, keep both halves,
add a bottleneck's output per step and concatenate everything (C2f); a pyramid of pooled copies
(SPPF); a neck that upsamples and concatenates across scales (PAN); separate heads for boxes and
classes whose outputs are joined and split again; and box sides as expectations over 16 bins (DFL).

Weights and BatchNormalization statistics are drawn from a seed such that activations keep their
scale through the depth: every output depends on every layer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

SEED = 0
IMAGE = 64  # side of the images that the exporter traces with, in pixels
OPSET = {"torchscript": 13, "dynamo": 18}
WIDTH = 0.03
CLASSES = 4
CHANNELS = (64, 128, 256, 512, 1024)  # of the five strides 2, 4, ... 32 at width 1
DEPTHS = (1, 2, 2, 1)  # bottlenecks of the four stages of the backbone
STRIDES = (8, 16, 32)
BINS = 16  # a box side is an expectation over 0..15 strides


def channels_at(width: float, n: int) -> int:
    """Return ``width * n`` as a multiple of 4, at least 8."""
    return max(8, 4 * round(width * n / 4))


class ConvNormAct(nn.Module):
    """Conv-BN-SiLU that keeps the image size, divided by the stride."""

    def __init__(self, n_in: int, n_out: int, k: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, k, stride, padding=k // 2, bias=False)
        self.bn = nn.BatchNorm2d(n_out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h / stride, w / stride)."""
        output: Tensor = self.act(self.bn(self.conv(x)))
        return output


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, around which the input is added where ``shortcut`` says so."""

    def __init__(self, n: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(n, n, 3)
        self.conv2 = ConvNormAct(n, n, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n, h, w) to the same shape."""
        inner: Tensor = self.conv2(self.conv1(x))
        return x + inner if self.shortcut else inner


class C2f(nn.Module):
    """Two halves of a 1x1 convolution; bottlenecks continue the second; all of it concatenated."""

    def __init__(self, n_in: int, n_out: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        half = n_out // 2
        self.entry = ConvNormAct(n_in, 2 * half)
        self.steps = nn.ModuleList(Bottleneck(half, shortcut) for _ in range(depth))
        self.exit = ConvNormAct((2 + depth) * half, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, h, w) to (N, n_out, h, w)."""
        parts = list(self.entry(x).chunk(2, 1))
        for step in self.steps:
            parts.append(step(parts[-1]))
        output: Tensor = self.exit(torch.cat(parts, 1))
        return output


class SPPF(nn.Module):
    """A map beside its maxima over 5x5, 9x9 and 13x13 windows, by pooling three times."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.entry = ConvNormAct(n, n // 2)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.exit = ConvNormAct(4 * (n // 2), n)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n, h, w) to the same shape."""
        maps = [self.entry(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        output: Tensor = self.exit(torch.cat(maps, 1))
        return output


class Backbone(nn.Module):
    """Five convolutions of stride 2 with a C2f stage behind each but the first, then SPPF."""

    def __init__(self, n: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, n[0], 3, 2)
        self.down = nn.ModuleList(ConvNormAct(n[i], n[i + 1], 3, 2) for i in range(4))
        self.stage = nn.ModuleList(C2f(n[i + 1], n[i + 1], DEPTHS[i], True) for i in range(4))
        self.sppf = SPPF(n[4])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map images (N, 3, H, W) to the maps of strides 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for down, stage in zip(self.down, self.stage, strict=True):
            x = stage(down(x))
            maps.append(x)
        return maps[1], maps[2], self.sppf(maps[3])


class Neck(nn.Module):
    """From the coarsest map to the finest and back, each way joining the map on the other side."""

    def __init__(self, n8: int, n16: int, n32: int) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.up16 = C2f(n32 + n16, n16, 1, shortcut=False)
        self.up8 = C2f(n16 + n8, n8, 1, shortcut=False)
        self.down8 = ConvNormAct(n8, n8, 3, 2)
        self.join16 = C2f(n8 + n16, n16, 1, shortcut=False)
        self.down16 = ConvNormAct(n16, n16, 3, 2)
        self.join32 = C2f(n16 + n32, n32, 1, shortcut=False)

    def forward(self, x8: Tensor, x16: Tensor, x32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the maps of strides 8, 16 and 32 to maps of the same shapes."""
        mid = self.up16(torch.cat([self.upsample(x32), x16], 1))
        fine = self.up8(torch.cat([self.upsample(mid), x8], 1))
        mid = self.join16(torch.cat([self.down8(fine), mid], 1))
        return fine, mid, self.join32(torch.cat([self.down16(mid), x32], 1))


class Expectation(nn.Module):
    """The expectation of a box side over its bins, as a 1x1 convolution with the bins as weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map logits (N, 4 * BINS, anchors) to sides (N, 4, anchors), in strides."""
        n, _, anchors = x.shape
        shares = x.view(n, 4, BINS, anchors).transpose(2, 1).softmax(1)
        sides: Tensor = self.conv(shares).view(n, 4, anchors)
        return sides


class Branch(nn.Sequential):
    """Two 3x3 convolutions and a plain 1x1 one."""

    def __init__(self, n_in: int, n: int, n_out: int) -> None:
        super().__init__()
        self.add_module("conv1", ConvNormAct(n_in, n, 3))
        self.add_module("conv2", ConvNormAct(n, n, 3))
        self.add_module("last", nn.Conv2d(n, n_out, 1))


class Head(nn.Module):
    """Per scale one branch for boxes and one for classes; no anchor boxes.

    The cells of images of side ``image`` are constants; where it is 0, they are computed.
    """

    def __init__(self, n: Sequence[int], image: int = 0) -> None:
        super().__init__()
        width = max(16, n[0] // 4)
        self.box = nn.ModuleList(Branch(k, width, 4 * BINS) for k in n)
        self.cls = nn.ModuleList(Branch(k, max(width, CLASSES), CLASSES) for k in n)
        self.dfl = Expectation()
        cells = grid([(image // s, image // s) for s in STRIDES]) if image else (None, None)
        self.register_buffer("points", cells[0])
        self.register_buffer("strides", cells[1])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the maps of the three strides to predictions (N, 4 + CLASSES, anchors)."""
        rows = 4 * BINS + CLASSES
        joined = [torch.cat([self.box[i](x), self.cls[i](x)], 1) for i, x in enumerate(maps)]
        flat = torch.cat([x.view(x.shape[0], rows, -1) for x in joined], 2)
        logits, scores = flat.split((4 * BINS, CLASSES), 1)
        points, strides = self.points, self.strides
        if points is None:
            points, strides = grid([x.shape[2:] for x in maps])
        before, after = self.dfl(logits).chunk(2, 1)
        low, high = points - before, points + after
        boxes = torch.cat([(low + high) / 2, high - low], 1) * strides
        return torch.cat([boxes, scores.sigmoid()], 1)


def grid(sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return centres (1, 2, anchors) and strides (1, 1, anchors) of maps of these (h, w).

    Centres are (x, y) in strides, row by row.
    """
    points, strides = [], []
    for (h, w), stride in zip(sizes, STRIDES, strict=True):
        rows = torch.arange(h, dtype=torch.float32) + 0.5
        columns = torch.arange(w, dtype=torch.float32) + 0.5
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack([x.reshape(-1), y.reshape(-1)], 0))
        strides.append(torch.full_like(points[-1][:1], float(stride)))
    return torch.cat(points, 1).unsqueeze(0), torch.cat(strides, 1).unsqueeze(0)


class Detector(nn.Module):
    """Backbone, neck and head at one width, for images of one side or, at 0, of any."""

    def __init__(self, width: float = WIDTH, image: int = IMAGE) -> None:
        super().__init__()
        n = [channels_at(width, k) for k in CHANNELS]
        self.backbone = Backbone(n)
        self.neck = Neck(n[2], n[3], n[4])
        self.head = Head(n[2:], image)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), sides multiples of 32, to (N, 4 + CLASSES, anchors)."""
        predictions: Tensor = self.head(self.neck(*self.backbone(images)))
        return predictions


def randomise(model: nn.Module, seed: int = SEED) -> nn.Module:
    """Draw weights and BatchNormalization statistics in place such that activations stay alive.

    The statistics are those of random images, as after training, disturbed by up to a quarter; γ is
    in [0.5, 1.5], so that some channels matter more than others.
    """
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad:
            nn.init.kaiming_normal_(module.weight, generator=rng)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.5, generator=rng)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=rng)
        nn.init.normal_(norm.bias, std=0.3, generator=rng)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(16, 3, IMAGE, IMAGE, generator=rng))
        for norm in norms:
            spread = torch.empty(2, norm.num_features).uniform_(-0.25, 0.25, generator=rng)
            norm.running_mean += spread[0] * norm.running_var.sqrt()
            norm.running_var *= 1 + spread[1]
    return model.eval()


@dataclass(frozen=True)
class Export:
    """The settings of a written model: ``folded`` merges BN into Conv; ``sizes`` frees H and W."""

    path: Path
    output: str
    exporter: str = "torchscript"
    opset: int = 0
    folded: bool = False
    sizes: bool = False


def export(model: nn.Module, how: Export) -> onnx.ModelProto:
    """Write ``model``, with N dynamic, and return what was written."""
    opset = how.opset or OPSET[how.exporter]
    example = torch.zeros(2, 3, IMAGE, IMAGE)
    names = {"input_names": ["images"], "output_names": [how.output]}
    if how.exporter == "dynamo":
        dims = {0: torch.export.Dim("batch")}
        if how.sizes:
            dims |= {2: 32 * torch.export.Dim("rows"), 3: 32 * torch.export.Dim("columns")}
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=(dims,),
            optimize=how.folded,
            verbose=False,
            **names,
        )
        assert program is not None
        if not how.folded:  # the optimiser merges BatchNormalization; this is the rest of it
            from onnxscript import optimizer

            optimizer.inline(program.model)
            optimizer.fold_constants(program.model, onnx_shape_inference=True)
            optimizer.remove_unused_nodes(program.model)
        proto = program.model_proto
    else:
        free = {0: "N", **({2: "H", 3: "W"} if how.sizes else {})}
        mode = torch.onnx.TrainingMode
        torch.onnx.export(
            model,
            (example,),
            str(how.path),
            dynamo=False,
            opset_version=opset,
            training=mode.EVAL if how.folded else mode.PRESERVE,
            do_constant_folding=how.folded,
            dynamic_axes={"images": free, how.output: {0: "N"}},
            **names,
        )
        proto = onnx.load(how.path)
    for node in proto.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, how.path)
    return proto


def run(build: Callable[[float, int], nn.Module], output: str, width: float) -> None:
    """Read the command line and write the model that ``build(width, image side or 0)`` makes."""
    parser = argparse.ArgumentParser(description="Write a structure to prune, with random weights.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--width", type=float, default=width, help="multiplies all channels")
    parser.add_argument("--exporter", choices=list(OPSET), default="torchscript")
    parser.add_argument("--opset", type=int, default=0, help="default: 13, or 18 with dynamo")
    parser.add_argument("--folded", action="store_true", help="merge BatchNormalization into Conv")
    parser.add_argument("--sizes", action="store_true", help="free the image's sides as well")
    given = parser.parse_args()
    model = randomise(build(given.width, 0 if given.sizes else IMAGE))
    how = Export(given.output, output, given.exporter, given.opset, given.folded, given.sizes)
    export(model, how)
    params = sum(p.numel() for p in model.parameters())
    print(f"{params} parameters, {given.output.stat().st_size} bytes, random weights")


if __name__ == "__main__":
    run(Detector, "predictions", WIDTH)
