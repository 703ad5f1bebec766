"""The integers of a file that count channels: rewritten where they must be, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_cuts import arrays, attributes, cut_to, network, node

from reprune_onnx.results import Rewrite

HALVES = "[s] l, r = Split <axis = 1> (c)\n z = Concat <axis = 1> (r, l)\n y = Conv (z, head)"


def test_a_number_of_groups_follows() -> None:
    body = "c = Conv (x, c_w)\n [deep] d = Conv <group = 4> (c, k)\n y = Conv (d, head)"

    result = cut_to(network(body, k=np.ones((4, 1, 1, 1))), c=[0, 1, 3])

    assert attributes(result, "d")["group"] == 3
    assert result.rewrites == (Rewrite("deep", True, 4, 3),)


def test_sizes_in_an_attribute_follow() -> None:
    body = HALVES.replace("axis = 1> (c)", "axis = 1, split = [1, 3]> (c)")

    result = cut_to(network("c = Conv (x, c_w)\n" + body, opset=11), c=[0, 1, 3])

    assert attributes(result, "l") == {"axis": 1, "split": [1, 2]}
    assert result.rewrites == (Rewrite("s", True, [1, 3], [1, 2]),)


def test_one_number_follows_behind_another() -> None:
    body = (
        "c = Conv (x, c_w)\n d = Conv <group = 4> (c, k)\n z = Reshape (d, t)\n y = Conv (z, head)"
    )
    weights = {"k": np.ones((4, 1, 1, 1)), "t": np.array([0, 4, 8, 8])}

    result = cut_to(network(body, **weights), c=[0, 3])

    assert attributes(result, "d")["group"] == 2
    assert arrays(result)["t"].tolist() == [0, 2, 8, 8]


def test_bounds_of_other_axes_stay() -> None:
    body = "c = Conv (x, c_w)\n [cut] s = Slice <axes = [2, 1], starts = [1, 1], ends = [7, 4]> (c)"
    head = np.ones((2, 3, 1, 1))

    result = cut_to(network(f"{body}\n y = Conv (s, h)", opset=9, h=head), c=[0, 2, 3])

    assert attributes(result, "s") == {"axes": [2, 1], "starts": [1, 1], "ends": [7, 3]}
    assert result.rewrites == (Rewrite("cut", True, [7, 4], [7, 3]),)


def test_attributes_of_other_channels_are_not_rewritten() -> None:
    body = "c = Conv (x, c_w)\n d = Conv (c, d_w)\n e = Conv <group = 4> (d, k)\n"
    body += HALVES.replace("axis = 1> (c)", "axis = 1, split = [1, 3]> (e)")

    result = cut_to(network(body, opset=11, k=np.ones((4, 1, 1, 1))), c=[0, 3])

    assert attributes(result, "e")["group"] == 4
    assert attributes(result, "l") == {"axis": 1, "split": [1, 3]}
    assert result.rewrites == ()


@pytest.mark.parametrize("opset", [11, 13])
def test_halves_are_not_written_down_while_they_are_equal(opset: int) -> None:
    result = cut_to(network("c = Conv (x, c_w)\n" + HALVES, opset=opset), c=[0, 2])

    assert attributes(result, "l") == {"axis": 1}
    assert list(node(result, "l").input) == ["c"]
    assert result.rewrites == ()


def test_unequal_halves_become_an_attribute() -> None:
    result = cut_to(network("c = Conv (x, c_w)\n" + HALVES, opset=11), c=[0, 1, 2])

    assert attributes(result, "l") == {"axis": 1, "split": [2, 1]}
    assert result.rewrites == (Rewrite("s", True, None, [2, 1]),)


@pytest.mark.parametrize("left_out", [[], [""]], ids=["left out", "empty"])
def test_unequal_halves_become_a_constant(left_out: list[str]) -> None:
    proto = network("c = Conv (x, c_w)\n" + HALVES, opset=13)
    proto.graph.node[1].input.extend(left_out)

    result = cut_to(proto, c=[0, 1, 2])

    assert list(node(result, "l").input) == ["c", "s_split_pruned"]
    sizes = arrays(result)["s_split_pruned"]
    assert (sizes.tolist(), sizes.dtype) == ([2, 1], np.int64)
    assert attributes(result, "l") == {"axis": 1}
    assert result.rewrites == (Rewrite("s", True, None, [2, 1]),)


THIRDS = """c = Conv (x, w)  [s] l, m, r = Split <axis = 1, num_outputs = 3> (c)
  z = Concat <axis = 1> (r, l, m)  y = Conv (z, v)"""


@pytest.mark.parametrize(
    ("keep", "sizes"),
    [
        ([0, 1, 3, 4, 6], None),
        ([0, 3, 6], None),
        ([0, 1, 2, 3, 4, 5, 6], None),
        ([0, 1, 2, 3, 4, 6], [3, 2, 1]),
        ([0, 3, 4, 6], [1, 2, 1]),
    ],
)
def test_parts_that_one_number_gives(keep: list[int], sizes: list[int] | None) -> None:
    weights = {"w": np.ones((7, 3, 1, 1)), "v": np.ones((2, 7, 1, 1))}

    result = cut_to(network(THIRDS, opset=18, **weights), c=keep)

    if sizes is None:
        assert attributes(result, "l") == {"axis": 1, "num_outputs": 3}
        assert list(node(result, "l").input) == ["c"]
        assert result.rewrites == ()
    else:
        assert attributes(result, "l") == {"axis": 1}
        assert arrays(result)["s_split_pruned"].tolist() == sizes
        assert result.rewrites == (Rewrite("s", True, None, sizes),)


def test_a_bound_from_the_end_means_the_end_once_nothing_is_behind_it() -> None:
    body = "c = Conv (x, c_w)\n s = Slice (c, zero, end, one)\n y = Conv (s, h)"
    weights = {
        "zero": np.array([0]),
        "end": np.array([-2]),
        "one": np.array([1]),
        "h": np.ones((2, 2, 1, 1)),
    }

    result = cut_to(network(body, **weights), c=[0, 1])

    assert arrays(result)["end"].tolist() == [2**31 - 1]
    assert arrays(result)["zero"].tolist() == [0]
    assert result.rewrites == (Rewrite("end", False, [-2], [2**31 - 1]),)

    result = cut_to(network(body, **weights), c=[1, 3])

    assert arrays(result)["end"].tolist() == [-1]
    assert result.rewrites == (Rewrite("end", False, [-2], [-1]),)


def test_indices_of_channels_that_go_go_too_and_the_others_follow() -> None:
    body = "c = Conv (x, c_w)\n g = Gather <axis = 1> (c, i)\n y = Conv (g, h)"
    indices = np.array([3, 0, -2, 3, 1])

    result = cut_to(network(body, i=indices, h=np.ones((2, 5, 1, 1))), c=[0, 3])

    assert arrays(result)["i"].tolist() == [1, 0, 1]
    assert result.rewrites == (Rewrite("i", False, [3, 0, -2, 3, 1], [1, 0, 1]),)
    assert [c.initializer for c in result.cuts] == ["c_w", "h"]


def test_a_target_that_two_nodes_need_differently_is_copied() -> None:
    body = "c = Conv (x, c_w)\n d = Conv (c, d_w)\n f = Reshape (c, t)\n g = Reshape (d, t)"
    body += "\n p = Gemm (f, v)\n q = Gemm (g, w)\n y = Add (p, q)"
    weights = {"t": np.array([1, 256]), "v": np.ones((256, 2)), "w": np.ones((256, 2))}

    result = cut_to(network(body, "float[n,k] y", **weights), c=[0, 1], d=[0, 1, 2])

    assert list(node(result, "f").input) == ["c", "t"]
    assert list(node(result, "g").input) == ["d", "t_pruned"]
    assert arrays(result)["t"].tolist() == [1, 128]
    assert arrays(result)["t_pruned"].tolist() == [1, 192]
    assert result.rewrites == (
        Rewrite("t", False, [1, 256], [1, 128]),
        Rewrite("t_pruned", False, [1, 256], [1, 192]),
    )
