"""Which exported networks can be pruned, how deeply and how exactly: docs/coverage.md.

    python tools/coverage_table.py --timm
    python tools/coverage_table.py --hybrids --norm-statistics kept --exporter torchscript \\
        --out docs/hybrids.json --table docs/hybrids.md

Needs torch, torchvision, onnxscript, timm with `--timm`, and ultralytics and transformers too with
`--hybrids`.
Every network is built with random weights, exported by PyTorch's two exporters, pruned by half in
coupled groups, and verified. Rows are written to the JSON file one by one: a second run measures
only what is missing.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import warnings
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torchvision
from coverage_page import BY_HAND, EXPORTERS, OPSET, Row, cells, libraries, page
from torch import nn

import reprune_onnx as rp
from reprune_onnx.choices import NormStatistics
from reprune_onnx.errors import VerificationError

LIMIT = 600  # seconds for one export
SIDE = 96
# AdaptiveAvgPool2d(7) and (6) can only be written as ONNX where the side divides: 224.
SIDES = {"alexnet": 224, "vgg11_bn": 224, "vgg16_bn": 224}
TORCHVISION = """
alexnet vgg11_bn vgg16_bn resnet18 resnet34 resnet50 resnext50_32x4d wide_resnet50_2 densenet121
googlenet inception_v3 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet0_5 mnasnet1_0
shufflenet_v2_x0_5 shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 regnet_x_400mf regnet_y_400mf
regnet_x_1_6gf regnet_y_1_6gf efficientnet_b0 efficientnet_b1 efficientnet_v2_s convnext_tiny
deeplabv3_mobilenet_v3_large deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large
""".split()  # noqa: SIM905 (as a list of strings it is five times as long)
TIMM = """
ghostnet_100 repvgg_a0 mobileone_s0 res2net50_26w_4s edgenext_xx_small mixnet_s starnet_s1
ese_vovnet19b_dw skresnet18 cspdarknet53 dpn48b rexnet_100 eca_nfnet_l0 nf_resnet50 fasternet_t0
mobilevit_xxs hrnet_w18_small dla34 xception41 tf_efficientnet_b0 resnest14d convmixer_768_32
""".split()  # noqa: SIM905 (as a list of strings it is five times as long)
HYBRIDS = """
mobilevitv2_050 efficientvit_b0 efficientformerv2_s0 fastvit_t8 pvt_v2_b0 mambaout_femto
poolformer_s12 convnext_atto convnextv2_atto edgenext_xx_small mobilevit_xxs
xcit_nano_12_p16_224 focalnet_tiny_srf twins_pcpvt_small
deit_tiny_patch16_224 swin_tiny_patch4_window7_224
""".split()  # noqa: SIM905 (as a list of strings it is five times as long)
MORE_HYBRIDS = {  # whose makers are not PyTorch's or timm's
    "yolo11n": "ultralytics",
    "yolo12n": "ultralytics",
    "yolo26n": "ultralytics",
    "rtdetr-resnet50": "ultralytics",
    "rtdetr-l": "ultralytics",
    "segformer-b0": "transformers",
    "cvt-13": "transformers",
}
SIDES |= dict.fromkeys(MORE_HYBRIDS, 64) | {"rtdetr-resnet50": 160, "rtdetr-l": 160}
SIDES |= dict.fromkeys(HYBRIDS[:-2], 64) | dict.fromkeys(HYBRIDS[-2:], 224)
SIDES["efficientformerv2_s0"] = 224  # whose attention is made for that size
SCALARS = re.compile(r"gamma|layer_scale|gain|skipinit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", help="only these, separated by commas")
    parser.add_argument("--exporter", choices=[*EXPORTERS, "both"], default="both")
    parser.add_argument("--timm", action="store_true", help="those of timm as well")
    parser.add_argument(
        "--hybrids", action="store_true", help="those with attention or norms alone"
    )
    parser.add_argument("--norm-statistics", choices=get_args(NormStatistics), default="lock")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--method", default="l1", help="the cut is the same for every method")
    parser.add_argument("--redo", action="store_true", help="measure rows that are there again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "coverage.json")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "coverage.md")
    arguments = parser.parse_args()

    settings = {"sparsity": arguments.sparsity, "method": arguments.method}
    if arguments.norm_statistics != "lock":
        settings["norm_statistics"] = arguments.norm_statistics
    document = Document(arguments.out, settings)
    sources = dict.fromkeys(TORCHVISION, "torchvision") | dict.fromkeys([*TIMM, *HYBRIDS], "timm")
    sources |= MORE_HYBRIDS
    listed = (
        [*HYBRIDS, *MORE_HYBRIDS]
        if arguments.hybrids
        else [*TORCHVISION, *(TIMM if arguments.timm else [])]
    )
    names = arguments.models.split(",") if arguments.models else listed
    if unknown := [name for name in names if name not in sources]:
        parser.error(f"not in the lists of this script: {', '.join(unknown)}")
    jobs = [
        {
            "library": sources[name],
            "model": name,
            "exporter": exporter,
            "side": SIDES.get(name, SIDE),
        }
        for name in names
        for exporter in EXPORTERS
        if arguments.exporter in (exporter, "both")
    ]
    done = [] if arguments.redo else [key(row) for row in document.rows]
    jobs = [job for job in jobs if key(job) not in done]
    for k, job in enumerate(jobs, 1):
        row = job | apart(job, settings)
        document.add(row)
        print(f"{k}/{len(jobs)}", *cells(row), flush=True)
    written = arguments.table.read_text(encoding="utf-8") if arguments.table.exists() else ""
    rest = "".join(written.partition(BY_HAND)[1:])
    made = page(document.about, document.rows, settings, arguments.out.name)
    text = f"{made}\n{rest}" if rest else made
    arguments.table.write_text(text, encoding="utf-8")


class Document:
    """The JSON file: what was asked, where it was measured, and one row per line."""

    def __init__(self, path: Path, settings: Row) -> None:
        self.path, self.settings = path, settings
        self.about: Row = {}
        self.rows: list[Row] = []
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            self.about, self.rows = content["about"], content["rows"]
            if self.about["settings"] != settings:
                sys.exit(f"{path} was measured with {self.about['settings']}; give another --out")

    def add(self, row: Row) -> None:
        """Put the row in place of an older one of the same export, and write the file."""
        self.rows = [r for r in self.rows if key(r) != key(row)] + [row]
        order = [*TORCHVISION, *TIMM, *HYBRIDS, *MORE_HYBRIDS]
        self.rows.sort(key=lambda r: (order.index(r["model"]), r["exporter"] == "dynamo"))
        dynamo = ["onnxscript"] * any(r["exporter"] == "dynamo" for r in self.rows)
        packages = ["torch", *libraries(self.rows), "onnx", *dynamo, "onnxruntime", "numpy"]
        self.about = {
            "settings": self.settings,
            "date": date.today().isoformat(),
            "python": platform.python_version(),
            "packages": {"reprune-onnx": rp.__version__} | {p: version(p) for p in packages},
            "machine": machine(),
        } | ({"lists": " --hybrids"} if self.rows[0]["model"] in HYBRIDS else {})
        lines = ",\n".join(f"    {json.dumps(r, ensure_ascii=False)}" for r in self.rows)
        text = f'{{\n  "about": {json.dumps(self.about)},\n  "rows": [\n{lines}\n  ]\n}}\n'
        beside = self.path.with_suffix(".tmp")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path)


def key(row: Row) -> tuple[str, str]:
    return row["model"], row["exporter"]


def machine() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return f"{[*names, platform.processor()][0]}, {os.cpu_count()} cores"


def apart(job: Row, settings: Row) -> Row:
    """`measure` in a process of its own: its memory returns, and it may die or never end."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(measure(job, settings)))
    child.start()
    theirs.close()
    try:
        ended = ours.poll(LIMIT)
        return ours.recv() if ended else {"result": "crash", "message": f"not done in {LIMIT} s"}
    except EOFError:
        child.join()
        return {"result": "crash", "message": f"the process ended with {child.exitcode}"}
    finally:
        child.kill()
        child.join()


