"""The graph analyzer: from a model to its channel map, by labels, rules, ties and locks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from reprune_onnx.analyzer import residual, resolve
from reprune_onnx.analyzer.branches import branches_of
from reprune_onnx.analyzer.conv_bn import gamma_of
from reprune_onnx.analyzer.dequantized import float_network
from reprune_onnx.analyzer.drafts import LockDraft
from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.functions import opened
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.groups import build_groups, never_empty, sole_units
from reprune_onnx.analyzer.labels import compress
from reprune_onnx.analyzer.measured_sizes import measured
from reprune_onnx.analyzer.other_sizes import OtherSizes
from reprune_onnx.analyzer.refusal import refuse_quantized, refuse_without_layers
from reprune_onnx.analyzer.rules import RULES
from reprune_onnx.analyzer.scope import locked_by_scope, matching
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.analyzer.whole_branches import with_whole_branches
from reprune_onnx.choices import NormStatistics, Residual, StatisticsKept
from reprune_onnx.model import ModelLike, as_model
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.types import Bools, ChannelMap, Ints, Labels, Layer, Lock, Passing


@dataclass(frozen=True)
class Scope:
    """The scope of pruning: the rules for Adds and norms, and globs over node names."""

    residual: Residual = "keep"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    norm_statistics: NormStatistics = "auto"

    @property
    def statistics_kept(self) -> StatisticsKept:
        """Which statistics may be over the channels that are left.

        Left open, all but sums, where channels that meet an Add may go: a stream that passes a norm
        would stay whole otherwise. A sum of fewer is smaller, which a mean or a norm is not.
        """
        if self.norm_statistics == "auto":
            return "but sums" if self.residual == "prune" else "none"
        return "all" if self.norm_statistics == "kept" else "none"


def analyze(model: ModelLike, scope: Scope | None = None) -> ChannelMap:
    """Find which channels of ``model`` depend on each other and which can go.

    ``model`` is a path, an ``onnx.ModelProto`` or a `Model`.

    ``scope.input_shapes`` gives the sizes at which the graph is followed; where a symbolic size is
    not given, batch 1 and image sides of 224 are assumed, or what fits (`fitting_shapes`). Raises
    ModelError for a model without layers, for one that is quantized in another form than QDQ, and
    for a damaged graph. Of QDQ the float network is followed (`dequantized`). Whatever a
    rule does not cover is locked, with its reason, and never an error.
    """
    return channels_of(graph_of(float_network(as_model(model))), scope or Scope())


def graph_of(model: ModelLike) -> Graph:
    """The graph in which channels are followed: functions written out, branches of If beside it.

    Raises ModelError for a damaged file.
    """
    return Graph(opened(as_model(model)))


def channels_of(graph: Graph, scope: Scope) -> ChannelMap:
    """The channels of a graph that `graph_of` has made; raises as `analyze` does."""
    refuse_quantized(graph)
    sizes = fitting_shapes(folded(graph.proto), scope.input_shapes)  # one branch runs
    shapes = sizes.shapes
    w = _walked(graph, scope, shapes)
    if not w.layers:
        refuse_without_layers(graph)
    w.layers, w.passing = measured(graph, (w.layers, w.passing), shapes)
    branches = branches_of(w, shapes)
    w.layers = branches.layers
    w.locks.extend(branches.locks)
    resolve.tie_shared_weights(w)
    w.locks.extend(locked_by_scope(w, scope.include, scope.exclude))
    if scope.residual != "prune":
        for op, ids in residual.meeting(w):
            reason = f"meets the residual {op.title} (--residual {scope.residual})"
            w.locks.append(LockDraft(op.name, ids, reason, kind="residual"))
    resolve.settle_arrangements(w)
    facts = _facts(w, scope, shapes)
    facts = replace(facts, sizes_found=sizes.note, branches=branches.running)
    return with_whole_branches(graph, facts)


def _walked(graph: Graph, scope: Scope, shapes: dict[str, tuple[int, ...]]) -> Walk:
    w = Walk(graph, shapes, scope.input_shapes, scope.statistics_kept)
    w.run(RULES)
    return w


def _facts(w: Walk, scope: Scope, shapes: dict[str, tuple[int, ...]]) -> ChannelMap:
    roots, unit_of = np.unique(w.space.roots(np.arange(len(w.space))), return_inverse=True)
    unit_of, n_units = unit_of.astype(np.int64), len(roots)
    tensors = {name: Labels(x.shape, compress(unit_of[x.ids])) for name, x in w.tensors.items()}
    locks = [Lock(d.node, np.unique(unit_of[d.ids]), d.reason, kind=d.kind) for d in w.locks]
    counts = resolve.Counts(
        w, unit_of, OtherSizes(w.graph, shapes, partial(_walked, w.graph, scope))
    )
    locks += [Lock(*parts) for parts in counts.locks]
    layers = _layers(w, unit_of)
    outer = _outer_locks(w, unit_of, n_units, layers) if scope.residual == "inner" else []
    locks += outer + _late_locks(n_units, tensors, layers, locks)
    locked = _locked(locks, n_units)
    sites = tuple(resolve.sites(w, unit_of))
    names = {op.index: op.name for op in w.graph.ops}
    summed = tuple(resolve.summed(w, unit_of))
    groups = build_groups(layers, (*sites, *summed), locked, names)
    beside = {
        f"{site.tensor}, {site.axis}": Labels(site.ids.shape, site.ids)
        for site in sites
        if site.role == "param"  # such as a constant beside channels in a Concat
    }
    return ChannelMap(
        tensors=tensors,
        unit_of=unit_of,
        sites=sites,
        counts=counts.facts,
        layers=layers,
        locks=tuple(locks),
        groups=never_empty(groups, tensors | beside, locked),
        written=counts.written,
        input_shapes=shapes,
        scope=_named(layers, scope.include),
        passing=tuple(
            Passing(d.op.index, unit_of[d.ids], d.macs) for d in w.passing if d.macs is not None
        ),
        summed=summed,
        statistics=tuple(resolve.statistics(w, unit_of)),
    )


def _named(layers: tuple[Layer, ...], include: tuple[str, ...]) -> frozenset[int] | None:
    if not include:
        return None
    names = matching(include, [layer.name for layer in layers], "--include")
    return frozenset(layer.node for layer in layers if layer.name in names)


def _layers(w: Walk, unit_of: Ints) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            node=d.op.index,
            name=d.op.name,
            op=d.op.called or d.op.type,
            weight=d.op.inputs[d.input],
            input=d.input,
            shape=d.shape,
            out_axis=d.out_axis,
            out_ids=unit_of[d.out],
            conv_groups=d.conv_groups,
            positions=d.positions,
            bn=gamma_of(w.graph, d.op),
            more=d.more,
        )
        for d in w.layers
    )


def _outer_locks(w: Walk, unit_of: Ints, n_units: int, layers: tuple[Layer, ...]) -> list[Lock]:
    """Locks of the channels that are not strictly inside a residual branch."""
    inside = residual.strictly_inside(w, unit_of, n_units)
    reason = "not strictly inside a residual branch (--residual inner)"
    outer = ((layer, np.unique(layer.out_ids[~inside[layer.out_ids]])) for layer in layers)
    return [Lock(layer.name, ids, reason, kind="residual") for layer, ids in outer if len(ids)]


def _late_locks(
    n_units: int, tensors: dict[str, Labels], layers: tuple[Layer, ...], locks: list[Lock]
) -> list[Lock]:
    """Locks that can only be told once the units are known."""
    late: list[Lock] = []
    made = np.zeros(n_units, dtype=np.bool_)
    for layer in layers:
        made[layer.out_ids] = True
    locked = _locked(locks, n_units)
    sole = np.flatnonzero(sole_units(tensors, locked) & made)
    for layer in layers:
        units, rows = np.unique(layer.out_ids[np.isin(layer.out_ids, sole)], return_counts=True)
        alone, tied = units[rows == 1], units[rows > 1]
        if len(alone):
            late.append(Lock(layer.name, alone, "the only channel of an activation"))
        if len(tied):
            reason = "all channels of an activation are tied to each other: none could go alone"
            late.append(Lock(layer.name, tied, reason))
    orphans = np.flatnonzero(~made & ~locked)
    if len(orphans):
        late.append(Lock("", orphans, "no layer makes these channels"))
    return late


def _locked(locks: list[Lock], n_units: int) -> Bools:
    locked = np.zeros(n_units, dtype=np.bool_)
    for lock in locks:
        locked[lock.ids] = True
    return locked
