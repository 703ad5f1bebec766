"""Verify a pruned file against its original and the report of the pruning."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer import Scope, channels_of, graph_of
from reprune_onnx.analyzer.copies import copies, unshared, with_own_parameters
from reprune_onnx.analyzer.dequantized import Dequantized, dequantized, float_network
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.analyzer.hoist import hoisted_proto
from reprune_onnx.errors import ArgumentError, SelectionError, VerificationError
from reprune_onnx.model import ModelLike, as_model
from reprune_onnx.note import Note
from reprune_onnx.precision import as_float32
from reprune_onnx.pruner.earlier import EarlierReport, earlier_report, keep_by_cuts
from reprune_onnx.report.fields import ReportLike
from reprune_onnx.report.files import report_path
from reprune_onnx.results import CutNetwork, Verification
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.tail import Tail, find_tail, head_of
from reprune_onnx.surgeon import cut
from reprune_onnx.types import Model
from reprune_onnx.verification.cut import check, verify_cut
from reprune_onnx.verification.inputs import runs
from reprune_onnx.watch import Progress

_INTEGERS = {onnx.TensorProto.INT64, onnx.TensorProto.INT32}


@dataclass(frozen=True)
class FileVerification:
    """The result, None where ``changed`` tensors were recovered or trained since the cut.

    Then the structure is that of the cut and the model runs; more cannot be said. ``note`` is said
    of a model that was run up to its tail.
    """

    result: Verification | None
    changed: int
    note: Note | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields in JSON's types."""
        return asdict(self)


def verify(
    original: ModelLike,
    pruned: ModelLike,
    report: ReportLike | EarlierReport | None = None,
    progress: Progress | None = None,
) -> FileVerification:
    """Check a pruned file against its original and the report of the pruning.

    Without a ``report`` it is the one beside the file ``pruned``. The structure must be what the
    report's cuts make of the original. Where the values are those of the cut too, the masked
    original is compared; where they were recovered or trained since, the model is run, and
    ``changed`` tells how many tensors have other values. Raises VerificationError where anything
    differs, SelectionError where the report belongs to another model.
    """
    if report is None:
        if not isinstance(pruned, (str, PathLike)):
            raise ArgumentError(
                "report is missing: give what prune returned, its report, or a path; only beside a"
                " pruned file is it found"
            )
        report = report_path(Path(pruned))
    models = as_model(original, "original"), as_model(pruned, "pruned")
    pair = matched(*models, earlier_report(report))
    network = pair.network
    if pair.changed:
        session = Session(as_float32(network.pruned.proto), optimize=False)
        list(runs(pair.original.proto, session, network.channels.input_shapes))
        return FileVerification(None, pair.changed, pair.note)
    result = verify_cut(network, progress)
    check(result)
    return FileVerification(result, 0, pair.note)


@dataclass(frozen=True)
class Pair:
    """An original without local functions, and what a file has left of it.

    ``changed`` tensors of the pruned model have other values than the cut gives them. Both are
    without the ``tail``, where ONNX Runtime lacks operators at the original's end, and of a
    ``quantized`` model they are float networks.
    """

    original: Model
    network: CutNetwork
    changed: int
    tail: Tail | None = None
    quantized: Dequantized | None = None

    @property
    def note(self) -> Note | None:
        """The sentence about the tail, if there is one."""
        return None if self.tail is None else self.tail.note

    def with_tail(self, pruned: Model) -> Model:
        """Return ``pruned``, changed or not, with the tail that its file has."""
        return pruned if self.tail is None else self.tail.put_back(pruned)


def matched(original: Model, pruned: Model, report: EarlierReport) -> Pair:
    """Return what the report says of the two, once the structure shows that it is about them.

    Raises VerificationError for another structure, SelectionError for another model's report.
    """
    if report.source_sha256 and original.sha256 not in ("", report.source_sha256):
        raise SelectionError(
            f"the report is about a model with sha256 {report.source_sha256[:12]}…, but"
            f" '{original.path}' has {original.sha256[:12]}…: give the file that was pruned"
        )
    tail = find_tail(original)
    original = written_out(original if tail is None else tail.head)
    quantized = dequantized(original)
    if quantized is not None:
        original = quantized.network
    pruned = float_network(pruned)
    try:
        try:
            return replace(_pair(original, pruned, report, tail), quantized=quantized)
        except VerificationError:
            apart = with_own_parameters(original)  # as `train` has them from the beginning
            if apart is original:
                raise
            return _pair(apart, pruned, report, tail)
    except VerificationError as error:
        raise VerificationError(
            f"{error}: the report tells of another file; give the one that was written with"
            " this file"
        ) from error


