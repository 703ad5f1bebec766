"""Maps are read where their own nodes put the classes, whatever the layout of the images."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.labels import MASKS
from reprune_onnx.data.reading import Reading
from reprune_onnx.in_memory import InMemory
from reprune_onnx.runtime.evaluate_task import evaluate_task
from reprune_onnx.runtime.output_layout import layout_of
from reprune_onnx.tasks import TASKS

RNG = np.random.default_rng(0)
K, H, W = 4, 5, 6
W1 = RNG.standard_normal((K, 3, 1, 1))
HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[N,IN] x) => (TYPE[N,OUT] y) '
FIRST, LAST = f"3,{H},{W}", f"{H},{W},3"
TO_LAST, TO_FIRST = "Transpose <perm = [0, 2, 3, 1]>", "Transpose <perm = [0, 3, 1, 2]>"
NETS = {  # the images, the output, the nodes, and where the classes are
    "first to last": (FIRST, f"{H},{W},{K}", f"c = Conv (x, w) y = {TO_LAST} (c)", "nhwc"),
    "first to last, and on": (
        *(FIRST, f"{H},{W},{K}"),
        f"c = Conv (x, w) t = {TO_LAST} (c) r = Sigmoid (t) y = Identity (r)",
        "nhwc",
    ),
    "first to last by MatMul": (
        *(FIRST, f"{H},{W},{K}"),
        f"t = {TO_LAST} (x) y = MatMul (t, m)",
        "nhwc",
    ),
    "last to first": (LAST, f"{K},{H},{W}", f"t = {TO_FIRST} (x) y = Conv (t, w)", "nchw"),
    "there and back": (
        *(LAST, f"{H},{W},{K}"),
        f"t = {TO_FIRST} (x) c = Conv (t, w) y = {TO_LAST} (c)",
        "nhwc",
    ),
    "first": (FIRST, f"{K},{H},{W}", "y = Conv (x, w)", "nchw"),
    "softmax last": (
        *(FIRST, f"{H},{W},{K}"),
        f"c = Conv (x, w) t = {TO_LAST} (c) y = Softmax <axis = -1> (t)",
        "nhwc",
    ),
}


def network(kind):
    given, out, body, layout = NETS[kind]
    head = HEAD.replace("IN", given).replace("OUT", out).replace("TYPE", "float")
    return model(head + "{" + body + "}", w=W1, m=W1[:, :, 0, 0].T), layout


@pytest.mark.parametrize("kind", NETS)
def test_segmentation_reads_classes_where_they_are(kind):
    proto, layout = network(kind)
    x = RNG.standard_normal((7, 3, H, W)).astype(np.float32)
    masks = np.einsum("nchw,kc->nkhw", x, W1[:, :, 0, 0]).argmax(1)
    given = x if NETS[kind][0] == FIRST else x.transpose(0, 2, 3, 1)
    data = open_for(proto, Wanted(_held(given, masks), Reading(), MASKS), {})
    task = TASKS["semantic-segmentation"]
    assert evaluate_task(rp.Model(proto), data, task).scores["pixel_accuracy"] == 100
    assert layout_of(proto, "y", "nchw") == layout_of(proto, "y", "nhwc") == layout
    other = open_for(proto, Wanted(_held(given, 3 - masks), Reading(), MASKS), {})  # the control
    assert evaluate_task(rp.Model(proto), other, task).scores["pixel_accuracy"] < 50


def _held(x, y):
    return InMemory("data", {"x": x, "y": y})


def test_nodes_that_do_not_tell():
    for body in ("y = Reshape (x, s)", "c = Conv (x, w) y = Reshape (c, s)", "y = Relu (x)"):
        head = HEAD.replace("IN", FIRST).replace("OUT", "a,b,c").replace("TYPE", "float")
        proto = model(head + "{" + body + "}", w=W1, s=np.array([0, 0, 0, -1]))
        assert layout_of(proto, "y", "nchw") == "nchw"
        assert layout_of(proto, "y", "nhwc") == "nhwc"
