"""The negative control of every rule: with a plausible wrong one in its place, nothing is written.

Each line of the table names a rule, a way to get it wrong, and a text graph. The right rule prunes
that graph and the result is verified; with the wrong rule `prune` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rule_cases import FREE, LOCKED
from rule_graphs import Case, network, pruned, runnable

from reprune_onnx.analyzer import rules
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import varying
from reprune_onnx.analyzer.rules import RULES
from reprune_onnx.analyzer.walk import Rule, Walk
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.types import Labels

_FILLED = "a layer that reads a number in the image's shape"
_LEVELS = "maps of two levels in one tensor, as torchvision pools regions"
_ONE_HEAD = "attention with one head: its keys and queries go together"
_CORRELATION = "depthwise correlation with a template"
_BATCH = "depthwise correlation with a batch in the groups"
_SHARED = "com.microsoft's GroupQueryAttention"
_SKIPPED = "SkipLayerNormalization over the channels"
Wrong = Callable[[Rule], Rule]


def rolled(rule: Rule) -> Rule:
    """The outputs carry the labels of the neighbouring channels."""

    def wrong(op: Op, w: Walk) -> Any:
        labels = rule(op, w)
        outputs = labels if isinstance(labels, list) else [labels]
        return [_rolled(x) for x in outputs]

    return wrong


def _rolled(x: Labels | None) -> Labels | None:
    if x is None or not varying(x.ids):
        return x
    return replace(x, ids=np.roll(x.ids, 1, axis=varying(x.ids)[0]))


def one_label(rule: Rule) -> Rule:
    """The tensor is taken for one that stays as it is."""

    def wrong(op: Op, w: Walk) -> Any:
        right = rule(op, w)
        return w.fixed(op, right.shape, "stays") if isinstance(right, Labels) else right

    return wrong


def unchanged(rule: Rule) -> Rule:
    """The labels of the first input pass, as if the op computed element by element."""
    return lambda op, w: [replace(w.labels(op), shape=w.shape(op) or w.labels(op).shape)]


def indices_pass(rule: Rule) -> Rule:
    """MaxPool's indices are taken for values of their channel."""

    def wrong(op: Op, w: Walk) -> Any:
        with _deaf(w, "lock"):
            (x, *_) = rule(op, w)
        return [x] * len(op.outputs)

    return wrong


def without(what: str) -> Wrong:
    """The rule forgets to state ``what``: its ties, locks, counts or sites."""

    def wrongly(rule: Rule) -> Rule:
        def wrong(op: Op, w: Walk) -> Any:
            with _deaf(w, what):
                return rule(op, w)

        return wrong

    return wrongly