def _pair(original: Model, pruned: Model, report: EarlierReport, tail: Tail | None) -> Pair:
    graph = graph_of(original)
    channels = channels_of(graph, _scope(report))
    keep = keep_by_cuts(graph, channels, report.cuts, "the report")
    expected = cut(original, graph, channels, keep).model
    if tail is not None:
        expected = tail.put_back(expected)
    changed = _compare_structure(expected.proto, pruned.proto)
    return Pair(original, CutNetwork(graph, channels, keep, head_of(pruned)), changed, tail)


def _scope(report: EarlierReport) -> Scope:
    s = report.settings
    try:
        return Scope(
            residual=s.get("residual", "prune"),
            norm_statistics=s.get("norm_statistics", "lock"),
            include=tuple(str(glob) for glob in s.get("include", ())),
            exclude=tuple(str(glob) for glob in s.get("exclude", ())),
            input_shapes={str(name): tuple(shape) for name, shape in s.get("input_shapes", ())},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise SelectionError(
            f"the report's settings are damaged ({error}): give the report of the pruning"
        ) from error


def _compare_structure(expected: onnx.ModelProto, pruned: onnx.ModelProto) -> int:
    """The number of float tensors with other values; VerificationError for another structure."""
    expected, pruned = hoisted_proto(expected), hoisted_proto(pruned)
    expected = unshared(
        expected, copies(expected).keys() & _weights(pruned).keys()
    )  # training parts copies
    a, b = _signature(expected), _signature(pruned)
    for k, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            raise VerificationError(
                f"the graph has {_short(y)}, where the report's cuts make {_short(x)} (place {k})"
            )
    if len(a) != len(b):
        raise VerificationError(
            f"{len(b)} inputs, outputs and nodes, but the report's cuts leave {len(a)}"
        )
    changed, weights = 0, _weights(pruned)
    for tensor in _weights(expected).values():
        other = weights.get(tensor.name)
        if other is None or list(other.dims) != list(tensor.dims):
            shape = "missing" if other is None else f"of shape {list(other.dims)}"
            raise VerificationError(
                f"tensor '{tensor.name}' is {shape}, but the report's cuts make it"
                f" {list(tensor.dims)}"
            )
        same = np.array_equal(to_array(tensor), to_array(other))
        if not same and tensor.data_type in _INTEGERS:
            raise VerificationError(f"integers of tensor '{tensor.name}' differ from the cut's")
        changed += not same
    return changed


def _weights(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers, and the values of Constant nodes by the name of what they make."""
    tensors = {t.name: t for t in proto.graph.initializer}
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                tensor = onnx.TensorProto()
                tensor.CopyFrom(attribute.t)
                tensor.name = node.output[0]
                tensors[tensor.name] = tensor
    return tensors


def _signature(proto: onnx.ModelProto) -> list[tuple[str, ...]]:
    """The graph's inputs and outputs, and each node with its attributes.

    Of a tensor attribute only type and shape count: its values may have been trained.
    """
    ends = [
        (kind, value.name, value.type.SerializeToString(deterministic=True).hex())
        for kind, values in (("input", proto.graph.input), ("output", proto.graph.output))
        for value in values
    ]
    nodes = [
        (n.op_type, n.name, *n.input, *n.output, *(_attribute(a) for a in n.attribute))
        for n in proto.graph.node
    ]
    return ends + nodes


def _attribute(attribute: onnx.AttributeProto) -> str:
    if attribute.HasField("t") and attribute.t.data_type not in _INTEGERS:
        return f"{attribute.name}: {attribute.t.data_type} {list(attribute.t.dims)}"
    return str(attribute.SerializeToString(deterministic=True).hex())


def _short(signature: tuple[str, ...]) -> str:
    return " ".join(signature[:4])[:120]
