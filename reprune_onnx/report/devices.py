"""Tables in the terminal of device targets, and of files made for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import onnx
from rich.table import Column, Table

from reprune_onnx.analyzer.quantized import counted, quantized_nodes
from reprune_onnx.deployment.convert import Converted
from reprune_onnx.report.terminal import Terminal
from reprune_onnx.rounding import Rounding
from reprune_onnx.targets import Target

_HOW = {
    "onnxruntime": "runs the file",
    "tensorrt": "build (TensorRT {})",
    "trtexec": "bundle (TensorRT {})",
}

_SHOWN = 10  # nodes that the terminal names
_KEPT = {False: "stays float32", True: "leaves the range of fp16 on the device"}
_KEPT_ALL = {False: "stay float32", True: "leave the range of fp16 on the device"}


def print_targets(targets: Sequence[Target]) -> None:
    """Print one row per target."""
    name = Column("target", no_wrap=True)
    table = Table(name, "device", "precisions", "widths, multiples of", "opset", "IR", "how")
    for t in targets:
        rounding = {p: _multiples(t.rounding_in(p)) for p in t.precisions}
        table.add_row(
            t.name,
            t.description,
            ", ".join(t.precisions),
            ", ".join(f"{n} {p}" for p, n in rounding.items()),
            f"≤ {t.limits.opset}" if t.limits.opset else "any",
            f"≤ {t.limits.ir}" if t.limits.ir else "any",
            _HOW[t.build.builder].format(t.build.tensorrt),
        )
    Terminal().print(table)


def _multiples(rounding: Rounding) -> str:
    return f"{rounding.multiple}" + (f" or {rounding.narrow}" if rounding.narrow else "")


def print_conversion(converted: Converted, where: str) -> None:
    """Print what was changed, and by how much the result differs."""
    print = partial(Terminal().print, soft_wrap=True)
    for note in converted.notes:
        print(f"note: {note}")
    for change in converted.rewritten:
        name = f"{change['node']}: " if change["node"] else ""
        print(f"{name}{change['before']} → {change['after']}")
    print(
        f"differs by {converted.difference:.2g} of its output's scale"
        f" ({converted.allowed:g} is allowed)"
    )
    if converted.error is not None:
        print(f"int8 changes the output by {converted.error:.1%} on the calibration images")
    if converted.flag or converted.precision == "int8":
        print(
            _WHERE[converted.precision](converted.model.proto) + (_ASKED if converted.flag else "")
        )
    for node in converted.beyond[:_SHOWN]:
        print(f"{node.op} '{node.node}' {_KEPT[bool(converted.flag)]}: {node.reason}")
    if len(converted.beyond) > _SHOWN:
        more = len(converted.beyond) - _SHOWN
        print(f"{more} more nodes {_KEPT_ALL[bool(converted.flag)]}: --json names them")
    print(f"wrote {where}")


def _where_half_is(proto: onnx.ModelProto) -> str:
    half = sum(t.data_type == onnx.TensorProto.FLOAT16 for t in proto.graph.initializer)
    return f"fp16 is in the file ({half} weights)" if half else "fp16 is not in the file"


def _where_int8_is(proto: onnx.ModelProto) -> str:
    return f"int8 is in the file ({counted(quantized_nodes(proto))})"


_WHERE = {"fp16": _where_half_is, "int8": _where_int8_is}
"""Whether what the device computes in stands in the file."""

_ASKED = ": it is asked for when the engine is built"


def print_bundle(manifest: Mapping[str, Any], where: str) -> None:
    """Print what is in a bundle, and what to do with it."""
    print = partial(Terminal().print, soft_wrap=True)
    for m in manifest["models"]:
        batches = ", ".join(map(str, m["batches"]))
        print(
            f"{m['name']}: opset {m['opset']}, IR {m['ir']}, differs by {m['difference']:.2g} of"
            f" its output's scale; {', '.join(m['precisions'])} at batch {batches}",
        )
        if m["note"]:
            print(f"note: {m['note']}")
    print(f"wrote {where}: copy it to the device and run `sh run.sh` there")


def print_engine(facts: Mapping[str, Any], where: str) -> None:
    """Print what an engine was built for, and how it compares."""
    print = partial(Terminal().print, soft_wrap=True)
    batch, check = facts["batch_size"], facts["check"]
    print(
        f"{facts['precision']} for {facts['gpu']['name']} by TensorRT {facts['tensorrt']}, batch"
        f" {batch['min']} to {batch['max']}, tuned for {batch['opt']}",
    )
    if facts["note"]:
        print(f"note: {facts['note']}")
    if check["difference"] is None:
        print("no output was compared: all stand behind what ONNX Runtime lacks")
    else:
        print(
            f"differs from ONNX Runtime by {check['difference']:.2g} of its output's scale"
            f" ({check['allowed']:g} is allowed)"
        )
    print(f"wrote {where} ({facts['engine']['bytes']:,} bytes) and {where}.json")
