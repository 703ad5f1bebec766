"""A file whose outputs are choices is trained at what it chooses from."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")

import onnx
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import DataError
from reprune_onnx.training.scores import logits_of, taught_tensors

RNG = np.random.default_rng(1)
WEIGHTS = {"w": RNG.standard_normal((5, 3, 1, 1)), "k": np.array([2])}
CLASSIFIER = "c = Conv (x, w)\n p = GlobalAveragePool (c)\n f = Flatten (p)\n"
ENDS = {
    "ArgMax": (CLASSIFIER + "y = ArgMax <axis = 1, keepdims = 0> (f)", "f", 5),
    "ArgMin of softmax": (
        CLASSIFIER + "s = Softmax (f)\n a = ArgMin <axis = 1> (s)\n y = Cast <to = 6> (a)",
        "f",
        5,
    ),
    "a place of TopK": (CLASSIFIER + "v, i = TopK (f, k)\n y = Identity (i)", "f", 5),
    "of every pixel": ("c = Conv (x, w)\n a = ArgMax <axis = 1> (c)\n y = Squeeze (a)", "c", None),
}
IMAGES = torch.zeros(2, 3, 4, 4)


def network(body: str) -> rp.Model:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3,4,4] x) => (int64[] y) {{ {body} }}"""
    proto = model(text, **WEIGHTS)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name="y"))
    return rp.Model(onnx.shape_inference.infer_shapes(proto))


@pytest.mark.parametrize(("body", "tensor", "classes"), ENDS.values(), ids=ENDS)
def test_what_a_choice_is_made_by_is_taught(body: str, tensor: str, classes: int | None) -> None:
    student = network(body)
    assert logits_of(student, IMAGES) == (None if classes is None else (tensor, classes))
    (taught,) = taught_tensors(student, IMAGES)
    assert taught in (tensor, "s")


def test_floating_point_outputs_are_taught_themselves() -> None:
    student = network(CLASSIFIER + "y = Softmax (f)")
    assert taught_tensors(student, IMAGES) == ["y"]


def test_of_a_detector_all_boxes_and_scores_are_taught() -> None:
    """The bridge has no NonMaxSuppression, and needs none."""
    boxes = "c = Conv (x, w)\n r = Reshape (c, rows)\n b = Transpose <perm = [0, 2, 1]> (r)\n"
    weights = WEIGHTS | {
        "w": RNG.standard_normal((4, 3, 1, 1)),
        **{"rows": np.array([0, 4, -1]), "most": np.array([5]), "last": np.array([2])},
    }
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3,4,4] x) => (int64[] y) {{
        {boxes} s = ReduceMax <axes = [1]> (r)
        n = NonMaxSuppression (b, s, most)
        y = Gather <axis = 1> (n, last) }}"""
    student = rp.Model(model(text, **weights))
    assert taught_tensors(student, IMAGES) == ["b", "s"]


def test_whole_numbers_that_nothing_chooses_cannot_be_taught() -> None:
    student = network(CLASSIFIER + "b = Greater (f, f)\n y = Cast <to = 7> (b)")
    assert logits_of(student, IMAGES) is None
    with pytest.raises(DataError, match=r"\(y\) hold no floating-point.*nothing to teach"):
        taught_tensors(student, IMAGES)


@pytest.mark.parametrize("distilled", [True, False])
def test_a_file_that_ends_in_an_argmax_is_fine_tuned(
    call: Any, demo: Any, digits: Any, tmp_path: Any, distilled: bool
) -> None:
    proto = onnx.load(demo)
    (scores,) = [o.name for o in proto.graph.output]
    proto.graph.node.append(
        onnx.helper.make_node("ArgMax", [scores], ["digit"], axis=1, keepdims=0)
    )
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("digit", 7, None))
    source, out = tmp_path / "source.onnx", tmp_path / "out.onnx"
    onnx.save(proto, source)
    teacher = ("--distill", source) if distilled else ()
    data = f"{digits}:x_train," if distilled else digits
    how = ("--preprocess", "scale=1/16", "--epochs", "1", "--keep-epoch", "last", "--lr", "0.001")
    result = call("finetune", source, "--data", data, *how, *teacher, "-o", out)
    assert result.code == 0, result.err
    assert [o.name for o in onnx.load(out).graph.output] == ["digit"]
