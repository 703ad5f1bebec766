"""Accuracy, agreement and divergence, against sums done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from reprune_onnx.data import open_data
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.evaluate import evaluate
from reprune_onnx.types import Model

# the image (classes, 1, 1) is the row of scores, so that data sets the outputs
IDENTITY = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[{n}, {c}, 1, 1] x) => (float[{n}, {c}{tail}] scores)
{{
    {body}
}}
"""
FLAT = "scores = Flatten(x)"
COLUMN = "scores = Identity(x)"
SOFTMAX = "f = Flatten(x) scores = Softmax(f)"


def model(body=FLAT, c=6, n="N"):
    tail = ", 1, 1" if body == COLUMN else ""
    return Model(parser.parse_model(IDENTITY.format(n=n, c=c, tail=tail, body=body)))


def text(source):
    return Model(parser.parse_model(source))


def batches(scores, y=None, size=64):
    x = np.asarray(scores, np.float32)[:, :, None, None]
    y = None if y is None else np.asarray(y)
    return [
        (x[i : i + size], None if y is None else y[i : i + size]) for i in range(0, len(x), size)
    ]


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(37, 6))
LABELS = RNG.integers(0, 6, 37)


@pytest.mark.parametrize("body", [FLAT, COLUMN, SOFTMAX])
@pytest.mark.parametrize("n", ["N", 1, 5])
def test_top1_and_top5(body, n):
    result = evaluate(model(body, n=n), batches(SCORES, LABELS, 10))
    order = np.argsort(-SCORES, axis=1)
    assert result.n == 37
    assert result.top1 == pytest.approx(100 * (order[:, 0] == LABELS).mean())
    assert result.top5 == pytest.approx(100 * (order[:, :5] == LABELS[:, None]).any(1).mean())
    assert result.agreement is result.mean_kl is None


def test_ties_favour_the_lower_class():
    even = np.zeros((2, 6))
    assert evaluate(model(), batches(even, [0, 5])).top1 == 50
    assert evaluate(model(), batches(even, [0, 5])).top5 == 50


def test_no_top5_below_five_classes():
    assert evaluate(model(c=4), batches(SCORES[:, :4], LABELS % 4)).top5 is None
    assert evaluate(model(c=5), batches(SCORES[:, :5], LABELS % 5)).top5 == 100


def test_agreement_and_kl():
    shifted = model("f = Flatten(x) s = Constant<value = float {-0.5}>() scores = Mul(f, s)")
    result = evaluate(shifted, batches(SCORES), against=model())
    p, q = softmax(SCORES), softmax(-SCORES / 2)
    kl = (p * np.log(p / q)).sum(axis=1).mean()
    assert result.mean_kl == pytest.approx(kl, rel=1e-5)
    agree = (SCORES.argmax(1) == (-SCORES).argmax(1)).mean()
    assert result.agreement == pytest.approx(100 * agree)
    assert result.top1 is result.top5 is None


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.lists(st.floats(-30, 30, width=32), min_size=6, max_size=6), min_size=1, max_size=9)
)
def test_softmax_or_not_does_not_matter_for_kl(rows):
    result = evaluate(model(SOFTMAX), batches(rows), against=model(FLAT))
    assert -1e-9 <= result.mean_kl < 1e-5
    same = evaluate(model(FLAT), batches(rows), against=model(FLAT))
    assert same.agreement == 100 and same.mean_kl == pytest.approx(0, abs=1e-12)


def test_first_classification_output_is_taken():
    several = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3, 4, 4] x) => (int64[N, 4, 4] best, float[N, 3, 4, 4] map, float[N, 1] one,
                                    float[N, 3] scores, float[N, 3] other)
        <int64[2] sides = {2, 3}, int64[4] all = {1, 2, 3, 0}, int64[1] classes = {1}>
        {
            best = ArgMax<axis = 1, keepdims = 0>(x)
            map = Identity(x)
            scores = ReduceMax<axes = [2, 3], keepdims = 0>(x)
            one = ReduceMax<axes = [1], keepdims = 1>(scores)
            other = Neg(scores)
        }
    """)
    x = np.zeros((2, 3, 4, 4), np.float32)
    x[0, 2, 1, 1] = x[1, 1, 0, 0] = 1
    assert evaluate(several, [(x, np.array([2, 1]))]).top1 == 100


def test_a_batch_fixed_inside_the_graph_is_run_image_by_image():
    fixed = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 6, 1, 1] x) => (float[M, 6] scores)
        <int64[2] shape = {1, 6}>
        { scores = Reshape(x, shape) }
    """)
    want = evaluate(model(), batches(SCORES, LABELS))
    assert evaluate(fixed, batches(SCORES, LABELS)) == want


def test_progress_and_a_dataset(tmp_path):
    np.savez(tmp_path / "d.npz", x=SCORES[:, :, None, None], y=LABELS)
    data = open_data(
        str(tmp_path / "d.npz"),
        preprocess="none;layout=nchw",
        input_shape=(None, 6, 1, 1),
        dtype=np.float32,
    )
    calls = []
    result = evaluate(
        model(), data, batch_size=20, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(20, 37), (37, 37)]
    assert result == evaluate(model(), batches(SCORES, LABELS))
    evaluate(model(n=1), data, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (37, 37)


def test_refusals():
    with pytest.raises(DataError, match="label 6, but the model has 6 classes, 0 to 5"):
        evaluate(model(), batches(SCORES, LABELS + 1))
    with pytest.raises(DataError, match="no labels"):
        evaluate(model(), batches(SCORES))
    with pytest.raises(DataError, match="no images"):
        evaluate(model(), [])
    with pytest.raises(DataError, match=r"\(5, 1, 1\), but input 'x' of the model is \(\?, 6, 1"):
        evaluate(model(), batches(SCORES[:, :5], LABELS))
    spoiled = SCORES.copy()
    spoiled[20, 3] = np.nan
    with pytest.raises(ModelError, match="'scores' has NaN or infinite values for image 20"):
        evaluate(model(), batches(spoiled, LABELS, 8))
    five = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 6, 1, 1] x) => (float[N, 5] scores)
        <int64[1] zero = {0}, int64[1] five = {5}, int64[1] one = {1}>
        { all = Flatten(x) scores = Slice(all, zero, five, one) }
    """)
    with pytest.raises(ModelError, match="6 classes but the original 5"):
        evaluate(model(), batches(SCORES), against=five)
    maps = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] map)
        { map = Relu(x) }
    """)
    with pytest.raises(ModelError, match=r"no floating-point output of shape \(N, classes\).*map"):
        evaluate(maps, [])
    places = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 6, 4] x) => (float[N, 6, 4] boxes, float[N, 6, 1] scores)
        { boxes = Relu(x) scores = ReduceMax<axes = [2]>(x) }
    """)
    with pytest.raises(ModelError, match=r"no floating-point output of shape.*boxes.*scores"):
        evaluate(places, [(np.repeat(SCORES.reshape(-1, 6, 1), 4, axis=2), LABELS)])
    two = text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3] a, float[N, 3] b) => (float[N, 3] c)
        { c = Add(a, b) }
    """)
    with pytest.raises(DataError, match=r"shape \(37, 3\), but the model takes 'a'"):
        evaluate(two, [(SCORES[:, :3], LABELS)])