def measure(job: Row, settings: Row) -> Row:
    """Build, export, prune; everything that may happen is a result."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{job['model']}.onnx"
        try:
            with torch.no_grad():
                net, x = build(job)
                exported = export(net, x, job["exporter"], path)
        except Exception as error:  # whatever the exporter raises is this row's result
            return {"result": "not exported", "message": sentence(error)}
        norms = any(isinstance(m, nn.LayerNorm) for m in net.modules())
        del net
        row = exported | {"layer_norm": norms, "megabytes": round(path.stat().st_size / 1e6, 1)}
        try:
            return row | prune(path, settings)
        except Exception as error:  # also a crash is this row's result
            kind = "refused" if isinstance(error, rp.RepruneError) else "crash"
            kind = "not proven" if isinstance(error, VerificationError) else kind
            return row | {"result": kind, "message": sentence(error)}


def build(job: Row) -> tuple[nn.Module, torch.Tensor]:
    """The network with random weights, and images for it."""
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    name = job["model"]
    if job["library"] in MAKERS:
        net = MAKERS[job["library"]](name)
    elif hasattr(torchvision.models.segmentation, name):
        dense = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        net = Only(dense, "out")
    else:
        training = ("aux_logits", "init_weights") if name in ("googlenet", "inception_v3") else ()
        net = torchvision.models.get_model(name, weights=None, **dict.fromkeys(training, False))
    x = torch.randn(4, 3, job["side"], job["side"])
    enliven(net.eval(), x)
    return net, x[:2]


def _of_timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)


def _of_ultralytics(name: str) -> nn.Module:
    """From its yaml, with the head that it exports."""
    from ultralytics import RTDETR, YOLO

    net = (RTDETR if name.startswith("rtdetr") else YOLO)(f"{name}.yaml").model.float()
    for module in net.modules():
        if hasattr(module, "export"):
            module.export, module.format = True, "onnx"
    return net


def _of_transformers(name: str) -> nn.Module:
    """From the configuration that its class has by default."""
    import transformers as t

    made = {
        "segformer-b0": lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig()),
        "cvt-13": lambda: t.CvtForImageClassification(t.CvtConfig()),
    }
    return Only(made[name](), "logits")


MAKERS = {
    "timm": _of_timm,
    "ultralytics": _of_ultralytics,
    "transformers": _of_transformers,
}


class Only(nn.Module):
    """One output of a network that returns several by name."""

    def __init__(self, net: nn.Module, output: str) -> None:
        super().__init__()
        self.net, self.output = net, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[self.output]


def enliven(net: nn.Module, x: torch.Tensor) -> None:
    """Draw γ and β, and let one pass over ``x`` set weights and statistics to the data's scale.

    Untrained networks fade out or blow up, and their residual branches may start at zero: then
    nothing would be seen of a wrong cut.
    """

    def rescale(conv: nn.Module, _: Any, y: torch.Tensor) -> torch.Tensor:
        std = y.std().clamp(1e-4, 1e4)
        for parameter in conv.parameters():
            parameter.div_(std)
        return y / std

    for norm in (m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 1.0
        norm.train()
        if norm.affine:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0.0, 0.2)
    for name, parameter in net.named_parameters():
        if parameter.ndim == 0 or SCALARS.search(name.split(".")[-1]):
            parameter.uniform_(0.5, 1.0)
    hooks = [m.register_forward_hook(rescale) for m in net.modules() if type(m) is nn.Conv2d]
    net(x)
    for hook in hooks:
        hook.remove()
    net.eval()


def export(net: nn.Module, x: torch.Tensor, exporter: str, path: Path) -> Row:
    """Write the file, with a symbolic batch size where the exporter can, and say which."""
    options: Row = {"input_names": ["x"], "output_names": ["y"]}
    if exporter == "torchscript":
        options |= {"dynamo": False, "opset_version": OPSET, "do_constant_folding": False}
        options |= {"training": torch.onnx.TrainingMode.PRESERVE}
        options |= {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    else:
        options |= {"dynamo": True, "verbose": False, "external_data": False}
        options |= {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    try:
        torch.onnx.export(net, (x,), str(path), **options)
    except Exception:  # the exporter raises anything over a symbolic batch size
        if not options.pop("dynamic_shapes", None):
            raise
        torch.onnx.export(net, (x,), str(path), **options)
        return {"batch": "fixed"}
    return {"batch": "symbolic"}


def prune(path: Path, settings: Row) -> Row:
    """Prune the file and take from the report what the table needs."""
    model = rp.load(path)
    norms = {"norm_statistics": "lock"} | settings
    asked = rp.Settings(recover="none", residual="prune", allocation="uniform", **norms)
    report = rp.prune(model, asked).report
    convs = [layer for layer in report["layers"] if layer["op"].startswith("Conv")]
    unpruned = {layer["node"] for layer in convs if len(set(layer["out_channels"])) == 1}
    scope = rp.Scope(residual="prune", norm_statistics=asked.norm_statistics)
    reasons = stays(rp.analyze(model, scope), unpruned)
    before, after, proof = report["before"], report["after"], report["verification"]
    return {
        "result": "pruned",
        "convs": len(convs),
        "convs_cut": len(convs) - len(unpruned),
        "macs": round(after["macs"] / before["macs"], 4),
        "params": round(after["params"] / before["params"], 4),
        "difference": float(f"{proof['max_abs_diff'] / proof['scale']:.3g}"),
        "control": float(f"{proof['negative_control'] / proof['scale']:.3g}"),
        "seconds": round(report["seconds"]["total"], 1),
        "convs_of_outputs": reasons.pop(OUTPUT, 0),
        "stays": dict(reasons.most_common()),
    }


OUTPUT = "the channels of graph output stay"


def stays(channels: rp.ChannelMap, unpruned: set[str]) -> Counter[str]:
    """The number of Convs ``unpruned`` by the reason that they stay: the one of most channels."""
    reasons: Counter[str] = Counter()
    for layer in [x for x in channels.layers if x.name in unpruned]:
        held: Counter[str] = Counter()
        for lock in channels.locks:
            n = len(np.intersect1d(layer.out_ids, lock.ids))
            held[re.sub(r" '[^']*'", "", lock.reason)] += n
        best = OUTPUT if held[OUTPUT] else max(held, key=held.__getitem__, default="")
        reasons[best if held[best] else "no lock: the allocation left it whole"] += 1
    return reasons


def sentence(error: Exception) -> str:
    text = next((part for part in str(error).splitlines() if part.strip()), "")
    return f"{type(error).__name__}: {text[:400]}"


if __name__ == "__main__":
    main()
