"""What `finetune` and `train` refuse: options, data, models, and what does not go together."""

from dataclasses import replace
from importlib.util import find_spec
from unittest import mock

import numpy as np
import onnx
from onnx import numpy_helper

import reprune_onnx as rp

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] x) => (float[a,b] y) '
POOLED = "a = Conv(x, w) b = Relu(a) c = GlobalAveragePool(b) d = Flatten(c) y = Gemm(d, m)"
ONE = HEAD.replace("n,3", "1,3")
FIRST_HALF = {"m": np.ones((8, 4))}
OWN = """
import numpy as np, torch
def loss(outputs, target): return (outputs - target).square().mean()
def none(): return []
def bare(): yield np.zeros((2, 3, 8, 8), np.float32)
def good(): yield np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 4), np.float32)
def many(): yield np.zeros((64, 3, 8, 8), np.float32), np.zeros(64, np.int64)
def wrong():
    for _ in range(2): yield np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 4), np.float32)
"""


def classifier(p, body=POOLED, head=HEAD, **more):
    return p.graph(body, head, **{**FIRST_HALF, **more})


def labelled(p, most=3):
    return p.npz(x=np.zeros((8, 3, 8, 8), np.float32), y=np.arange(8) % (most + 1))


def tuned(p, model=None, data=None, *more, command="finetune"):
    model, data = model or classifier(p), data or labelled(p)
    epochs = [] if "--epochs" in more else ["--epochs", 1]
    return p(command, model, "--data", data, "-o", p.tmp / "out.onnx", "--lr", 0.01, *epochs, *more)


def trained(p, *more, model=None, data=None):
    epochs = () if "--epochs" in more else ("--epochs", 2, "--prune-epochs", 1, "--interval", 1)
    return tuned(p, model, data, "--sparsity", 0.5, *epochs, *more, command="train")


def by_own_loss(p, data, *more):
    (p.tmp / "own_task.py").write_text(OWN, encoding="utf-8")
    return tuned(p, None, f"own_task:{data}", "--loss", "own_task:loss", *more)


def opened(p):
    how = {"preprocess": None, "input_shape": (None, 3, 8, 8), "dtype": np.float32}
    return rp.data.open_data(str(labelled(p)), split="train", **how)


def with_functions(p, **more):
    """`finetune` from Python, where data may be functions."""
    from reprune_onnx.training.settings import TrainSettings

    def function():
        return [(np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 4), np.float32))]

    values = {k: {"function": function, "images": opened(p)}[v] for k, v in more.items()}
    loss = values.pop("loss", None)
    task = rp.Task(**values, loss=loss)
    return rp.finetune(rp.load(classifier(p)), task, TrainSettings(epochs=1))


def distilled(p):
    return tuned(p, None, None, "--distill", classifier(p, m=np.ones((8, 5))))


def old(p):
    head = HEAD.replace('"": 17', '"": 6').replace("float[n,3", "float[2,3")
    return tuned(p, p.graph("a = Conv(x, w) b = Relu(a) y = Flatten(b)", head))


def sparse(p):
    """Of more columns than memory holds: a smaller one is dense in what is trained."""
    proto = onnx.load(classifier(p))
    dense = next(t for t in proto.graph.initializer if t.name == "m")
    values = numpy_helper.to_array(dense)
    proto.graph.initializer.remove(dense)
    tensor = proto.graph.sparse_initializer.add(dims=(len(values), 2**40))
    tensor.values.CopyFrom(numpy_helper.from_array(values.ravel(), "m"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.arange(values.size), "places"))
    return tuned(p, p.save(proto))


def unfitting(p):
    """A shape that is no input's fault: it is stated of a matrix."""
    body = POOLED.replace("y = Gemm(d, m)", "e = Reshape(d, s) y = Gemm(e, m)")
    return tuned(p, classifier(p, body, s=np.array([-1, 7])))


def more_than_memory(p):
    from reprune_onnx.training import examples

    (p.tmp / "own_task.py").write_text(OWN, encoding="utf-8")
    with mock.patch.object(examples, "MEMORY", 100):
        return tuned(p, None, "own_task:many")


def altered_in_writing(p):
    """What is written is not what was trained: made here, for nothing is known to do it."""
    from reprune_onnx.training import finetune

    write_back = finetune.write_back

    def wrong(model, module):
        written = write_back(model, module)
        tensor = next(t for t in written.proto.graph.initializer if t.name == "m")
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, "m"))
        return replace(written)

    with mock.patch.object(finetune, "write_back", wrong):
        return tuned(p)


def folded(p):
    body = POOLED.replace("Conv(x, w)", "Conv(x, t)").replace("a =", "t = Mul(w, two) a =")
    return trained(p, "--init", "random", model=classifier(p, body, two=np.float32(2)))


ROWS = [
    (
        "is a file; give the name of a folder",
        lambda p: tuned(p, None, None, "--tensorboard", p.text("no folder", ".txt")),
    ),
    ("time, which is after epoch 2: use --epochs 3", lambda p: trained(
        p, "--epochs", 2, "--prune-epochs", 2
    )),
    ("--prune-epochs must be at least 1", lambda p: trained(p, "--epochs", 2, "--prune-epochs", 0)),
    ("--temperature must be above 0", lambda p: tuned(p, None, None, "--temperature", 0)),
    ("no Conv with a bias of its own lacks a BatchNormalization", lambda p: tuned(
        p, None, None, "--batch-norm", "insert"
    )),
    ("the PyTorch bridge reads 7 and newer", old),
    ("is a sparse tensor, which the PyTorch bridge lacks", sparse),
    (" fails in PyTorch: ", unfitting),
    ("no channel of the model can go", lambda p: trained(p, "--exclude", "*")),
    ("a Python loader's images must fit into ", more_than_memory),
    ("yields no batches", lambda p: by_own_loss(p, "none")),
    ("as a batch; with --loss, yield (x, target)", lambda p: by_own_loss(p, "bare")),
    ("so it cannot start from random values", folded),
    ("a function that yields batches as data needs a loss", lambda p: with_functions(
        p, data="function"
    )),
    ("--val is a function, but the data are images", lambda p: with_functions(
        p, data="images", val="function"
    )),
    ("--val are images, but the data is a function", lambda p: with_functions(
        p, data="function", val="images", loss="function"
    )),
    ("--distill: the original has 5 classes, the model has 4", distilled),
    ("the model has no output (N, classes)", lambda p: tuned(
        p, p.graph("y = Conv(x, w)", HEAD.replace("[a,b]", "[a,b,c,d]"))
    )),
    ("labels are 0 to 2, but the model has 4 classes", lambda p: tuned(p, None, labelled(p, 2))),
    ("of 2 parameters to train: give narrower globs", lambda p: tuned(
        p, None, None, "--freeze", "*"
    )),
    ("do not fill one batch of the size that the file was exported for", lambda p: tuned(
        p,
        classifier(p, head=HEAD.replace("n,3", "4,3")),
        labelled(p),
        "--val", p.npz(x=np.zeros((3, 3, 8, 8), np.float32), y=np.arange(3)),
    )),
    ("the written model differs from the trained one by ", altered_in_writing),
]  # fmt: skip
if find_spec("torch") is None:  # what is said then is a row of e2e/training/test_refusals.py
    ROWS = []
