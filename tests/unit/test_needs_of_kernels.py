"""Sizes that fit what ONNX Runtime's kernels want, of which shape inference says nothing."""

from __future__ import annotations

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.runtime.tried_sizes import tried_sizes
from reprune_onnx.sizes.fitting import fitting_shapes

RNG = np.random.default_rng(3)
BATCH, SIDES = "float[b, 3, 32, 32] x", "float[1, 3, h, w] x"
RESIZED = '[t] y = Resize <mode = "linear"> (r, , , to)'
MEANS = "m = GlobalAveragePool (r)\n f = Flatten (m)\n"
ROWS = "m = ReduceMean <keepdims = 0> (r, rows)\n f = Transpose <perm = [2, 0, 1]> (m)\n"


def model(inputs, tail, **weights):
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    g ({inputs}) => (float[] y) {{
        p = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, first)
        q = Relu (p)
        r = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (q, second)
        {tail}
    }}"""
    return text_graphs.model(text, first=drawn(16, 3, 3, 3), second=drawn(8, 16, 3, 3), **weights)


def drawn(*extents):
    return RNG.standard_normal(extents)


def whole(*numbers):
    return np.array(numbers, np.int64)


def scanned(axis, row, to):
    """A Scan along an axis, whose body reshapes each row."""
    numbers = ", ".join(map(str, to))
    body = f"s = Constant <value = int64[{len(to)}] {{{numbers}}}> () o = Reshape (row, s)"
    return (
        f"[t] y = Scan <num_scan_inputs = 1, scan_input_axes = [{axis}],"
        f" body = rows ({row}) => (float[] o) {{ {body} }}> (r)"
    )


CASES = {
    "two images, interpolated": (
        BATCH,
        RESIZED,
        {"to": whole(2, 8, 4, 4)},
        (2, 3, 32, 32),
        "Resize 't' interpolates 1×8×8×8 to 2×8×4×4",
    ),
    "along some axes": (
        BATCH,
        '[t] y = Resize <mode = "cubic", axes = [0, 2]> (r, , , to)',
        {"to": whole(2, 4)},
        (2, 3, 32, 32),
        "Resize 't' interpolates 1×8×8×8 to 2×8×4×8",
    ),
    "to a size that is computed": (
        BATCH,
        f"s = Shape <start = 2> (r)\n to = Concat <axis = 0> (start, s)\n {RESIZED}",
        {"start": whole(4, 8)},
        (4, 3, 32, 32),
        "Resize 't' interpolates 1×8×8×8 to 4×8×8×8",
    ),
    "rows in the place of channels": (
        SIDES,
        f"u = Transpose <perm = [0, 2, 1, 3]> (r)\n {RESIZED.replace('(r', '(u')}",
        {"to": whole(1, 12, 8, 4)},
        (1, 3, 48, 48),
        "Resize 't' interpolates 1×56×8×56 to 1×12×8×4",
    ),
    "a volume": (
        BATCH,
        f"u = Unsqueeze (r, two)\n {RESIZED.replace('(r', '(u')}",
        {"two": whole(2), "to": whole(2, 8, 2, 4, 4)},
        (2, 3, 32, 32),
        "Resize 't' interpolates 1×8×1×8×8 to 2×8×2×4×4",
    ),
    "the second image": (
        BATCH,
        "[t] y = Gather (r, at)",
        {"at": whole(0, 1)},
        (2, 3, 32, 32),
        "Gather 't' reads place 1 of 1 along axis 0",
    ),
    "the last but two": (
        BATCH,
        "[t] y = Gather (r, at)",
        {"at": np.array([-3], np.int32)},
        (3, 3, 32, 32),
        "Gather 't' reads place -3 of 1 along axis 0",
    ),
    "an image at a place": (
        BATCH,
        "[t] y = ScatterND (r, at, rows)",
        {"at": whole(1).reshape(1, 1), "rows": drawn(1, 8, 8, 8)},
        (2, 3, 32, 32),
        "ONNX Runtime does not run the model",
    ),
    "boxes of the second image": (
        BATCH,
        "[t] y = RoiAlign (r, boxes, images)",
        {"boxes": np.array([[0.0, 0.0, 2.0, 2.0]]), "images": whole(1)},
        (2, 3, 32, 32),
        "RoiAlign 't' reads image 1 of 1",
    ),
    "kernels of an image in groups": (
        BATCH,
        "m = GlobalAveragePool (r)\n e = Concat <axis = 1> (r, r)\n[t] y = Conv <group = 2> (e, m)",
        {},
        (2, 3, 32, 32),
        "Conv 't' makes 1 channels in 2 groups",
    ),
    "one of several images as a matrix": (
        BATCH,
        "e = Slice (r, one, two, zero)\n [t] y = Reshape (e, to)",
        {"zero": whole(0), "one": whole(1), "two": whole(2), "to": whole(8, 64)},
        (8, 3, 32, 32),
        "Reshape 't' makes 8×64 of 0×8×8×8",
    ),
    "rows of a bias": (
        BATCH,
        MEANS + "[t] y = Gemm (f, matrix, bias)",
        {"matrix": drawn(8, 5), "bias": drawn(3, 5)},
        (3, 3, 32, 32),
        "Gemm 't' adds 3×5 to 1 rows",
    ),
    "lengths of two lines": (
        BATCH,
        "u = Transpose <perm = [2, 0, 1, 3]> (r)\n [t] y = ReverseSequence (u, lengths)",
        {"lengths": whole(3, 5)},
        (2, 3, 32, 32),
        "ReverseSequence 't' has a batch of 1 beside lengths or states for 2",
    ),
    "states of two sequences": (
        BATCH,
        ROWS + "[t] y = LSTM <hidden_size = 3> (f, W, R, , , h, h)",
        {"rows": whole(2), "W": drawn(1, 12, 8), "R": drawn(1, 12, 3), "h": drawn(1, 2, 3)},
        (2, 3, 32, 32),
        "LSTM 't' has a batch of 1 beside lengths or states for 2",
    ),
    "lengths of two sequences": (
        BATCH,
        ROWS + "[t] y = RNN <hidden_size = 3> (f, W, R, , lengths)",
        {
            "rows": whole(2),
            "W": drawn(1, 3, 8),
            "R": drawn(1, 3, 3),
            "lengths": np.array([3, 5], np.int32),
        },
        (2, 3, 32, 32),
        "RNN 't' has a batch of 1 beside lengths or states for 2",
    ),
    "blocks of three": (
        SIDES,
        "[t] y = SpaceToDepth <blocksize = 3> (r)",
        {},
        (1, 3, 228, 228),
        "SpaceToDepth 't' takes 56×56 apart in blocks of 3",
    ),
    "a window of seventy": (
        SIDES,
        "[t] y = AveragePool <kernel_shape = [70, 70]> (r)",
        {},
        (1, 3, 288, 288),
        "AveragePool 't' has a window of 70×70 in 56×56",
    ),
    "a kernel with holes": (
        SIDES,
        "[t] y = Conv <dilations = [1, 20]> (r, third)",
        {"third": drawn(4, 8, 1, 5)},
        (1, 3, 324, 324),
        "Conv 't' has a window of 1×81 in 56×56",
    ),
    "one row": (
        SIDES,
        "[t] y = Squeeze (r, rows)",
        {"rows": whole(-2)},
        (1, 3, 4, 4),
        "Squeeze 't' drops axes -2 of 1×8×56×56",
    ),
    "rows of two images": (
        BATCH,
        scanned(2, "float[2, 8, 8] row", (16, 8)),
        {},
        (2, 3, 32, 32),
        "Scan 't' scans 1×8×8, where its body states 2×8×8",
    ),
    "rows of twelve": (
        SIDES,
        scanned(2, "float[1, 8, 12] row", (8, 12)),
        {},
        (1, 3, 48, 48),
        "Scan 't' scans 1×8×56, where its body states 1×8×12",
    ),
    "images of a stated size": (
        SIDES,
        scanned(0, "float[8, 4, k] row", (32, 4)),
        {},
        (1, 3, 16, 16),
        "Scan 't' scans 8×56×56, where its body states 8×4×?",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_fit_what_kernels_want(case):
    inputs, tail, weights, shape, reason = CASES[case]
    proto = model(inputs, tail, **weights)
    found = fitting_shapes(proto, {})
    assert found.shapes == {"x": shape}
    assert reason in found.note
    runs = tried_sizes(proto)
    assert runs(found.shapes)
    assumed = {"x": tuple(n or a for n, a in zip(stated(inputs), (1, 3, 224, 224), strict=True))}
    assert assumed != found.shapes
    assert not runs(assumed)


def stated(inputs):
    return [int(n) if n.strip().isdigit() else 0 for n in inputs[6:-3].split(",")]


FITTING = {
    "the nearest of two images": ('y = Resize <mode = "nearest"> (r, , , to)', whole(2, 8, 4, 4)),
    "scales": ('y = Resize <mode = "linear"> (r, , to)', np.array([1, 1, 2, 0.5], np.float32)),
    "channels at the end": (
        'u = Transpose <perm = [0, 2, 3, 1]> (r)\n y = Resize <mode = "linear"> (u, , , to)',
        whole(1, 4, 5, 8),
    ),
    "a window that pads and strides": (
        "y = MaxPool <kernel_shape = [58, 59], pads = [1, 1, 1, 1], strides = [2, 2]> (r)",
        None,
    ),
    "a window that always fits": (
        'y = MaxPool <kernel_shape = [90, 90], auto_pad = "SAME_UPPER"> (r)',
        None,
    ),
    "the last row": ("y = Gather <axis = 2> (r, to)", whole(-56)),
    "peepholes": (
        ROWS.replace("rows", "to") + "y = LSTM <hidden_size = 3> (f, W, R, , , , , P)",
        whole(2),
    ),
    "one row of a bias": (MEANS + "y = Gemm (f, to, bias)", drawn(8, 5)),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_fits_is_left(case):
    tail, to = FITTING[case]
    known = {"bias": (1, 5), "W": (1, 12, 8), "R": (1, 12, 3), "P": (1, 9)}
    weights = {name: drawn(*extents) for name, extents in known.items() if f" {name}" in tail}
    if to is not None:
        weights["to"] = to
    proto = model("float[b, 3, h, w] x", tail, **weights)
    found = fitting_shapes(proto, {})
    assert found.note is None
    assert tried_sizes(proto)(found.shapes)


def test_a_model_of_two_interpolated_images_is_pruned_as_it_is():
    """Case 2552 of seed 8 of the campaign."""
    tail = RESIZED.replace("y", "z") + "\n y = Conv (z, third)"
    proto = model("float[n, 3, h, w] x", tail, to=whole(2, 8, 16, 16), third=drawn(3, 8, 1, 1))
    settings = rp.Settings(sparsity=0.5, method="l1", recover="none", allocation="uniform")
    assert rp.prune(rp.Model(proto), settings).report["verification"]["passed"]
