"""Text graphs of Conv and ConvTranspose whose kernel another layer makes, as trackers have them."""

from __future__ import annotations

from rule_graphs import Case

KERNEL = "[template] k = Conv (f, k_w)\n"
ONE_EACH = KERNEL + "t = Reshape (k, s)\n"
MADE = "float[8,6,3,3] k_w"

CORRELATION = [
    Case(
        "depthwise correlation with a template",
        ONE_EACH + "z = Conv <group = 8> (c, t)",
        f"{MADE}, int64[4] s = {{8, 1, 6, 6}}",
        shapes={"k_w": (4, 3, 3, 3)},
        integers={"s": [4, 1, 6, 6]},
        keep=[],
    ),
    Case(
        "depthwise correlation with a bias, whose result is a shortcut",
        ONE_EACH + "m = Conv <group = 8, pads = [3,3,2,2]> (c, t, b)\n z = Add (c, m)",
        f"{MADE}, int64[4] s = {{-1, 1, 6, 6}}, float[8] b",
        shapes={"k_w": (4, 3, 3, 3), "b": (4,)},
        keep=[],
    ),
    Case(
        "depthwise correlation with a batch in the groups",
        KERNEL + "n = Neg (c)\n b = Concat <axis = 0> (c, n)\n r = Reshape (b, rows)\n"
        "l = Concat <axis = 0> (k, k)\n t = Reshape (l, s)\n"
        "m = Conv <group = 16> (r, t)\n z = Reshape (m, back)",
        f"{MADE}, int64[4] rows = {{1, 16, 8, 8}}, int64[4] s = {{16, 1, 6, 6}},"
        " int64[4] back = {2, 8, 3, 3}",
        shapes={"k_w": (4, 3, 3, 3)},
        integers={"rows": [1, 8, 8, 8], "s": [8, 1, 6, 6], "back": [2, 4, 3, 3]},
        keep=[],
    ),
    Case(
        "two results for each channel",
        "[template] k = Conv (f, k_w)\n t = Reshape (k, s)\n z = Conv <group = 8> (c, t)",
        "float[16,6,3,3] k_w, int64[4] s = {16, 1, 6, 6}",
        n=16,
        keep=[],
    ),
    Case(
        "correlation that sums the channels",
        KERNEL + "z = Conv (c, k)",
        MADE,
        n=1,
        shapes={"k_w": (4, 3, 3, 3)},
        keep=[],
    ),
    Case(
        "several kernels, of as many channels as the image",
        "[template] k = Conv (f, k_w)\n t = Reshape (k, s)\n z = Conv (c, t)",
        "float[40,6,3,3] k_w, int64[4] s = {5, 8, 6, 6}",
        n=5,
        keep=[],
        shapes={"k_w": (20, 3, 3, 3)},
        integers={"s": [5, 4, 6, 6]},
    ),
    Case(
        "a sum of channels for each image of a batch in the groups",
        KERNEL + "n = Neg (c)\n b = Concat <axis = 0> (c, n)\n r = Reshape (b, rows)\n"
        "l = Concat <axis = 0> (k, k)\n z = Conv <group = 2> (r, l)",
        f"{MADE}, int64[4] rows = {{1, 16, 8, 8}}",
        n=2,
        shapes={"k_w": (4, 3, 3, 3)},
        integers={"rows": [1, 8, 8, 8]},
        keep=[],
    ),
    Case(
        "groups of four channels",
        "[template] k = Conv (f, k_w)\n t = Reshape (k, s)\n z = Conv <group = 2> (c, t)",
        "float[8,6,3,3] k_w, int64[4] s = {2, 4, 6, 6}",
        n=2,
        keep=[],
    ),
    Case(
        "depthwise ConvTranspose with a template",
        ONE_EACH + "z = ConvTranspose <group = 8> (c, t)",
        f"{MADE}, int64[4] s = {{8, 1, 6, 6}}",
        shapes={"k_w": (4, 3, 3, 3)},
        keep=[],
    ),
    Case(
        "ConvTranspose with several kernels",
        "[template] k = Conv (f, k_w)\n t = Reshape (k, s)\n z = ConvTranspose (c, t)",
        "float[40,6,3,3] k_w, int64[4] s = {8, 5, 6, 6}",
        n=5,
        keep=[],
        integers={"s": [4, 5, 6, 6]},
    ),
    Case("an image with its own mean", "g = GlobalAveragePool (c)\n z = Conv (c, g)", n=1),
]

UNMATCHED = [
    Case(
        "a kernel for an image whose channels stay",
        "p = Slice (x, none, two, one)\n d = Concat <axis = 1> (x, x, p)\n"
        "e = Relu (d)\n z = Conv (e, c)",
        "int64[1] none = {0}, int64[1] one = {1}, int64[1] two = {2}",
        n=1,
        reason="Conv.* sums over the channels",
    ),
]
