"""Tiny networks around one op, and what pruning makes of them.

In each, half of the eight channels of ``c`` are weak: 1, 3, 4 and 6. They go where the rule lets
channels go, and stay, with a reason, where it does not. Another layer before it can always lose
channels, so that pruning never has nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from ort_version import ort_is_older_than

import reprune_onnx as rp

WEAK = [1, 3, 4, 6]
STRONG = [0, 2, 5, 7]
ALL = list(range(8))


@dataclass(frozen=True)
class Case:
    """``body`` makes ``z`` of ``c`` (1, 8, 8, 8); a Conv reads ``z`` unless ``body`` makes ``y``.

    ``weights`` are declarations; those without a value are filled with random numbers. ``n`` is
    the number of channels of ``z``, ``since`` the first ONNX Runtime that computes the op. ``keep``
    are the channels of ``c`` that are left, ``shapes`` and ``integers`` other constants after
    pruning.
    """

    name: str
    body: str
    weights: str = ""
    n: int = 8
    opset: int = 17
    since: str = "1.20"
    keep: list[int] = field(default_factory=lambda: STRONG)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    integers: dict[str, list[int]] = field(default_factory=dict)
    functions: str = ""
    reason: str = ""
    left: int = 4


def runnable(cases: list[Case]) -> list[Any]:
    """The cases as parameters of a test; what this ONNX Runtime does not compute is skipped."""
    return [
        pytest.param(
            case,
            id=case.name,
            marks=pytest.mark.skipif(
                ort_is_older_than(case.since),
                reason=f"ONNX Runtime {case.since} is the first that computes {case.name}",
            ),
        )
        for case in cases
    ]


def network(case: Case) -> onnx.ModelProto:
    head = "" if "y = " in case.body else "y = Conv (z, head_w)"
    weights = ["float[6,3,3,3] first_w", "float[8,6,3,3] c_w", "float[8] c_b", case.weights]
    if head:
        weights.append(f"float[2,{case.n},1,1] head_w")
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8,
             opset_import: ["" : {case.opset}, "com.microsoft" : 1, "local" : 1, "other" : 1]>
        net (float[1,3,8,8] x) => (float[] y)
        <{", ".join(w for w in weights if w)}>
        {{
          [first] f = Conv <pads = [1,1,1,1]> (x, first_w)
          [subject] c = Conv <pads = [1,1,1,1]> (f, c_w, c_b)
          {case.body}
          {head}
        }}
        {case.functions}"""
    )
    _fill_declared(proto)
    proto = onnx.shape_inference.infer_shapes(proto)
    y = proto.graph.output[0]
    if not y.type.tensor_type.HasField("shape"):
        y.CopyFrom(helper.make_tensor_value_info("y", y.type.tensor_type.elem_type, list("nchw")))
    return proto


def _fill_declared(proto: onnx.ModelProto) -> None:
    rng = np.random.default_rng(4)
    made = {o for node in proto.graph.node for o in node.output}
    declared = [v for v in proto.graph.value_info if v.name not in made]
    del proto.graph.value_info[:]
    for value in declared:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:] or [1]))
        if value.name == "c_w":
            array[WEAK] *= 0.3
        if value.name == "var":
            array = np.abs(array) + 0.5
        proto.graph.initializer.append(
            numpy_helper.from_array(array.astype(np.float32), value.name)
        )


def pruned(proto: onnx.ModelProto, **more: Any) -> rp.Pruned:
    """Half of the channels go, those with the weakest filters."""
    settings = rp.Settings(
        recover="none",
        sparsity=0.5,
        method="l1",
        allocation="uniform",
        residual="prune",
        norm_statistics="lock",
    )
    return rp.prune(rp.Model(proto), replace(settings, **more))


def kept(result: rp.Pruned) -> list[int]:
    """The channels of ``c`` that are left."""
    cuts = {(c["initializer"], c["axis"]): c["keep"] for c in result.report["cuts"]}
    return list(cuts.get(("c_w", 0), ALL))


def constants(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initializers and Constant nodes by name."""
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            tensors[node.output[0]] = np.asarray(
                numpy_helper.to_array(node.attribute[0].t)
                if node.attribute[0].name == "value"
                else helper.get_attribute_value(node.attribute[0])
            )
    return tensors
