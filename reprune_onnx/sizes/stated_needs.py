"""The needs that follow from the numbers in a graph.

Reshapes go to numbers that are stated, or computed in part; products have matrices of fixed rows,
normalizations have scales of fixed extents, what is read and written at places has theirs, and what
stands beside constants has those of the constants.
"""

from __future__ import annotations

from math import prod

import onnx

from reprune_onnx.sizes.need import Comes, Known, Need, apart, times, title


def reshaped(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A Reshape wants as many numbers as it makes."""
    data = comes[0] or ()
    made = node.output[0]
    target = known.integers.get(node.input[1], known.extents.get(made)) or [-1]
    to = [data[k] if n == 0 and k < len(data) else n for k, n in enumerate(target)]
    have, want = prod(data), prod(n for n in to if n > 0)
    text = f"{title(node)} makes {times(to)} of {times(data)}"
    is_met = not have % max(want, 1) if -1 in to else have == want
    return Need(title(node), text, have, want, is_met, max(target[0], 0))


def multiplied(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A product wants as many columns as its matrix has rows."""
    data, rows = comes[0] or (), comes[1]
    flags = {a.name: a.i for a in node.attribute}
    if not rows or len(rows) < 2 or flags.get("transA"):
        return None
    have, want = data[-1], rows[-1] if flags.get("transB") else rows[-2]
    text = f"{title(node)} multiplies {times(data)} with {times(rows)}"
    return Need(title(node), text, have, want, have == want)


def convolved(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A convolution wants the channels of its kernel, in each of its groups."""
    data, kernel = comes[0] or (), comes[1]
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if not kernel or len(data) < 2 or len(kernel) < 2:
        return None
    have, want = data[1], kernel[1] * groups
    text = f"{title(node)} has {times(data)} under {groups} × {times(kernel)}"
    return Need(title(node), text, have, want, have == want)


def normalized(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A normalization wants the extents of its scale, where that is not repeated."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
    data, scale = (comes[0] or ())[axis:], comes[1]
    if not scale or len(scale) != len(data) or 1 in scale:
        return None
    text = f"{title(node)} scales {times(data)} by {times(scale)}"
    return Need(title(node), text, prod(data), prod(scale), data == scale)


def beside(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """An operand needs the extents of the tensors beside it: of constants, else of the smallest.

    Where a Concat joins them, along all other axes; elsewhere where neither is repeated.
    """
    joined = next((a.i for a in node.attribute if a.name == "axis"), None)
    tensors = list(zip(node.input, comes, strict=True))
    if node.op_type == "Concat" and len({len(extents or ()) for extents in comes}) > 1:
        return None
    whole = [(name in known.weights, extents) for name, extents in tensors if extents]
    whole.sort(key=lambda one: (not one[0], prod(one[1])))
    if len(whole) < 2 or whole[-1][0]:
        return None
    fixed, moves = whole[0][1], whole[-1][1]
    pairs = [
        (a, b)
        for k, (a, b) in enumerate(zip(reversed(moves), reversed(fixed), strict=False))
        if (len(moves) - 1 - k != joined % len(moves) if joined is not None else 1 not in (a, b))
    ]
    have, want = prod(a for a, _ in pairs), prod(b for _, b in pairs)
    text = f"{title(node)} has {times(moves)} beside {times(fixed)}"
    is_met = all(a == b for a, b in pairs)
    repeated = joined is None and moves[0] == 1
    first = 0 if len(fixed) != len(moves) or joined == 0 or repeated else fixed[0]
    return Need(title(node), text, have, want, is_met, first)


def read(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """Elements at places want as much beside them as there are places, along all other axes."""
    data, places = comes[0] or (), comes[1]
    if not places or len(places) != len(data):
        return None
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(data)
    text = f"{title(node)} has {times(places)} places in {times(data)}"
    pairs = [pair for k, pair in enumerate(zip(data, places, strict=True)) if k != axis]
    return apart(node, text, [(a, max(a, b)) for a, b in pairs])


def written(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """Rows that are written at places want the extents of the rows that they replace."""
    data, places, rows = (*comes, None, None)[:3]
    if not data or not places or rows is None or places[-1] > len(data):
        return None
    want = (*places[:-1], *data[places[-1] :])
    if len(want) != len(rows):
        return None
    text = f"{title(node)} writes {times(rows)} in place of {times(want)}"
    return apart(node, text, list(zip(want, rows, strict=True)))


def sampled(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """GridSample needs as many images as there are grids."""
    data, grid = comes[0] or (), comes[1]
    if not grid:
        return None
    text = f"{title(node)} reads {times(data)} at {times(grid)} places"
    return apart(node, text, [(data[0], grid[0])])


def scanned(known: Known, node: onnx.NodeProto, comes: Comes) -> Need | None:
    """A Scan wants what its body states: of states as they are, of the rest without one axis."""
    attributes = {a.name: a for a in node.attribute}
    scanned_inputs = attributes["num_scan_inputs"].i
    states = len(node.input) - scanned_inputs
    axes = [0] * scanned_inputs
    if "scan_input_axes" in attributes:
        axes = list(attributes["scan_input_axes"].ints)
    pairs: list[tuple[int, int]] = []
    text = ""
    batch = False
    for k, (port, extents) in enumerate(zip(attributes["body"].g.input, comes, strict=False)):
        if extents is None:
            continue
        axis = axes[k - states] % len(extents) if k >= states else None
        rows = [n for i, n in enumerate(extents) if i != axis]
        stated = [d.dim_value for d in port.type.tensor_type.shape.dim]
        if len(stated) != len(rows):
            continue
        both = [(a, b) for a, b in zip(rows, stated, strict=True) if b > 0]
        if not text and any(a != b for a, b in both):
            wanted = "×".join(str(n or "?") for n in stated)
            text = f"{title(node)} scans {times(rows)}, where its body states {wanted}"
            batch = axis != 0 and rows[0] != stated[0] > 0
        pairs += both
    return apart(node, text or f"{title(node)} scans as its body states", pairs, batch)
