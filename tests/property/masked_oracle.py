"""The judge of a pruned file: the original, its layers fed zeros where channels went.

It reads the report's cuts and the two files, and knows nothing of labels. Layers are told apart by
what they make, because a cut never changes the name of an output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from random_recipes import BATCH, SIDE

import reprune_onnx as rp
from reprune_onnx.errors import VerificationError

Array = NDArray[Any]
Feeds = Mapping[str, Array]


def prune_and_prove(original: onnx.ModelProto, request: rp.Settings) -> tuple[rp.Pruned, bool]:
    """The result, and whether it could be proven.

    A cut that hardly shows (about one random graph in two thousand) is refused, because no control
    tells it from a wrong one. Here it is let through, and the oracle is the judge.
    """
    try:
        return rp.prune(rp.Model(original), request), request.verify
    except VerificationError as error:
        assert "nothing could be proven" in str(error), str(error)
        return rp.prune(rp.Model(original), replace(request, verify=False)), False


def run(proto: onnx.ModelProto, inputs: Sequence[Feeds]) -> list[list[Array]]:
    """All outputs that are tensors, for each of the ``inputs``, as the graph stands in the file."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs() if o.type.startswith("tensor(")]
    return [[np.asarray(y) for y in session.run(names, dict(feeds))] for feeds in inputs]


def random_images(n: int) -> list[Feeds]:
    """Inputs of the random graphs."""
    rng = np.random.default_rng(17)
    shape = (BATCH, 3, SIDE, SIDE)
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(n)]


def input_axes(node: onnx.NodeProto) -> list[tuple[int, int]]:
    """(input, axis) of a layer's weights along which only the channels that it reads are counted.

    A recurrent layer also reads its own hidden units.
    """
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type in ("Conv", "FusedConv"):
        return [(1, 1)]
    if node.op_type in ("ConvTranspose", "Einsum"):
        return [(1, 0)]
    if node.op_type in ("Gemm", "FusedGemm", "MatMul", "FusedMatMul"):
        return [(1, 1 if attributes.get("transB", 0) else 0)]
    return [(1, 2), (2, 2)] if node.op_type in ("LSTM", "GRU", "RNN") else []


def result(node: onnx.NodeProto) -> str:
    """The first output that a node has: a recurrent layer may make nothing but its last state."""
    return next(name for name in node.output if name)


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    """Initializers and Constant nodes by name."""
    found = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def computed(proto: onnx.ModelProto, names: set[str], feeds: Feeds) -> dict[str, Array]:
    """What the graph computes of constants, in ONNX Runtime."""
    if not names:
        return {}
    more = onnx.ModelProto()
    more.CopyFrom(proto)
    del more.graph.output[:]
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
    return dict(zip(sorted(names), run(more, [feeds])[0], strict=True))


def masked(original: onnx.ModelProto, found: rp.Pruned, feeds: Feeds) -> onnx.ModelProto:
    """The original, with zeros where the cut layers met the channels that went.

    Each reads a weight of its own, so that what another layer makes of a shared weight is not
    touched. ``feeds`` are any inputs that the model takes.
    """
    cuts = {(c["initializer"], c["axis"]): c["keep"] for c in found.report["cuts"]}
    proto = onnx.ModelProto()
    proto.CopyFrom(original)
    layers = {result(n): n for n in found.model.proto.graph.node if input_axes(n)}
    wanted = []
    for node in proto.graph.node:
        for i, axis in input_axes(node):
            keep = cuts.get((layers[result(node)].input[i], axis))
            if keep is not None:
                wanted.append((node, i, axis, keep))
    arrays = constants(original)
    names = {node.input[i] for node, i, _, _ in wanted}
    arrays |= computed(original, names - arrays.keys(), feeds)
    for node, i, axis, keep in wanted:
        array = arrays[node.input[i]].copy()
        dropped = np.setdiff1d(np.arange(array.shape[axis]), keep)
        np.moveaxis(array, axis, 0)[dropped] = 0
        node.input[i] = f"{result(node)}_masked{i}"
        tensor = numpy_helper.from_array(array, node.input[i])
        proto.graph.initializer.append(tensor)
        if proto.ir_version < 4:
            proto.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, array.shape)
            )
    return proto


def own_rounding(proto: onnx.ModelProto, inputs: Sequence[Feeds]) -> float:
    """What a model makes of the last digit of its inputs: their rounding, and its own, amplified.

    A normalization of what hardly varies divides by almost nothing: there two exact computations of
    the same differ by more than usual.
    """
    rng = np.random.default_rng(0)
    last = np.finfo(np.float32).eps / 2

    def moved(v: Array) -> Array:
        off = 1 + last * rng.choice([-1, 1], v.shape)
        return (v * off).astype(v.dtype) if v.dtype.kind == "f" else v

    again = [{k: moved(v) for k, v in own.items()} for own in inputs]
    return difference(run(proto, inputs), run(proto, again))


def difference(a: Sequence[Sequence[Array]], b: Sequence[Sequence[Array]]) -> float:
    """The largest difference of any output, as a share of that output's largest magnitude.

    ``a`` and ``b`` hold the outputs of several runs. Shapes must agree, and where values are not
    finite; it is infinite where that differs, or where nothing is left to compare.
    """
    worst = []
    for expected, found in zip(zip(*a, strict=True), zip(*b, strict=True), strict=True):
        assert [x.shape for x in expected] == [y.shape for y in found]
        x, y = (np.concatenate([np.ravel(v) for v in w]).astype(float) for w in (expected, found))
        finite = np.isfinite(x)
        if not np.array_equal(finite, np.isfinite(y)):
            return float("inf")
        x, y = x[finite], y[finite]
        if x.size:
            worst.append(float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-12)))
    return max(worst, default=float("inf"))
