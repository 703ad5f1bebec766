"""The needs that follow from the numbers in a graph.

Reshapes go to numbers that are stated, or computed in part; products have matrices of fixed rows,
normalizations have scales of fixed extents, what is read and written at places has theirs, and what
stands beside constants has those of the constants.
"""

from __future__ import annotations

from math import prod

import onnx

from reprune_onnx.attributes import attribute
from reprune_onnx.sizes.need import Inputs, Need, Tensors, apart, times, title


def reshape(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A Reshape wants as many numbers as it makes."""
    data = inputs[0] or ()
    target = tensors.integers.get(node.input[1], tensors.extents.get(node.output[0])) or [-1]
    result = [data[k] if n == 0 and k < len(data) else n for k, n in enumerate(target)]
    have, want = prod(data), prod(n for n in result if n > 0)
    text = f"{title(node)} makes {times(result)} of {times(data)}"
    is_met = not have % max(want, 1) if -1 in result else have == want
    return Need(title(node), text, have, want, is_met, max(target[0], 0))


def product(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A product wants as many columns as its matrix has rows."""
    data, matrix = inputs[0] or (), inputs[1]
    if not matrix or len(matrix) < 2 or attribute(node, "transA", 0):
        return None
    columns, rows = data[-1], matrix[-1 if attribute(node, "transB", 0) else -2]
    text = f"{title(node)} multiplies {times(data)} with {times(matrix)}"
    return Need(title(node), text, columns, rows, columns == rows)


def convolution(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A convolution wants the channels of its kernel, in each of its groups."""
    data, kernel = inputs[0] or (), inputs[1]
    groups = attribute(node, "group", 1)
    if not kernel or len(data) < 2 or len(kernel) < 2:
        return None
    channels, wanted = data[1], kernel[1] * groups
    text = f"{title(node)} has {times(data)} under {groups} × {times(kernel)}"
    return Need(title(node), text, channels, wanted, channels == wanted)


def normalization(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A normalization wants the extents of its scale, where that is not repeated."""
    axis = attribute(node, "axis", -1)
    data, scale = (inputs[0] or ())[axis:], inputs[1]
    if not scale or len(scale) != len(data) or 1 in scale:
        return None
    text = f"{title(node)} scales {times(data)} by {times(scale)}"
    return Need(title(node), text, prod(data), prod(scale), data == scale)


def operands(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """An operand needs the extents of the tensors beside it: of constants, else of the smallest.

    Where a Concat joins them, along all other axes; elsewhere where neither is repeated.
    """
    joined_axis = attribute(node, "axis", None)
    if node.op_type == "Concat" and len({len(extents or ()) for extents in inputs}) > 1:
        return None
    by_weight = [
        (name in tensors.weights, extents)
        for name, extents in zip(node.input, inputs, strict=True)
        if extents
    ]
    by_weight.sort(key=lambda one: (not one[0], prod(one[1])))  # constants, then the smallest
    if len(by_weight) < 2 or by_weight[-1][0]:
        return None
    fixed, free = by_weight[0][1], by_weight[-1][1]
    pairs = [
        (a, b)
        for k, (a, b) in enumerate(zip(reversed(free), reversed(fixed), strict=False))
        if (
            len(free) - 1 - k != joined_axis % len(free)
            if joined_axis is not None
            else 1 not in (a, b)
        )
    ]
    have, want = prod(a for a, _ in pairs), prod(b for _, b in pairs)
    text = f"{title(node)} has {times(free)} beside {times(fixed)}"
    is_met = all(a == b for a, b in pairs)
    is_repeated = joined_axis is None and free[0] == 1
    first = 0 if len(fixed) != len(free) or joined_axis == 0 or is_repeated else fixed[0]
    return Need(title(node), text, have, want, is_met, first)


def elements_at_places(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """Elements at places want as much beside them as there are places, along all other axes."""
    data, places = inputs[0] or (), inputs[1]
    if not places or len(places) != len(data):
        return None
    axis = attribute(node, "axis", 0) % len(data)
    text = f"{title(node)} has {times(places)} places in {times(data)}"
    pairs = [pair for k, pair in enumerate(zip(data, places, strict=True)) if k != axis]
    return apart(node, text, [(a, max(a, b)) for a, b in pairs])


def rows_at_places(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """Rows that are written at places want the extents of the rows that they replace."""
    data, places, rows = (*inputs, None, None)[:3]
    if not data or not places or rows is None or places[-1] > len(data):
        return None
    replaced = (*places[:-1], *data[places[-1] :])
    if len(replaced) != len(rows):
        return None
    text = f"{title(node)} writes {times(rows)} in place of {times(replaced)}"
    return apart(node, text, list(zip(replaced, rows, strict=True)))


def grid_sample(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """GridSample needs as many images as there are grids."""
    data, grid = inputs[0] or (), inputs[1]
    if not grid:
        return None
    text = f"{title(node)} reads {times(data)} at {times(grid)} places"
    return apart(node, text, [(data[0], grid[0])])


def scan(tensors: Tensors, node: onnx.NodeProto, inputs: Inputs) -> Need | None:
    """A Scan wants what its body states: of states as they are, of the rest without one axis."""
    n_scanned = attribute(node, "num_scan_inputs", 0)
    n_states = len(node.input) - n_scanned
    axes = attribute(node, "scan_input_axes", [0] * n_scanned)
    pairs: list[tuple[int, int]] = []
    text = ""
    batch = False
    ports = attribute(node, "body", None).input
    for k, (port, extents) in enumerate(zip(ports, inputs, strict=False)):
        if extents is None:
            continue
        axis = axes[k - n_states] % len(extents) if k >= n_states else None
        row = [n for i, n in enumerate(extents) if i != axis]
        stated = [d.dim_value for d in port.type.tensor_type.shape.dim]
        if len(stated) != len(row):
            continue
        of_input = [(a, b) for a, b in zip(row, stated, strict=True) if b > 0]
        if not text and any(a != b for a, b in of_input):
            shown = "×".join(str(n or "?") for n in stated)
            text = f"{title(node)} scans {times(row)}, where its body states {shown}"
            batch = axis != 0 and row[0] != stated[0] > 0
        pairs += of_input
    return apart(node, text or f"{title(node)} scans as its body states", pairs, batch)
