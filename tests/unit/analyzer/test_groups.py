"""Which layers' channels are chosen together, and which sets of them may not go altogether."""

from __future__ import annotations

import numpy as np
import text_graphs

import reprune_onnx as rp
from reprune_onnx.analyzer.groups import build_groups, never_empty, sole_units
from reprune_onnx.types import Group, Labels, Layer, Site


def layer(node: int, *units: int) -> Layer:
    ids = np.array(units)
    shape = (len(ids), 3, 1, 1)
    return Layer(node, f"layer{node}", "Conv", f"w{node}", 1, shape, 0, ids, 1, 64)


def site(node: int, *units: int, role: str = "in") -> Site:
    return Site(node, 1, f"w{node}", 1, np.array(units), role)


def grouped(
    layers: list[Layer], sites: tuple[Site, ...] = (), n_units: int = 8, locked: tuple = ()
) -> tuple[Group, ...]:
    names = {node: f"node{node}" for node in range(20)}
    return build_groups(tuple(layers), sites, np.isin(np.arange(n_units), locked), names)


def rows(group: Group) -> list[list[list[int]]]:
    return [[r.tolist() for r in producer.rows] for producer in group.producers]


def test_layers_that_share_a_unit_are_one_group_in_the_order_of_their_rows() -> None:
    first, second = grouped([layer(0, 6, 5), layer(1, 3), layer(2, 5, 1, 7)], locked=(1,))

    assert (first.id, second.id) == (0, 1)
    assert first.units.tolist() == [6, 5, 1, 7]
    assert first.free.tolist() == [True, True, False, True]
    assert [p.layer.node for p in first.producers] == [0, 2]
    assert rows(first) == [[[0], [1], [], []], [[], [0], [1], [2]]]
    assert second.units.tolist() == [3]
    assert rows(second) == [[[0]]]


def test_layers_are_connected_through_others() -> None:
    (group,) = grouped([layer(0, 0, 1), layer(1, 4, 5), layer(2, 1, 5)])

    assert group.units.tolist() == [0, 1, 4, 5]
    assert [p.layer.node for p in group.producers] == [0, 1, 2]


def test_all_rows_of_a_repeated_unit_belong_to_its_channel() -> None:
    units = [k % 5 for k in range(40)]

    (group,) = grouped([layer(0, *units)])

    assert group.units.tolist() == [0, 1, 2, 3, 4]
    assert rows(group) == [[list(range(k, 40, 5)) for k in range(5)]]


def test_consumers_are_the_nodes_that_read_a_units_slices_once_each() -> None:
    sites = (
        site(9, 4, 5),
        site(3, 0, 4),
        site(9, 5),
        site(7, 1, role="out"),
        site(8, 0, role="param"),
        site(6, 2),
    )
    first, second, third = grouped([layer(0, 0, 1), layer(1, 4, 5), layer(2, 7)], sites)

    assert first.consumers == ("node3",)
    assert second.consumers == ("node9", "node3")
    assert third.consumers == ()


def test_without_layers_there_are_no_groups() -> None:
    assert grouped([], (site(3, 0, 4),)) == ()
    assert never_empty((), {"x": labels(0, 1)}, np.zeros(2, dtype=bool)) == ()


def labels(*units: int) -> Labels:
    return Labels((1, len(units), 8, 8), np.array(units).reshape(1, -1, 1, 1))


def test_sole_units_are_all_there_is_of_some_activation() -> None:
    tensors = {"a": labels(2), "b": labels(3), "c": labels(0, 1), "d": labels(4)}

    assert sole_units(tensors, np.array([0, 0, 0, 1, 0, 0], dtype=bool)).tolist() == [
        *(False, False, True, False, True, False)
    ]


def parts(
    layers: list[Layer], *tensors: Labels, locked: tuple = (), n_units: int = 8
) -> list[list[list[int]]]:
    groups = grouped(layers, n_units=n_units)
    named = {f"t{k}": t for k, t in enumerate(tensors)}
    filled = never_empty(groups, named, np.isin(np.arange(n_units), locked))
    assert [(g.id, g.producers) for g in filled] == [(g.id, g.producers) for g in groups]
    return [[part.tolist() for part in g.nonempty] for g in filled]


def test_of_a_part_of_a_group_one_channel_must_stay() -> None:
    layers = [layer(0, 6, 5, 1, 7), layer(1, 2, 3)]

    assert parts(layers, labels(7, 6)) == [[[0, 3]], []]
    assert parts(layers, labels(2)) == [[], [[0]]]
    assert parts(layers, labels(5, 1), labels(1, 5), labels(6, 7)) == [[[0, 3], [1, 2]], []]


def test_what_holds_a_whole_group_or_a_channel_that_stays_cannot_be_empty() -> None:
    layers = [layer(0, 6, 5, 1, 7), layer(1, 2, 3)]

    assert parts(layers, labels(6, 5, 1, 7)) == [[], []]
    assert parts(layers, labels(6, 5, 1, 7), labels(7, 6)) == [[[0, 3]], []]
    assert parts(layers, labels(6, 5, 3, 2)) == [[], []], "the second group is there as a whole"
    assert parts(layers, labels(6, 5), labels(7, 1), locked=(5,)) == [[[2, 3]], []]


def test_what_no_layer_makes_does_not_count() -> None:
    layers = [layer(0, 6, 5, 1, 7), layer(1, 2, 3, 0)]

    assert parts(layers, labels(4)) == [[], []]
    assert parts(layers, labels(4, 8, 6), n_units=9) == [[[0]], []]


def test_of_several_parts_the_largest_is_the_one_that_must_not_go() -> None:
    layers = [layer(0, 6, 5, 1, 7), layer(1, 2, 3, 0)]

    assert parts(layers, labels(6, 2, 3)) == [[], [[0, 1]]]
    assert parts(layers, labels(2, 6)) == [[[0]], []], "of equal ones the first"


def test_a_constant_beside_channels_keeps_one_of_its_own():
    """A residual ties what the constant gives to channels, and all of these could go."""
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
        a = Conv (x, first)
        b = Concat <axis = 1> (a, table)
        c = Conv (b, second)
        d = Add (b, c)
        y = Conv (d, third)
    }"""
    second = rng.standard_normal((8, 8, 1, 1))
    second[6:] *= 1e-3
    proto = text_graphs.model(
        text,
        first=rng.standard_normal((6, 3, 1, 1)),
        table=rng.standard_normal((1, 2, 8, 8)),
        second=second,
        third=rng.standard_normal((4, 8, 1, 1)),
    )
    options = {"sparsity": 0.6, "method": "l1", "recover": "none", "residual": "prune"}
    cuts = rp.prune(rp.Model(proto), rp.Settings(**options)).report["cuts"]
    left = [len(cut["keep"]) for cut in cuts if cut["initializer"] == "table"]
    assert left == [1]
