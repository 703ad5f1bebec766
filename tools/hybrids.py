"""Accuracy of hybrids after pruning, without training: norms kept or locked, and a peer's cut.

    python tools/hybrids.py -o hybrids/ [--hybrid hybrid.onnx]

`hybrid_cifar` of models/ is trained on CIFAR-10 images (JPEG) by the recipe below, unless a trained
file is given, and pruned by −30, −50 and −70 % of its multiply-adds in several ways; the cut of
Torch-Pruning (1.6) is of the same network in PyTorch. `zoo_vittracker` of ../shared/models gets
pairs of pictures from ../shared/data; what counts is how near its outputs are to the original's,
and how often the peak of its map is in the same place. Prints a Markdown table for each. *Chosen*
are the same prunings with channels of attention chosen one by one, as those of a Conv are. What was
measured is kept in the folder: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from timed import call

import reprune_onnx as rp
from reprune_onnx.activations.images import calibration_images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.data.open import open_data
from reprune_onnx.pruner.measure import cost
from reprune_onnx.recovery.output_error import output_error
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.ort import Session

SHARED = ROOT.parent / "shared"
TRAINED = (
    *("--preprocess", "cifar10", "--epochs", 12, "--batch-size", 64, "--optimizer", "adamw"),
    *("--lr", 0.002, "--weight-decay", 0.02, "--warmup", 1, "--augment", "flip"),
)
IMAGES = 1024  # to calibrate with
PAIRS, TEST_PAIRS = 64, 128


@dataclass(frozen=True)
class Way:
    """A title of the table, the options of `prune`, and what is left out.

    ``chosen``: channels of attention are not combined; ``whole``: heads go whole besides.
    """

    title: str
    options: dict[str, Any]
    chosen: bool = False
    whole: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--hybrid", type=Path, help="a trained hybrid_cifar")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        text = "\n".join(TABLES[name](arguments.out, arguments.hybrid)) + "\n"
        (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


# ── hybrid_cifar ────────────────────────────────────────────────────────────────────────────────


def hybrid_table(folder: Path, trained: Path | None) -> Iterator[str]:
    data = cifar(folder / "cifar.npz")
    source = trained or train(folder, data)
    images = f"{data}:x_train,y_train"
    base = {"calibration": images, "calibration_size": IMAGES, "preprocess": "cifar10"}
    generated = {**base, "calibration": "generated"}
    ways = [
        Way("images, norms over the channels that stay", base),
        Way("the same, channels chosen", base, chosen=True),
        Way("images, norms locked", {**base, "norm_statistics": "lock"}),
        Way("generated images", generated),
        Way("generated images, norms locked", {**generated, "norm_statistics": "lock"}),
        Way("no image, no repair", {"recover": "none"}),
        Way("no image, no repair, norms locked", {"recover": "none", "norm_statistics": "lock"}),
    ]
    reductions = (0.3, 0.5, 0.7)
    test = f"{data}:x_test,y_test"
    dense = kept(folder / "dense.json", lambda: top1(rp.load(source), test))
    yield f"hybrid_cifar: {dense:.2f} % top-1 on 10,000 images before pruning"
    yield ""
    yield "| | " + " | ".join(f"−{r:.0%}" for r in reductions) + " |"
    yield "|---|" + "--:|" * len(reductions)
    for way in ways:
        cells = []
        for reduction in reductions:
            name = f"hybrid-{reduction}-{way.title}".replace(" ", "-").replace("`", "")
            score = kept(
                folder / f"{name}.json",
                lambda way=way, r=reduction: top1(pruned(source, way, r), test),
            )
            cells.append(f"{score:.2f}")
        yield f"| {way.title} | {' | '.join(cells)} |"
    cells = [kept(folder / f"peer-{r}.json", lambda r=r: peer(source, test, r)) for r in reductions]
    yield (
        "| Torch-Pruning, no repair | "
        + " | ".join(f"{score:.2f} (−{gone:.1%})" for score, gone in cells)
        + " |"
    )


def attention_table(folder: Path, trained: Path | None) -> Iterator[str]:
    data = cifar(folder / "cifar.npz")
    source = trained or train(folder, data)
    base = {"calibration": f"{data}:x_train", "calibration_size": IMAGES, "preprocess": "cifar10"}
    shares, test = (0.5, 0.75), f"{data}:x_test,y_test"
    yield "hybrid_cifar without some queries, keys and values: top-1 / error of the outputs"
    yield ""
    yield "| | " + " | ".join(f"−{r:.0%}" for r in shares) + " |"
    yield "|---|" + "--:|" * len(shares)
    titles = ("whole heads", "the same channels of every head, chosen", "the same, combined")
    for k, title in enumerate(titles):
        cells = []
        for share in shares:
            options = {**base, "include": ("*qkv*",), "sparsity": share}
            way = Way(title, options, chosen=k < 2, whole=k < 1)
            file = folder / f"attention-{share}-{k}.json"
            score, error = kept(file, lambda way=way: both(source, way, test))
            cells.append(f"{score:.2f} / {error:.4f}")
        yield f"| {title} | {' | '.join(cells)} |"


def both(source: Path, way: Way, test: str) -> tuple[float, float]:
    """Top-1, and the error of the outputs on 512 of the images."""
    model, original = pruned(source, way, 0.0), rp.load(source)
    settings = rp.Settings(
        sparsity=0.5, calibration=test, calibration_size=512, preprocess="cifar10"
    )
    images = calibration_images(original.proto, settings)
    return top1(model, test), float(output_error(original, model, images) or 0.0)


def cifar(file: Path) -> Path:
    """10,000 of the training images and all for testing, drawn with a fixed seed."""
    if not file.exists():
        parts: dict[str, list[tuple[str, bytes]]] = {"train": [], "test": []}
        with tarfile.open(SHARED / "data" / "cifar10_jpeg.tar.gz") as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".jpg"):
                    *_, part, label, _ = member.name.split("/")
                    parts[part].append((label, tar.extractfile(member).read()))
        classes = sorted({label for label, _ in parts["train"]})
        arrays = {}
        for part, pictures in parts.items():
            random.Random(0).shuffle(pictures)
            some = pictures[:10_000]
            x = [np.asarray(Image.open(io.BytesIO(b)).convert("RGB")) for _, b in some]
            arrays[f"x_{part}"] = np.stack(x).transpose(0, 3, 1, 2)
            arrays[f"y_{part}"] = np.array([classes.index(label) for label, _ in some])
        np.savez(file, **arrays)
    return file


def train(folder: Path, data: Path) -> Path:
    """The network by the recipe: a quarter of an hour on one core."""
    from models.export import Recipe, export

    out = folder / "hybrid.onnx"
    if not out.exists():
        rp.save(rp.Model(export("hybrid_cifar", Recipe(fresh=True))), folder / "hybrid0.onnx")
        images = f"{data}:x_train,y_train"
        call("finetune", folder / "hybrid0.onnx", "--data", images, *TRAINED, "-o", out)
    return out


def top1(model: rp.Model, test: str) -> float:
    port = image_input(model.proto, {})
    images = open_data(test, preprocess="cifar10", input_shape=port.shape, dtype=port.dtype)
    return float(rp.evaluate(model, images).top1)


def pruned(source: Path, way: Way, reduction: float) -> rp.Model:
    share = {} if "sparsity" in way.options else {"macs_reduction": reduction}
    settings = rp.Settings(residual="prune", **share, **way.options)
    with ExitStack() as stack:
        if way.whole:
            places = "reprune_onnx.analyzer.rules.products._places_serve"
            stack.enter_context(patch(places, lambda w, ids, axis: False))
        if way.chosen:
            whole = "reprune_onnx.recovery.combined.combined"
            stack.enter_context(patch(whole, lambda work: list(work.steps)))
            plans = "reprune_onnx.pruner.sensitivity.plans"
            stack.enter_context(patch(f"{plans}.values_of", lambda network, node: None))
            stack.enter_context(patch(f"{plans}.score_makers", lambda network, s: (None, None)))
        return rp.prune(source, settings).model


def peer(source: Path, test: str, reduction: float) -> tuple[float, float]:
    """Top-1 of Torch-Pruning's cut whose multiply-adds are nearest, and the share that is gone."""
    full, low, high = macs(rp.load(source)), 0, 96
    tried = []
    while high - low > 1:
        percent = (low + high) // 2
        model = cut_by_peer(source, percent / 100)
        gone = 1 - macs(model) / full
        tried.append((abs(gone - reduction), gone, model))
        low, high = (percent, high) if gone < reduction else (low, percent)
    _, gone, model = min(tried, key=lambda row: row[0])
    return top1(model, test), gone


