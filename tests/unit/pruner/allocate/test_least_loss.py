"""From measured losses and a target to the channels that each group keeps."""

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.allocate.least_loss import least_loss
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.measure import cost
from reprune_onnx.results import Losses
from reprune_onnx.types import ChannelMap, Group

SIZES = [12, 20, 16, 10]
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def graph() -> Graph:
    sizes = [3, *SIZES, 4]
    lines = [f"t{k + 1} = Conv <pads = [1,1,1,1]> (t{k}, w{k})" for k in range(5)]
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1,3,8,8] t0) => (float[1,4,8,8] t5) {{ {" ".join(lines)} }}"""
    weights = {f"w{k}": RNG.standard_normal((sizes[k + 1], sizes[k], 3, 3)) for k in range(5)}
    proto = onnx.shape_inference.infer_shapes(model(text, **weights))
    return graph_of(rp.Model(proto))


@pytest.fixture(scope="module")
def channels(graph: Graph) -> ChannelMap:
    return channels_of(graph, rp.Scope())


def losses(channels: ChannelMap, without: tuple[int, ...] = ()) -> Losses:
    rng = np.random.default_rng(0)
    error = {}
    for k, g in enumerate(channels.groups):
        if k not in without:
            steps = np.sort(rng.exponential(size=g.n) ** 2)
            error[g.id] = np.append(np.cumsum(steps)[::-1], 0.0) * (k + 1)
    return Losses(error, {})


def allocated(
    graph: Graph, channels: ChannelMap, overrides: dict[int, int] | None = None, **more: Any
) -> tuple[list[int], list[str]]:
    settings = rp.Settings(calibration="images.npz", allocation="sensitivity", **more)
    kept, notes = solved(graph, channels, settings, losses(channels), overrides or {})
    return [kept[g.id] for g in groups(channels)], notes


def solved(
    graph: Graph,
    channels: ChannelMap,
    settings: rp.Settings,
    losses: Losses,
    overrides: dict[int, int] | None = None,
) -> tuple[dict[int, int], list[str]]:
    wanted = settings.reduction
    assert wanted is not None
    cost = multilinear(graph, channels, groups(channels), wanted.measure)
    return least_loss(groups(channels), losses, wanted, cost, settings, overrides or {})


def groups(channels: ChannelMap) -> list[Group]:
    prunable = [g for g in channels.groups if g.free.any()]
    assert [g.n for g in prunable] == SIZES
    return prunable


def keep(channels: ChannelMap, kept: list[int]) -> Any:
    mask = np.ones(channels.n_units, dtype=np.bool_)
    for g, k in zip(groups(channels), kept, strict=True):
        mask[g.units[k:]] = False
    return mask


@pytest.mark.parametrize("measure", ["macs", "params"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9])
def test_a_reduction_is_reached_and_hardly_passed(
    graph: Graph, channels: ChannelMap, measure: str, share: float
) -> None:
    kept, notes = allocated(graph, channels, **{f"{measure}_reduction": share})
    left = getattr(cost(graph, channels, keep(channels, kept)), measure)
    full = getattr(cost(graph, channels), measure)
    assert left <= (1 - share) * full + 1e-6
    assert left >= (1 - share - 0.05) * full
    assert "sensitivity" in notes[0]


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.55, 0.9])
def test_a_sparsity_counts_channels_exactly(
    graph: Graph, channels: ChannelMap, sparsity: float
) -> None:
    kept, _ = allocated(graph, channels, sparsity=sparsity)
    dropped = sum(SIZES) - sum(kept)
    assert dropped >= np.ceil(sparsity * sum(SIZES) - 1e-9)
    assert dropped <= np.ceil(sparsity * sum(SIZES) - 1e-9) + 1
    assert min(kept) >= 1


@pytest.mark.parametrize("round_to", [1, 2, 4, 8])
@pytest.mark.parametrize("min_channels", [1, 5])
def test_rounding_and_the_least_number_of_channels(
    graph: Graph, channels: ChannelMap, round_to: int, min_channels: int
) -> None:
    kept, _ = allocated(
        graph, channels, macs_reduction=0.4, round_to=round_to, min_channels=min_channels
    )
    for k, n in zip(kept, SIZES, strict=True):
        assert k == n or k % round_to == 0
        assert k >= min_channels
    left = cost(graph, channels, keep(channels, kept)).macs
    assert left <= 0.6 * cost(graph, channels).macs


def test_overrides_hold(graph: Graph, channels: ChannelMap) -> None:
    second = groups(channels)[1]
    for wanted in (3, 20):
        kept, _ = allocated(graph, channels, {second.id: wanted}, macs_reduction=0.5)
        assert kept[1] == wanted
        assert cost(graph, channels, keep(channels, kept)).macs <= 0.51 * cost(graph, channels).macs


def test_groups_that_lose_more_keep_more(graph: Graph, channels: ChannelMap) -> None:
    settings = rp.Settings(calibration="x", allocation="sensitivity", sparsity=0.5)
    errors = {g.id: np.linspace(1, 0, g.n + 1) ** 2 for g in channels.groups}
    first = groups(channels)[0]
    dear = {**errors, first.id: 100 * errors[first.id]}
    before, _ = solved(graph, channels, settings, Losses(errors, {}))
    after, _ = solved(graph, channels, settings, Losses(dear, {}))
    assert after[first.id] > before[first.id]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"macs_reduction": 0.99}, "99.0% fewer MACs cannot be reached: at most 98"),
        (
            {"params_reduction": 0.99, "min_channels": 8},
            "fewer parameters cannot be reached: at most",
        ),
    ],
)
def test_out_of_reach(graph: Graph, channels: ChannelMap, more: dict[str, Any], says: str) -> None:
    with pytest.raises(SelectionError) as error:
        allocated(graph, channels, **more)
    assert says in str(error.value)
    assert "--residual prune" in str(error.value)


def test_an_override_may_put_the_target_out_of_reach(graph: Graph, channels: ChannelMap) -> None:
    ids = [g.id for g in groups(channels)]
    with pytest.raises(SelectionError, match="cannot be reached"):
        allocated(graph, channels, {ids[1]: 20, ids[2]: 16}, macs_reduction=0.9)


def test_a_group_without_a_curve_stays_whole(graph: Graph, channels: ChannelMap) -> None:
    settings = rp.Settings(calibration="x", allocation="sensitivity", macs_reduction=0.3)
    kept, notes = solved(graph, channels, settings, losses(channels, without=(2,)))
    assert kept[groups(channels)[2].id] == SIZES[2]
    assert "1 group of channels is read by no layer" in notes[1]


def test_when_losses_decide() -> None:
    images = {"calibration": "images.npz", "sparsity": 0.5}
    assert rp.Settings(**images).by_losses
    assert rp.Settings(**images, allocation="sensitivity").by_losses
    assert not rp.Settings(sparsity=0.5).by_losses
    assert not rp.Settings(**images, allocation="uniform").by_losses
    assert not rp.Settings(**images, allocation="bn-gamma").by_losses
