"""What tasks measure, beside scikit-learn's and plain formulas."""

import numpy as np
import pytest
from sklearn import metrics

from reprune_onnx.tasks.multi_label import DecisionTally, LabelTally
from reprune_onnx.tasks.precision import average_precision
from reprune_onnx.tasks.regression import ErrorTally
from reprune_onnx.tasks.segmentation import ConfusionTally, nearest, resized, settled
from reprune_onnx.tasks.tally import Measure

TITLES = ("pixel_accuracy", "mean_iou", "iou")


def halves(tally, a, b):
    """Two processes, merged."""
    other = type(tally)(TITLES) if isinstance(tally, ConfusionTally) else type(tally)()
    k = len(a) // 2
    tally.add(a[:k], b[:k])
    other.add(a[k:], b[k:])
    tally.merge(other)
    return tally.scores()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [3, 10_000])
def test_average_precision_is_that_of_scikit_learn(seed, levels):
    rng = np.random.default_rng(seed)
    scores, wanted = rng.integers(0, levels, 60) / levels, (rng.random(60) < 0.3) * 1.0
    expected = metrics.average_precision_score(wanted, scores)
    assert average_precision(scores, wanted) == pytest.approx(expected, abs=1e-12)
    assert abs(average_precision(-scores, wanted) - expected) > 1e-3  # the control: another order


def test_mean_average_precision_leaves_unknown_labels_and_labels_without_a_one_out():
    rng = np.random.default_rng(0)
    scores, wanted = rng.random((20, 3)), (rng.random((20, 3)) < 0.5) * 1.0
    wanted[:, 2] = 0
    wanted[3, 0] = np.nan
    measured = halves(LabelTally(), scores, wanted)
    labelled = np.arange(20) != 3
    first = metrics.average_precision_score(wanted[labelled, 0], scores[labelled, 0])
    second = metrics.average_precision_score(wanted[:, 1], scores[:, 1])
    assert measured["ap"] == pytest.approx([100 * first, 100 * second, None])
    assert measured["mean_ap"] == pytest.approx(50 * (first + second))


def test_iou_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    answers, wanted = rng.integers(0, 4, (6, 5, 7)), rng.integers(-1, 3, (6, 5, 7))
    measured = halves(ConfusionTally(TITLES), answers, wanted)
    labelled = wanted >= 0
    expected = 100 * metrics.jaccard_score(
        wanted[labelled], answers[labelled], average=None, labels=range(4)
    )
    np.testing.assert_allclose(measured["iou"], expected)
    assert measured["mean_iou"] == pytest.approx(expected.mean())
    assert measured["pixel_accuracy"] == pytest.approx(100 * (answers == wanted)[labelled].mean())
    absent = ConfusionTally(TITLES)
    absent.add(np.array([[[0, 2]]]), np.array([[[0, 2]]]))
    assert absent.scores()["iou"] == [100.0, None, 100.0]
    assert absent.scores()["mean_iou"] == 100.0


def test_errors_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    answers, wanted = rng.random((9, 2)), rng.random((9, 2)) + 0.1
    measured = halves(ErrorTally(), answers, wanted)
    a, b = wanted.reshape(-1), answers.reshape(-1)
    assert measured["rmse"] == pytest.approx(metrics.root_mean_squared_error(a, b))
    assert measured["mae"] == pytest.approx(metrics.mean_absolute_error(a, b))
    assert measured["r2"] == pytest.approx(metrics.r2_score(a, b))
    assert measured["relative_error"] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert measured["psnr"] is None
    wanted[0, 0] = np.nan
    less = halves(ErrorTally(), answers, wanted)
    assert less["mae"] == pytest.approx(np.abs(a - b)[1:].mean())


def test_psnr_is_the_mean_over_images():
    wanted = np.zeros((2, 1, 4, 4))
    answers = wanted + np.array([0.1, 0.01])[:, None, None, None]
    assert halves(ErrorTally(), answers, wanted)["psnr"] == pytest.approx((20 + 40) / 2)


def test_decisions_of_two_models():
    measured = halves(DecisionTally(), np.array([[1.0, -1], [2, 3]]), np.array([[3.0, 1], [2, 3]]))
    assert measured["agreement"] == 75.0
    assert measured["agreement_difference"] == pytest.approx(
        (abs(1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(-3))) + np.tanh(0.5)) / 4
    )


@pytest.mark.parametrize("size", [(7, 9), (3, 2), (10, 4), (5, 5)])
def test_scores_are_resized_as_pytorch_does(size):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    x = np.random.default_rng(3).random((2, 3, 5, 4))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x), size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resized(x, size), expected.numpy(), atol=1e-12)
    maps = x[:, 0]
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], size, mode="nearest-exact"
    )
    np.testing.assert_array_equal(nearest(maps, size), exact.numpy()[:, 0])


def test_what_is_ignored():
    mask = np.array([[[0, 1, 255, 7]]], np.uint8)
    assert settled(mask, None, 3).tolist() == [[[0, 1, -1, 7]]]
    assert settled(mask, 7, 3).tolist() == [[[0, 1, 255, -1]]]
    assert settled(mask, None, 300).tolist() == [[[0, 1, 255, 7]]]
    assert settled(np.array([[[0, 255]]], np.uint8), None, 2, white=True).tolist() == [[[0, 1]]]
    torch = pytest.importorskip("torch", reason="the same in PyTorch")
    assert settled(torch.from_numpy(mask), None, 3).tolist() == [[[0, 1, -1, 7]]]


def test_a_measure_knows_its_direction():
    error, share = Measure("rmse", "RMSE", higher=False), Measure("mean_iou", "IoU", unit=" %")
    assert error.better({"rmse": 1}, {"rmse": 2}) and not error.better({"rmse": 2}, {"rmse": 1})
    assert share.better({"mean_iou": 2}, {"mean_iou": 1})
    assert share.better({"mean_iou": 2}, {"mean_iou": None})
    assert not share.better({}, {"mean_iou": 1})
    assert share.said({"mean_iou": 71.2}) == "IoU 71.20 %"