def cut_by_peer(source: Path, share: float) -> rp.Model:
    import onnx
    import torch
    import torch_pruning as tp

    network, example = in_pytorch(source), torch.zeros(1, 3, 32, 32)
    pruner = tp.pruner.BasePruner(
        network,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        ignored_layers=[network.fc],
        num_heads={block.qkv: 4 for block in network.stage3},
    )
    pruner.step()
    buffer = io.BytesIO()
    ports = {"input_names": ["input"], "output_names": ["logits"]}
    axes = {"input": {0: "n"}, "logits": {0: "n"}}
    torch.onnx.export(
        network.eval(),
        (example,),
        buffer,
        dynamo=False,
        opset_version=17,
        dynamic_axes=axes,
        **ports,
    )
    return rp.Model(onnx.load_model_from_string(buffer.getvalue()))


def in_pytorch(source: Path) -> Any:
    """The network of models/ with the weights of a trained file, for any number of channels."""
    import torch
    from onnx import numpy_helper

    from models.hybrid import HEADS, HybridNet

    graph = rp.load(source).proto.graph
    arrays = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1].startswith("onnx::"):
            *_, layer, _ = node.name.split("/")
            stage = node.name.split("/")[2:-2]
            arrays[".".join([*stage, layer, "weight"])] = arrays[node.input[1]].T

    network = HybridNet()
    network.load_state_dict({name: arrays[name] for name in network.state_dict()})

    def attend(self: Any, x: Any) -> Any:
        p, d = x.shape[1], self.qkv.out_features // 3 // HEADS
        qkv = self.qkv(self.norm1(x)).reshape(-1, p, 3, HEADS, d).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(-1, p, HEADS * d))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))

    for block in network.stage3:
        block.forward = attend.__get__(block)
    return network.eval()


