"""Normalisation: per channel it carries the labels on; across channels it locks or ties them."""

from __future__ import annotations

from reprune_onnx.analyzer.drafts import CountDraft, SiteDraft, StatisticDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand, in_a_row, varying
from reprune_onnx.analyzer.op_kinds import SUMS
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels


def batch_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Scale, bias, mean and variance: one value per place along axis 1; the labels pass."""
    return _scaled(op, w, w.labels(op), range(1, 5))


def instance_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Scale and bias: one value per channel; the statistics are taken within each channel."""
    x = w.labels(op)
    if x.shape[1] == 1 and varying(x.ids):  # a norm over one group, as PyTorch writes it
        return [normalized(op, w, list(range(2, len(x.shape))))]
    return _scaled(op, w, Labels(x.shape, w.flat(op, x.ids, (1,))), range(1, 3))


def group_norm(op: Op, w: Walk) -> Labels:
    """The statistics of a group need all its channels: whole groups stay or go."""
    x = w.labels(op)
    groups, n = int(op.attrs["num_groups"]), x.shape[1] or 1
    if groups == 1 and varying(x.ids):
        return _one_group(op, w, n)
    channels = expand(w.flat(op, x.ids, (1,)).reshape(-1), 0, n).reshape(groups, -1)
    w.space.tie_along(channels, (1,))
    for i in (1, 2):
        per_group = w.is_constant(op, i) and w.constant_shape(op, i) == (groups,)
        ids = channels[:, 0] if per_group else channels.ravel()
        w.site(SiteDraft(op, i, 0, ids, 0, "param"))
    w.count(CountDraft(op, "num_groups", -1, 0, channels[:, 0]))
    return Labels(x.shape, channels.reshape(1, -1, *[1] * (len(x.shape) - 2)))


def _one_group(op: Op, w: Walk, n: int) -> Labels:
    """A norm over all ``n`` channels, with a scale and a bias for each or for all."""
    x = w.labels(op)
    axes = list(range(1, len(x.shape)))
    if not statistic(op, w, axes, (0,)):
        return mix(op, w, axes, by_option=True)
    for i in (1, 2):
        if not w.is_constant(op, i) or w.constant_shape(op, i) == (n,):
            w.site(SiteDraft(op, i, 0, x.ids, 1, "param"))
    return x


def layer_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Statistics over all axes from ``axis`` on, and a scale and a bias over these axes."""
    rank = len(w.labels(op).shape)
    axis = int(op.attrs.get("axis", -1)) % max(rank, 1)
    for i in range(1, len(op.inputs)):
        if w.is_activation(op, i):
            reason = f"{op.title} reads these channels as a parameter"
            w.lock(op, w.labels(op, i).ids, reason)
    return [normalized(op, w, list(range(axis, rank))), *[None] * (len(op.outputs) - 1)]


def normalize(op: Op, w: Walk) -> Labels:
    """Softmax and its kind, and norms without parameters: elements along ``axis`` share a sum."""
    rank = len(w.labels(op).shape)
    if op.type == "MeanVarianceNormalization":
        return normalized(op, w, [int(a) % rank for a in op.attrs.get("axes", [0, 2, 3])])
    if "Softmax" in op.type or op.type == "Hardmax":
        axis = int(op.attrs.get("axis", -1 if op.opset >= 13 else 1)) % rank
        return mix(op, w, [axis] if op.opset >= 13 else list(range(axis, rank)))
    return normalized(op, w, [int(op.attrs.get("axis", -1)) % rank])


def along_channels(op: Op, w: Walk) -> Labels:
    """LRN: a window over neighbouring channels."""
    return mix(op, w, [1])


def normalized(op: Op, w: Walk, axes: list[int]) -> Labels:
    """The elements along ``axes`` are divided by what they are on average."""
    if any(w.is_activation(op, i) for i in range(1, len(op.inputs))):
        return mix(op, w, axes)
    if not statistic(op, w, axes, (0,)):
        return mix(op, w, axes, by_option=True)
    x = w.labels(op)
    first = min(axes)
    for i in range(1, len(op.inputs)):
        if w.is_constant(op, i):  # scale and bias lie over the last axes
            lead = len(x.shape) - len(w.constant_shape(op, i))
            for axis in range(max(lead, first), len(x.shape)):
                if x.ids.shape[axis] > 1 and w.constant_shape(op, i)[axis - lead] > 1:
                    w.site(SiteDraft(op, i, axis - lead, x.ids, axis, "param"))
    return x


def statistic(
    op: Op,
    w: Walk,
    axes: list[int],
    outputs: tuple[int, ...] = (),
    of: tuple[Labels, tuple[int, ...]] | None = None,
) -> bool:
    """Whether channels may go from a mean, norm or extreme along ``axes``; then it is noted.

    It is another number without them: `--norm-statistics` says whether that is wanted. Channels
    must lie along one axis, which is among ``axes``. It is taken ``of`` labels that come by some
    inputs, of the first one where that is not given; ``outputs`` have the same channels.
    """
    x, inputs = of or (w.labels(op), (0,))
    kept = w.statistics_kept == "all" or (w.statistics_kept == "but sums" and op.type not in SUMS)
    ids = x.ids
    lines = [a for a in varying(ids) if a in axes]
    if len(lines) == 1 and kept:
        ids = w.space.tie_positions(ids, lines[0])
    vary = varying(ids)
    if not kept or len(vary) != 1 or vary[0] not in axes:
        return False
    if in_a_row(ids.ravel()) > 1 and vary[0] != ids.ndim - 1:
        return False  # positions among the channels are told apart along the last axis alone
    w.statistics.append(StatisticDraft(op, vary[0], outputs, inputs))
    return True


def mix(
    op: Op, w: Walk, axes: list[int], by_option: bool = False, x: Labels | None = None
) -> Labels:
    """Every output along ``axes`` depends on every input along ``axes``.

    Where labels vary along other axes too, those that meet in one sum are tied: they go together or
    not at all. Otherwise no channel can go; ``by_option`` says that an option keeps those along a
    single axis. ``x`` are the labels of the inputs, where these are not those of the first one.
    """
    x = x or w.labels(op)
    vary = varying(x.ids)
    if not set(vary) & set(axes):
        return x
    if set(vary) <= set(axes):
        reason = f"{op.title} mixes the channels"
        if by_option and len(vary) == 1:
            reason = f"{op.title} mixes the channels (--norm-statistics lock)"
        w.lock(op, x.ids, reason)
        return x
    return Labels(x.shape, w.space.tie_along(x.ids, axes))


def _scaled(op: Op, w: Walk, x: Labels, inputs: range) -> list[Labels | None]:
    for i in inputs:
        w.site(SiteDraft(op, i, 0, x.ids, 1, "param"))
    return [x, *[None] * (len(op.outputs) - 1)]
