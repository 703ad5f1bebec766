"""What cannot be known before the model runs: parameters from the image, and random numbers."""

from __future__ import annotations

from rule_graphs import Case

MADE = """a = ReduceMax <keepdims = 0> (x)
    i = Cast <to = 7> (a)
    m = Mul (i, zero)
    p = Add (m, value)
    """
"""``p`` has the numbers of ``value``, but no one can tell before the model runs."""


def unknown(
    op: str, which: str, body: str, value: list[int], weights: str = "", opset: int = 17
) -> Case:
    """A case whose ``op`` reads ``p``, of these values; ``weights`` are further constants."""
    numbers = ", ".join(map(str, value))
    constants = f"int64 zero = {{0}}, int64[{len(value)}] value = {{{numbers}}}"
    title = f"{op}: {which} from the image"
    return Case(title, MADE + body, f"{constants}, {weights}".rstrip(", "), opset=opset, reason=op)


UNKNOWN = [
    unknown("Reshape", "target", "z = Reshape (c, p)", [1, 8, 8, 8]),
    unknown("Expand", "target", "z = Expand (c, p)", [1, 8, 8, 8]),
    unknown("Tile", "repeats", "z = Tile (c, p)", [1, 1, 1, 1]),
    unknown(
        "Tile",
        "repeats of channels",
        "r = Concat <axis = 0> (one, p, one, one)\n z = Tile (c, r)",
        [1],
        weights="int64[1] one = {1}",
    ),
    unknown(
        "Squeeze",
        "axes",
        "u = Unsqueeze (c, one)\n z = Squeeze (u, p)",
        [1],
        weights="int64[1] one = {1}",
    ),
    unknown(
        "Unsqueeze",
        "axes",
        "u = Unsqueeze (c, p)\n z = Squeeze (u, one)",
        [1],
        weights="int64[1] one = {1}",
    ),
    unknown(
        "Split", "sizes", "l, r = Split <axis = 1> (c, p)\n z = Concat <axis = 1> (r, l)", [4, 4]
    ),
    unknown(
        "Slice",
        "starts",
        "z = Slice (c, p, ends, axes)",
        [0],
        weights="int64[1] ends = {8}, int64[1] axes = {1}",
    ),
    unknown(
        "Slice",
        "axes",
        "z = Slice (c, starts, ends, p)",
        [1],
        weights="int64[1] starts = {0}, int64[1] ends = {8}",
    ),
    unknown(
        "Slice",
        "one start of two",
        "s = Concat <axis = 0> (none, p)\n z = Slice (c, s, ends, axes)",
        [0],
        weights="int64[1] none = {0}, int64[2] ends = {8, 8}, int64[2] axes = {2, 1}",
    ),
    unknown("Pad", "pads", "z = Pad (c, p)", [0, 0, 0, 0, 0, 0, 0, 0]),
    unknown(
        "Pad",
        "axes",
        "z = Pad (c, pads, , p)",
        [2],
        opset=18,
        weights="int64[2] pads = {1, 1}",
    ),
    unknown("ReduceMean", "axes", "z = ReduceMean (c, p)", [2, 3], opset=18),
    Case(
        "Gather of positions by channels",
        """h = ReduceMax <axes = [0, 2, 3], keepdims = 0> (c)
        j = Cast <to = 7> (h)
        o = Mul (j, zero)
        z = Gather <axis = 2> (c, o)""",
        "int64 zero = {0}",
        reason="reads these channels as indices",
    ),
    Case(
        "InstanceNormalization scaled by channels",
        """h = ReduceMean <axes = [0, 2, 3], keepdims = 0> (c)
        z = InstanceNormalization (c, h, shift)""",
        "float[8] shift",
        reason="is not a constant",
    ),
    Case(
        "channels times channels",
        """g = GlobalAveragePool (c)
        h = Transpose <perm = [0,2,1,3]> (g)
        z = Mul (g, h)""",
        reason="tied to each other",
    ),
    Case(
        "Einsum of a diagonal",
        'e = Einsum <equation = "bccw->bcw"> (c)\n z = Unsqueeze (e, three)',
        "int64[1] three = {3}",
        reason="Einsum",
    ),
]

RANDOM = [
    Case(
        "Dropout in training",
        "z = Dropout (c, ratio, on)",
        "float ratio = {0.5}, bool on = {1}",
        reason="Dropout",
    ),
    Case(
        "Dropout of a constant in training",
        "d = Dropout (ones, ratio, on)\n z = Mul (c, d)",
        "float[1,8,1,1] ones = {1, 1, 1, 1, 1, 1, 1, 1}, float ratio = {0.5}, bool on = {1}",
        reason="Dropout",
    ),
    Case(
        "Multinomial of constants",
        "s = Multinomial <sample_size = 8> (odds)\n r = Cast <to = 1> (s)\n"
        " d = Unsqueeze (r, axes)\n z = Mul (c, d)",
        "float[1,2] odds = {1, 1}, int64[2] axes = {2, 3}",
        reason="Multinomial",
    ),
]
"""Numbers that are others in each run, which no constant may stand for."""
