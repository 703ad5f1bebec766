"""Random graphs: recovery keeps the structure, and the price of a selection is what it costs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_graphs import build
from random_recipes import BATCH, SIDE, Recipe, recipes

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.order import in_order
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.earlier import EarlierReport
from reprune_onnx.pruner.measure import cost
from reprune_onnx.pruner.sensitivity.curves import Ways, measure_losses
from reprune_onnx.recovery import recover
from reprune_onnx.results import CutNetwork
from reprune_onnx.surgeon import cut
from reprune_onnx.types import Group

SHAPE = {"x": (BATCH, 3, SIDE, SIDE)}
quick = settings(
    deadline=None,
    max_examples=25,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def images() -> Images:
    x = np.random.default_rng(0).standard_normal((16, 3, SIDE, SIDE)).astype(np.float32)
    return Images("random", tuple({"x": x[k : k + BATCH]} for k in range(0, 16, BATCH)), 16)


def selection(channels: rp.ChannelMap, seed: int) -> Any:
    """Some channels of every group that can lose some."""
    rng = np.random.default_rng(seed)
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for g in channels.groups:
        free = np.flatnonzero(g.free)
        gone = rng.choice(free, len(free) // 2, replace=False)
        keep[g.units[gone]] = False
        for part in g.nonempty:
            keep[g.units[part[0]]] = True
    return keep


def branched(graph: Graph, channels: rp.ChannelMap) -> bool:
    """Whether layers stand in branches of an If."""
    return any(graph.branch_of(graph.ops[layer.node]) for layer in channels.layers)


@quick
@given(
    recipe=recipes(of_images=True),
    seed=st.integers(0, 99),
    method=st.sampled_from(["least-squares", "batch-norm", "data-free"]),
)
def test_recovery_changes_values_only(recipe: Recipe, seed: int, method: Any) -> None:
    model = in_order(rp.Model(build(recipe)))
    graph = graph_of(model)
    channels = channels_of(
        graph, rp.Scope(residual="prune", input_shapes=SHAPE, norm_statistics="lock")
    )
    keep = selection(channels, seed)
    assume(not keep.all())
    result = cut(model, graph, channels, keep)
    recovered = recover(CutNetwork(graph, channels, keep, result.model), method, images())
    report = EarlierReport(
        result.cuts,
        settings={
            "residual": "prune",
            "norm_statistics": "lock",
            "input_shapes": [[k, v] for k, v in SHAPE.items()],
        },
    )
    again = rp.verify(model, recovered.model, report)
    if method == "least-squares" and again.result is None:
        assert recovered.layers > 0
        assert recovered.error_after is None or np.isfinite(recovered.error_after)


def even(channels: rp.ChannelMap, groups: list[Group]) -> bool:
    """Whether every axis has all channels of a group equally often, or none."""
    for site in channels.sites:
        counts = np.bincount(site.ids, minlength=channels.n_units)
        if any(np.ptp(counts[g.units]) for g in groups):
            return False
    return True


def no_copies(graph: Graph, channels: rp.ChannelMap) -> bool:
    """Whether no constant is read as the Identity of another: cut apart, they cost twice."""
    return all(graph.origin(site.tensor) == site.tensor for site in channels.sites)


@quick
@given(
    recipe=recipes(of_images=True),
    seed=st.integers(0, 99),
    measure=st.sampled_from(["macs", "params"]),
)
def test_the_price_of_a_selection(recipe: Recipe, seed: int, measure: Any) -> None:
    model = in_order(rp.Model(build(recipe)))
    graph = graph_of(model)
    channels = channels_of(
        graph, rp.Scope(residual="prune", input_shapes=SHAPE, norm_statistics="lock")
    )
    groups = [g for g in channels.groups if g.free.any()]
    assume(groups and even(channels, groups) and no_copies(graph, channels))
    keep = selection(channels, seed)
    price = multilinear(graph, channels, groups, measure)
    k = np.array([keep[g.units].sum() for g in groups])
    full = np.array([g.n for g in groups])
    for channels_left, kept in ((full, None), (k, keep)):
        exact = getattr(cost(graph, channels, kept), measure)
        if measure == "macs" and branched(graph, channels):  # a run takes the largest branch alone
            assert price(channels_left) >= exact * (1 - 1e-9)
        else:
            assert price(channels_left) == pytest.approx(exact)


@quick
@given(recipe=recipes(of_images=True), by_choice=st.booleans())
def test_losses_of_any_graph(recipe: Recipe, by_choice: bool) -> None:
    model = in_order(rp.Model(build(recipe)))
    graph = graph_of(model)
    channels = channels_of(
        graph, rp.Scope(residual="prune", input_shapes=SHAPE, norm_statistics="lock")
    )
    select_at = (lambda g, ks: [np.arange(g.n)[:k] for k in ks]) if by_choice else None
    losses = measure_losses(model, graph, channels, images(), Ways(select_at, not by_choice))
    for g in channels.groups:
        if g.id in losses.error:
            error = losses.error[g.id]
            assert len(error) == g.n + 1
            assert np.isfinite(error).all()
            assert (np.diff(error) <= 1e-12).all()
            assert error[g.n] == pytest.approx(0, abs=1e-12)
