"""The judge of a pruned file: the original, its layers fed zeros where channels went.

It reads the report's cuts and the two files, and knows nothing of labels. Layers are told apart by
what they make, because a cut never changes the name of an output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from random_recipes import BATCH, SIDE
from summed_oracle import mask_sums

import reprune_onnx as rp
from reprune_onnx.errors import VerificationError

Array = NDArray[Any]
Feeds = Mapping[str, Array]
_DRAWS = 6  # of last digits


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


def random_images(n: int, model: onnx.ModelProto) -> list[Feeds]:
    """Inputs of a random graph: images, and lengths from 1 to their sides."""
    rng = np.random.default_rng(17)
    constants = {t.name for t in model.graph.initializer}
    ports = [i for i in model.graph.input if i.name not in constants]
    ranks = {i.name: len(i.type.tensor_type.shape.dim) for i in ports}

    def drawn(name: str) -> Array:
        if ranks[name] == 4:
            return rng.standard_normal((BATCH, 3, SIDE, SIDE)).astype(np.float32)
        kind = next(i for i in ports if i.name == name).type.tensor_type.elem_type
        return rng.integers(1, SIDE + 1, BATCH).astype(helper.tensor_dtype_to_np_dtype(kind))

    return [{name: drawn(name) for name in ranks} for _ in range(n)]


def input_axes(node: onnx.NodeProto) -> list[tuple[int, int]]:
    """(input, axis) of a layer's weights along which only the channels that it reads are counted.

    A recurrent layer also reads its own hidden units.
    """
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type in ("Conv", "FusedConv"):
        return [(1, 1)]
    if node.op_type in ("ConvTranspose", "Einsum") or _holds_matrix(node):
        return [(1, 0)]
    if node.op_type in ("Gemm", "FusedGemm", "MatMul", "FusedMatMul"):
        return [(1, 1 if attributes.get("transB", 0) else 0)]
    return [(1, 2), (2, 2)] if node.op_type in ("LSTM", "GRU", "RNN") else []


def _holds_matrix(node: onnx.NodeProto) -> bool:
    """Attention of com.microsoft makes queries, keys and values itself."""
    return node.op_type == "Attention" and node.domain == "com.microsoft"


def nodes_within(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the bodies in it, whose tensors have names of their own."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_within(attribute.g)


def result(node: onnx.NodeProto) -> str:
    """The first output that a node has: a recurrent layer may make nothing but its last state."""
    return next(name for name in node.output if name)


def _name_in_body(name: str) -> str:
    """The name in its body of what each round of a loop makes, where that is written out.

    All rounds read the same weights, so that the first one tells of all.
    """
    return name.rpartition("/")[2]


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    """Initializers and Constant nodes by name."""
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in nodes_within(proto.graph):
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return tensors


def computed(proto: onnx.ModelProto, names: set[str], feeds: Feeds) -> dict[str, Array]:
    """What the graph computes of constants, in ONNX Runtime."""
    if not names:
        return {}
    more = with_outputs(proto, sorted(names))
    del more.graph.output[: len(proto.graph.output)]
    return dict(zip(sorted(names), run(more, [feeds])[0], strict=True))


def masked(original: onnx.ModelProto, result: rp.Pruned, feeds: Feeds) -> onnx.ModelProto:
    """The original, with zeros where layers, and products of activations, met channels that went.

    Each reads a weight of its own, so that what another layer makes of a shared weight is not
    touched. ``feeds`` are any inputs that the model takes.
    """
    proto, changed = (_with_zeros(original, result, feeds, other) for other in (0.0, 3.0))
    pruned = result.model.proto
    mask_sums(proto, changed, pruned, lambda model, names: computed(model, names, feeds))
    return proto


def _with_zeros(
    original: onnx.ModelProto, pruned: rp.Pruned, feeds: Feeds, other: float
) -> onnx.ModelProto:
    """The original, with zeros in weights where layers met channels that went.

    The rest of what was cut away has random values added, of the size ``other``. They are positive:
    a variance below zero makes NaN of its channel, and zero times NaN of all that a layer makes.
    """
    cuts: dict[str, list[tuple[int, list[int]]]] = {}
    for cut in pruned.report["cuts"]:
        cuts.setdefault(cut["initializer"], []).append((cut["axis"], cut["keep"]))
    proto = onnx.ModelProto()
    proto.CopyFrom(original)
    nodes = {result(node): node for node in nodes_within(pruned.model.proto.graph)}
    for node in list(nodes.values()):  # a name of a file's own may hold a slash, and goes first
        nodes.setdefault(_name_in_body(result(node)), node)
    wanted = []
    for node in nodes_within(proto.graph):
        read = set(input_axes(node))
        here = nodes.get(result(node))
        for i, name in enumerate(node.input if here is None else here.input):
            axes = cuts.get(name, [])
            if here is None:  # of a branch that went as a whole: its last layers met no channel
                axes = [(axis, keep) for axis, keep in axes if not keep and (i, axis) in read]
            if any((i, axis) in read for axis, _ in axes) or (other and axes):
                wanted.append((node, i, axes, read))
    arrays = constants(original)
    names = {node.input[i] for node, i, _, _ in wanted} - arrays.keys()
    made = {name for node in original.graph.node for name in node.output}
    arrays |= computed(original, names & made, feeds)
    in_rounds = names - made  # other parts of a constant in each round, which stay as they are
    rng = np.random.default_rng(0)
    for node, i, axes, read in wanted:
        if node.input[i] in in_rounds:
            continue
        array = arrays[node.input[i]].copy()
        for axis, keep in sorted(axes, key=lambda a: (i, a[0]) in read):  # zeros come last
            dropped = np.setdiff1d(np.arange(array.shape[axis]), keep)
            rows = np.moveaxis(array, axis, 0)
            if (i, axis) in read:
                rows[dropped] = 0
            elif other:
                rows[dropped] += other * np.abs(rng.standard_normal(rows[dropped].shape))
        node.input[i] = f"{result(node)}_masked{i}"
        tensor = numpy_helper.from_array(array, node.input[i])
        proto.graph.initializer.append(tensor)
        if proto.ir_version < 4:
            proto.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, array.shape)
            )
    return proto


def behind_cuts(right: onnx.ModelProto, found: rp.Pruned, feeds: Feeds) -> list[str]:
    """The tensors that layers make of the channels that are left, and that lost nothing themselves.

    They are the same in the masked original, ``right``. What follows may hide a wrong channel:
    means of a normalized map are its bias, whatever the image.
    """
    pruned = found.model.proto
    cut = {(c["initializer"], c["axis"]) for c in found.report["cuts"]}
    made = {name for node in right.graph.node for name in node.output}
    names = {
        result(node)
        for node in pruned.graph.node
        if any(len(node.input) > i and (node.input[i], a) in cut for i, a in input_axes(node))
    }
    names = names & made - {o.name for o in pruned.graph.output}
    one, other = (computed(model, names, feeds) for model in (right, pruned))
    return sorted(name for name in names if one[name].shape == other[name].shape)


def with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of a model that makes these tensors too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def own_rounding(proto: onnx.ModelProto, inputs: Sequence[Feeds]) -> float:
    """What a model makes of the last digit of its inputs and weights: rounding, amplified.

    A normalization of what hardly varies divides by almost nothing, and a choice of the largest of
    equals falls on another: there two exact computations of the same differ by more than usual.
    The digits are drawn several times, for a choice may stay as it was.
    """
    rng = np.random.default_rng(0)
    last = np.finfo(np.float32).eps / 2

    def moved(v: Array) -> Array:
        off = 1 + last * rng.choice([-1, 1], v.shape)
        return (v * off).astype(v.dtype) if v.dtype.kind == "f" else v

    made, worst = run(proto, inputs), 0.0
    for _ in range(_DRAWS):
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        for tensor in other.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved(array), tensor.name))
        again = [{k: moved(v) for k, v in feeds.items()} for feeds in inputs]
        worst = max(worst, difference(made, run(other, again)))
    return worst


def difference(a: Sequence[Sequence[Array]], b: Sequence[Sequence[Array]]) -> float:
    """The largest difference of any output, as a share of that output's largest magnitude.

    ``a`` and ``b`` hold the outputs of several runs. Shapes must agree, and where values are not
    finite; it is infinite where that differs, or where nothing is left to compare.
    """
    worst = []
    for expected, value in zip(zip(*a, strict=True), zip(*b, strict=True), strict=True):
        assert [x.shape for x in expected] == [y.shape for y in value]
        x, y = (np.concatenate([np.ravel(v) for v in w]).astype(float) for w in (expected, value))
        finite = np.isfinite(x)
        if not np.array_equal(finite, np.isfinite(y)):
            return float("inf")
        x, y = x[finite], y[finite]
        if x.size:
            worst.append(float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-12)))
    return max(worst, default=float("inf"))