def macs(model: rp.Model) -> int:
    graph = graph_of(model)
    return cost(graph, channels_of(graph, rp.Scope())).macs


# ── zoo_vittracker ──────────────────────────────────────────────────────────────────────────────


def tracker_table(folder: Path, _: Path | None) -> Iterator[str]:
    source = SHARED / "models" / "zoo_vittracker.onnx"
    fit, test = pairs(folder)
    base = {"calibration": str(fit), "calibration_size": PAIRS}
    ways = [
        Way("images", base),
        Way("the same, channels chosen", base, chosen=True),
        Way("images, `--method reconstruction`", {**base, "method": "reconstruction"}),
        Way("the same, channels chosen", {**base, "method": "reconstruction"}, chosen=True),
        Way("images, `--recover none`", {**base, "recover": "none"}),
    ]
    reductions = (0.3, 0.5)
    yield f"zoo_vittracker: error of the outputs / same peak, {TEST_PAIRS} pairs"
    yield ""
    yield "| | " + " | ".join(f"−{r:.0%}" for r in reductions) + " |"
    yield "|---|" + "--:|" * len(reductions)
    for k, way in enumerate(ways):
        cells = []
        for reduction in reductions:
            error, same = kept(
                folder / f"tracker-{reduction}-{k}.json",
                lambda way=way, r=reduction: likeness(source, pruned(source, way, r), test),
            )
            cells.append(f"{error:.3f} / {same:.1f} %")
        yield f"| {way.title} | {' | '.join(cells)} |"


def pairs(folder: Path) -> tuple[Path, Path]:
    """Pictures to search in, and parts of them that are searched for; as the tracker reads them."""
    fit, test = folder / "pairs_fit.npz", folder / "pairs_test.npz"
    if not test.exists():
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        rng = np.random.default_rng(0)
        searched, wanted = [], []
        with tarfile.open(SHARED / "data" / "imagenet_sample_256.tar") as tar:
            members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
            for member in members[:: len(members) // (PAIRS + TEST_PAIRS)]:
                picture = Image.open(tar.extractfile(member)).convert("RGB").resize((256, 256))
                x = ((np.asarray(picture) / 255 - mean) / deviation).transpose(2, 0, 1)
                top, left = rng.integers(32, 97, 2)
                searched.append(x.astype(np.float32))
                wanted.append(searched[-1][:, top : top + 128, left : left + 128])
        for file, part in ((fit, slice(0, PAIRS)), (test, slice(PAIRS, PAIRS + TEST_PAIRS))):
            np.savez(file, template=np.stack(wanted[part]), search=np.stack(searched[part]))
    return fit, test


def likeness(source: Path, model: rp.Model, test: Path) -> tuple[float, float]:
    """The error of all outputs, and the percentage of pairs whose map has the same peak."""
    original = rp.load(source)
    settings = rp.Settings(macs_reduction=0.5, calibration=str(test), calibration_size=TEST_PAIRS)
    images = calibration_images(original.proto, settings)
    error = output_error(original, model, images)
    sessions = [Session(m.proto, optimize=True, use="in turns") for m in (original, model)]
    same = [
        np.equal(*(int(s.run(feeds)["output1"].argmax()) for s in sessions))
        for feeds in images.batches
    ]
    return float(error or 0.0), 100 * float(np.mean(same))


def kept(file: Path, measure: Callable[[], Any]) -> Any:
    """The figures that were measured before, or those of now."""
    if not file.exists():
        file.write_text(json.dumps(measure()), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


TABLES = {"hybrid": hybrid_table, "attention": attention_table, "tracker": tracker_table}

if __name__ == "__main__":
    main()