@contextmanager
def _deaf(w: Walk, what: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if what == "ties":
            patch.setattr(w.space, "tie", lambda a, b: None)
        elif what in ("grouped", "summed"):
            patch.setattr(w, what, [])
        else:
            patch.setattr(w, what, lambda *_: None)
        yield


def along(axis: int) -> Wrong:
    """The sites lie along another axis of the constant."""

    def wrongly(rule: Rule) -> Rule:
        def wrong(op: Op, w: Walk) -> Any:
            state = w.site
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(w, "site", lambda draft: state(replace(draft, axis=axis)))
                return rule(op, w)

        return wrong

    return wrongly


CASES = {case.name: case for case in FREE + LOCKED}
TABLE: list[tuple[Rule, str, Wrong, str]] = [
    (rules.conv, "rolled", rolled, "Relu"),
    (rules.conv, "no sites", without("site"), "Relu"),
    (rules.conv, "sites along the kernel", along(2), "Relu"),
    (rules.conv, "no groups", without("grouped"), "depthwise Conv"),
    (rules.conv, "no count", without("count"), "depthwise Conv"),
    (rules.conv_transpose, "rolled", rolled, "ConvTranspose reads it"),
    (rules.conv_transpose, "no sites", without("site"), "ConvTranspose reads it"),
    (rules.conv_transpose, "no count", without("count"), "depthwise ConvTranspose"),
    (rules.conv, "rolled", rolled, _CORRELATION),
    (rules.conv, "no ties", without("ties"), _CORRELATION),
    (rules.conv, "no count", without("count"), _BATCH),
    (rules.conv, "no sums", without("summed"), "correlation that sums the channels"),
    (rules.conv_transpose, "no ties", without("ties"), "depthwise ConvTranspose with a template"),
    (rules.conv_transpose, "no sums", without("summed"), "ConvTranspose with several kernels"),
    (rules.gemm, "rolled", rolled, "Gemm with the matrix as it is"),
    (rules.gemm, "no sites", without("site"), "Gemm with the matrix as it is"),
    (rules.gemm, "sites along axis 1", along(1), "Gemm with the matrix as it is"),
    (rules.matmul, "rolled", rolled, "MatMul in channels last"),
    (rules.matmul, "no sites", without("site"), "MatMul in channels last"),
    (rules.matmul, "rolled", rolled, "attention whose values are the channels"),
    (rules.matmul, "no ties", without("ties"), "two heads of attention: each stays or goes whole"),
    (rules.matmul, "no sites", without("site"), "MatMul with one matrix per channel"),
    (rules.matmul, "no locks", without("lock"), "channels times positions that are as many"),
    (rules.matmul, "no sums", without("summed"), _ONE_HEAD),
    (rules.gemm, "rolled", rolled, "Gemm of activations"),
    (rules.einsum, "no sites", without("site"), "Einsum of channels with a vector"),
    (rules.einsum, "rolled", rolled, "Einsum of two activations over positions"),
    (rules.einsum, "rolled", rolled, "Einsum that is a matmul"),
    (rules.einsum, "no sites", without("site"), "Einsum that is a matmul"),
    (rules.unary, "rolled", rolled, "Sigmoid"),
    (rules.dropout, "rolled", rolled, "Dropout with a ratio"),
    (rules.cast_like, "rolled", rolled, "CastLike there and back"),
    (rules.affine, "rolled", rolled, "Affine"),
    (rules.image_scaler, "no locks", without("lock"), "ImageScaler of channels"),
    (rules.prelu, "rolled", rolled, "PRelu per channel"),
    (rules.prelu, "no sites", without("site"), "PRelu per channel"),
    (rules.residual_add, "rolled", rolled, "Add a number"),
    (rules.residual_add, "no ties", without("ties"), "an Add of two layers"),
    (rules.residual_add, "no sites", without("site"), "Add a volume"),
    (rules.residual_add, "sites along the rows", along(1), "Add a volume"),
    (rules.elementwise, "rolled", rolled, "Mul per channel"),
    (rules.elementwise, "no ties", without("ties"), "tied to another layer"),
    (rules.elementwise, "no sites", without("site"), "Mul per channel"),
    (rules.batch_norm, "rolled", rolled, "BatchNormalization"),
    (rules.batch_norm, "no sites", without("site"), "BatchNormalization"),
    (rules.instance_norm, "rolled", rolled, "InstanceNormalization"),
    (rules.instance_norm, "no sites", without("site"), "InstanceNormalization"),
    (rules.group_norm, "rolled", rolled, "GroupNormalization: whole groups"),
    (rules.group_norm, "no ties", without("ties"), "GroupNormalization: whole groups"),
    (rules.group_norm, "no count", without("count"), "GroupNormalization: whole groups"),
    (rules.layer_norm, "rolled", rolled, "LayerNormalization over positions"),
    (rules.layer_norm, "no lock", without("lock"), "LayerNormalization in channels last"),
    (rules.normalize, "rolled", rolled, "Softmax over positions"),
    (rules.normalize, "no lock", without("lock"), "Softmax over channels"),
    (rules.along_channels, "no lock", without("lock"), "LRN"),
    (rules.pool, "rolled", rolled, "AveragePool"),
    (rules.pool, "indices pass", indices_pass, "MaxPool with indices that are read"),
    (rules.roi_align, "rolled", rolled, "RoiAlign"),
    (rules.concat, "no sites", without("site"), "a first state of zeros"),
    (rules.concat, "no sites", without("site"), "one more position, a value for each channel"),
    (rules.reduce, "rolled", rolled, "ReduceSum of opset 13"),
    (rules.reduce, "no lock", without("lock"), "ReduceMean over channels"),
    (rules.arg, "rolled", rolled, "ArgMax over positions"),
    (rules.arg, "no lock", without("lock"), "ArgMax over channels"),
    (rules.depth_to_space, "rolled", rolled, "DepthToSpace"),
    (rules.depth_to_space, "no ties", without("ties"), "DepthToSpace"),
    (rules.expand, "rolled", rolled, "Expand by ones"),
    (rules.expand, "no count", without("count"), "Expand"),
    (rules.flatten, "rolled", rolled, "Flatten to Gemm"),
    (rules.reshape, "rolled", rolled, "Reshape there and back"),
    (rules.reshape, "no count", without("count"), "Reshape there and back"),
    (rules.reshape, "unchanged", unchanged, "Reshape that joins pairs of channels"),
    (rules.space_to_depth, "rolled", rolled, "SpaceToDepth"),
    (rules.squeeze, "rolled", rolled, "Squeeze, then Unsqueeze"),
    (rules.tile, "rolled", rolled, "Tile positions"),
    (rules.tile, "unchanged", unchanged, "Tile channels"),
    (rules.transpose, "rolled", rolled, "Transpose to channels last and back"),
    (rules.transpose, "unchanged", unchanged, "channel shuffle"),
    (rules.unsqueeze, "rolled", rolled, "Squeeze, then Unsqueeze"),
    (rules.concat, "rolled", rolled, "Concat with itself"),
    (rules.concat, "unchanged", unchanged, "Concat with itself"),
    (rules.crop, "rolled", rolled, "Crop"),
    (rules.if_, "rolled", rolled, "both branches of an If"),
    (rules.gather, "rolled", rolled, "Gather several channels"),
    (rules.gather, "no sites", without("site"), "Gather several channels"),
    (rules.gather, "no counts", without("count"), "Gather several channels"),
    (rules.gather_elements, "rolled", rolled, "GatherElements with constants"),
    (rules.gather_elements, "no sites", without("site"), "GatherElements with constants"),
    (rules.gather_nd, "rolled", rolled, "GatherND of positions"),
    (rules.grid_sample, "rolled", rolled, "GridSample with a constant grid"),
    (rules.scatter_elements, "rolled", rolled, "ScatterElements of constants"),
    (rules.scatter_elements, "no sites", without("site"), "ScatterElements of constants"),
    (rules.scatter_elements, "no ties", without("ties"), _LEVELS),
    (rules.scatter_nd, "rolled", rolled, "ScatterND of constants"),
    (rules.scatter_nd, "no sites", without("site"), "ScatterND of constants"),
    (rules.scatter_nd, "no ties", without("ties"), "ScatterND of another layer's channels"),
    (rules.top_k, "rolled", rolled, "the best positions of each channel"),
    (rules.top_k, "no lock", without("lock"), "the best channels"),
    (rules.constant_of_shape, "one label for all", one_label, _FILLED),
    (rules.expand, "no sites", without("site"), "a number for each channel in the image's shape"),
    (rules.pad, "rolled", rolled, "Pad channels of opset 13"),
    (rules.pad, "unchanged", unchanged, "Pad channels of opset 13"),
    (rules.resize, "rolled", rolled, "Resize by scales"),
    (rules.resize, "no count", without("count"), "Resize to sizes"),
    (rules.slice_, "rolled", rolled, "Slice of opset 13"),
    (rules.slice_, "no count", without("count"), "Slice of opset 13"),
    (rules.slice_, "no lock", without("lock"), "every second channel"),
    (rules.split, "rolled", rolled, "Split of opset 13"),
    (rules.split, "no count", without("count"), "Split of opset 13"),
    (rules.recurrent, "rolled", rolled, "GRU whose last state is read"),
    (rules.recurrent, "no sites", without("site"), "GRU whose last state is read"),
    (rules.recurrent, "no count", without("count"), "RNN backwards, with lengths"),
    (rules.fused_conv, "rolled", rolled, "FusedConv with an activation"),
    (rules.fused_conv, "no ties", without("ties"), "FusedConv that adds a shortcut"),
    (rules.fused_gemm, "rolled", rolled, "FusedGemm"),
    (rules.fused_matmul, "rolled", rolled, "FusedMatMul with a transposed matrix"),
    (rules.biased, "rolled", rolled, "BiasGelu"),
    (rules.biased, "no sites", without("site"), "BiasGelu"),
    (rules.skip_layer_norm, "no lock", without("lock"), _SKIPPED),
    (rules.fused_attention, "rolled", rolled, "com.microsoft's Attention"),
    (rules.fused_attention, "no sites", without("site"), "com.microsoft's Attention"),
    (rules.fused_attention, "no count", without("count"), "com.microsoft's Attention"),
    (rules.multi_head_attention, "rolled", rolled, "com.microsoft's MultiHeadAttention"),
    (
        rules.multi_head_attention,
        "no count",
        without("count"),
        "com.microsoft's MultiHeadAttention",
    ),
    (rules.grouped_query_attention, "no ties", without("ties"), _SHARED),
    (rules.grouped_query_attention, "no count", without("count"), _SHARED),
    (rules.attention, "rolled", rolled, "Attention"),
    (rules.attention, "no count", without("count"), "Attention"),
    (rules.rotary_embedding, "rolled", rolled, "RotaryEmbedding"),
    (rules.rotary_embedding, "no count", without("count"), "com.microsoft's RotaryEmbedding"),
]
OWN = [
    Case(
        "Squeeze, then Unsqueeze",
        "g = GlobalAveragePool (c)\n s = Squeeze (g, axes)\n z = Unsqueeze (s, axes)",
        "int64[2] axes = {2, 3}",
    ),
    Case(
        "an Add of two layers",
        "[other] d = Conv (f, d_w)\n z = Add (c, d)",
        "float[8,6,1,1] d_w",
        keep=[],
    ),
    Case(
        "MaxPool with indices that are read",
        "m, i = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)\n j = Cast <to = 1> (i)\n"
        "k = Mul (j, small)\n z = Add (m, k)",
        "float small = {0.01}",
        left=8,
    ),
]
CASES |= {case.name: case for case in OWN}


def prune(case: Case) -> Any:
    return pruned(network(case))


def test_every_rule_of_the_table_has_a_negative_control() -> None:
    named = {rule.__name__ for rule, *_ in TABLE}
    named.add("pool_channels_last")  # ONNX Runtime has no kernel for floats, so nothing is proven

    assert {rule.__name__ for rule in RULES.values()} - named == set()


@pytest.mark.parametrize("case", runnable([CASES[k] for k in sorted({name for *_, name in TABLE})]))
def test_the_right_rule_is_proven(case: Case) -> None:
    assert prune(case).report["verification"]["passed"] is True


@pytest.mark.parametrize(
    ("rule", "wrong", "name"),
    [
        pytest.param(rule, wrong, name, id=f"{rule.__name__}: {how}: {name}")
        for rule, how, wrong, name in TABLE
    ],
)
def test_a_wrong_rule_cannot_escape(
    rule: Rule, wrong: Wrong, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for op in [op for op, right in RULES.items() if right is rule]:
        monkeypatch.setitem(RULES, op, wrong(rule))

    with pytest.raises((ModelError, VerificationError)):
        prune(CASES[name])
