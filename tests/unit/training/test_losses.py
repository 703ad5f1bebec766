"""The losses of the tasks are PyTorch's own where that has them, of what counts alone."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from torch.nn import functional as F

from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.tasks import CLASSIFICATION, TASKS
from reprune_onnx.tasks.classification import ClassTally
from reprune_onnx.tasks.kinds import Head, TargetReading
from reprune_onnx.training.answers import AnswerTensors
from reprune_onnx.training.augment import Views
from reprune_onnx.training.class_weights import class_weights
from reprune_onnx.training.goal import Goal, Module
from reprune_onnx.training.losses import LOSSES, Terms
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task

DRAW = torch.Generator().manual_seed(0)
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])
PIXELS = LOSSES["semantic-segmentation"]["cross-entropy"]
FLAGS = LOSSES["multi-label"]["bce"]


def random(*shape: int):
    return torch.randn(*shape, generator=DRAW)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pixels_are_cross_entropy_at_the_size_of_the_masks(weights, smoothing):
    scores = random(2, 3, 4, 4)
    masks = torch.randint(0, 3, (2, 8, 8), generator=DRAW).to(torch.uint8)
    masks[:, 0] = 255
    loss = PIXELS.labels(scores, masks, Terms(weights, smoothing))
    grown = F.interpolate(scores, (8, 8), mode="bilinear", align_corners=False)
    how = {"ignore_index": 255, "label_smoothing": smoothing}
    torch.testing.assert_close(loss, F.cross_entropy(grown, masks.long(), weights, **how))
    other = F.cross_entropy(grown, torch.where(masks == 255, 0, masks.long()), weights)
    assert (loss - other).abs() > 1e-3  # the control: what is ignored would count


def test_masks_without_any_pixel_that_counts_ask_for_nothing():
    scores = random(2, 3, 4, 4).requires_grad_()
    loss = PIXELS.labels(scores, torch.full((2, 4, 4), 7), Terms(reading=TargetReading(ignore=7)))
    loss.backward()
    assert loss == 0 and (scores.grad == 0).all()
    with pytest.raises(DataError, match="a mask holds 7, but the model has 3 classes"):
        PIXELS.labels(scores, torch.full((2, 4, 4), 7), Terms())


def test_one_plane_is_binary_cross_entropy():
    scores, masks = random(2, 1, 4, 4), torch.randint(0, 2, (2, 4, 4), generator=DRAW)
    unweighted = F.binary_cross_entropy_with_logits(scores[:, 0], masks.float())
    torch.testing.assert_close(PIXELS.labels(scores, masks, Terms()), unweighted)
    weights = torch.tensor([1.0, 3.0])
    by_class = torch.where(masks == 1, 3.0, 1.0)
    each = F.binary_cross_entropy_with_logits(scores[:, 0], masks.float(), reduction="none")
    weighted = PIXELS.labels(scores, masks, Terms(weights))
    torch.testing.assert_close(weighted, (by_class * each).sum() / by_class.sum())


def test_flags_are_binary_cross_entropy_of_those_that_are_known():
    scores, flags = random(4, 3), torch.tensor([[0, 1, math.nan]] * 4)
    loss = FLAGS.labels(scores, flags, Terms(WEIGHTS))
    expected = F.binary_cross_entropy_with_logits(
        scores[:, :2], flags[:, :2], pos_weight=WEIGHTS[:2]
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("name", "reference"), [("mse", F.mse_loss), ("l1", F.l1_loss), ("smooth-l1", F.smooth_l1_loss)]
)
def test_numbers_are_compared_where_they_are_known(name, reference):
    y, target = random(4, 2, 3, 3), random(4, 3, 3, 2)
    loss = LOSSES["regression"][name].labels(y, target, Terms())
    torch.testing.assert_close(loss, reference(y, target.permute(0, 3, 1, 2)))
    target[0] = math.nan
    loss = LOSSES["regression"][name].labels(y, target, Terms())
    torch.testing.assert_close(loss, reference(y[1:], target[1:].permute(0, 3, 1, 2)))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5, 5), (3, 1, 5, 5)])
@pytest.mark.parametrize("task", ["multi-label", "semantic-segmentation"])
def test_a_teacher_is_matched_exactly_or_the_loss_is_above_0(task, shape):
    if task == "multi-label" and len(shape) == 4:
        shape = shape[:2]
    if task == "semantic-segmentation" and len(shape) == 2:
        shape = (*shape, 2, 2)
    (loss,) = LOSSES[task].values()
    y = 3 * random(*shape)
    assert abs(loss.answers(y, y, Terms())) < 1e-6
    assert loss.answers(y, y.flip(0), Terms()) > 0.1


@pytest.mark.parametrize(
    ("task", "maker", "squash"),
    [
        ("classification", "Softmax", lambda y: y.softmax(1)),
        ("semantic-segmentation", "Softmax", lambda y: y.softmax(1)),
        ("multi-label", "Sigmoid", torch.sigmoid),
    ],
)
def test_probabilities_have_the_loss_of_their_logits(task, maker, squash):
    (loss,) = LOSSES[task].values()
    logits = random(4, 3, *((2, 2) if task == "semantic-segmentation" else ()))
    targets = {
        "classification": torch.tensor([0, 1, 2, 0]),
        "semantic-segmentation": torch.randint(0, 3, (4, 2, 2), generator=DRAW),
        "multi-label": torch.randint(0, 2, (4, 3), generator=DRAW).float(),
    }
    read = loss.read(squash(logits), Head("y", maker))
    torch.testing.assert_close(
        loss.labels(read, targets[task], Terms()), loss.labels(logits, targets[task], Terms())
    )
    by_probabilities = loss.labels(loss.read(squash(logits), Head("y")), targets[task], Terms())
    assert (by_probabilities - loss.labels(logits, targets[task], Terms())).abs() > 1e-3


# ── class weights ───────────────────────────────────────────────────────────────────────────


def goal_of(task: str, size: int) -> Goal:
    kind = TASKS.get(task, CLASSIFICATION)
    module = Module(AnswerTensors(Head("y"), Head("y"), size), ("y",))
    return Goal(kind, next(iter(LOSSES[task].values())), module, Terms())


def test_balanced_weights_are_by_how_often_a_class_occurs():
    goal = goal_of("classification", 4)
    weights = class_weights("balanced", goal, [torch.tensor([0, 0, 0, 1]), torch.tensor([2])], None)
    assert weights.tolist() == pytest.approx([5 / 12, 5 / 4, 5 / 4, 1])
    masks = torch.tensor([[[0, 0], [0, 255]], [[1, 0], [0, 0]]])
    weights = class_weights("balanced", goal_of("semantic-segmentation", 2), [masks], None)
    assert weights.tolist() == pytest.approx([7 / 12, 7 / 2])
    flags = torch.tensor([[1, 0, 0], [0, 0, math.nan], [0, 1, 0.0]])
    weights = class_weights("balanced", goal_of("multi-label", 3), [flags], None)
    assert weights.tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.txt", "1\n2.5\n0.5\n"),
        ("w.csv", "1, 2.5; 0.5"),
        ("w.json", "[1, 2.5, 0.5]"),
        ("o.json", '{"cat": 2.5, "2": 0.5}'),
    ],
)
def test_weights_of_a_file_or_a_list(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    goal, names = goal_of("classification", 3), ("ant", "cat", "dog")
    for given in (str(tmp_path / name), "1,2.5,0.5", [1, 2.5, 0.5]):
        assert class_weights(given, goal, [], names).tolist() == [1, 2.5, 0.5]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("1,2", "gives 2 numbers, but the model has 3 classes"),
        ("1,2,-1", "are to be 0 or more, and not all 0"),
        ("0,0,0", "are to be 0 or more, and not all 0"),
        ("balance", "is neither a file nor numbers such as 1,2.5,0.5"),
        ('{"cow": 2}', "'cow' with 2 is no weight of one of 3 classes"),
        ("\x00\xff", "it is no text in UTF-8"),
    ],
)
def test_weights_that_are_not_the_models(tmp_path, given, says):
    if given[0] in "{\x00":
        (tmp_path / "w").write_bytes(given.encode("latin-1"))
        given = str(tmp_path / "w")
    with pytest.raises(DataError, match=says):
        class_weights(given, goal_of("classification", 3), [], None)


def test_a_file_of_weights_is_small(tmp_path, monkeypatch):
    from reprune_onnx.training import class_weights as module

    monkeypatch.setattr(module, "_MOST", 4)
    (tmp_path / "w").write_text("1, 2, 3")
    with pytest.raises(DataError, match="give a file of numbers"):
        class_weights(str(tmp_path / "w"), goal_of("classification", 3), [], None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "regression", "loss": "bce"}, "is neither MODULE:FUNCTION nor a loss of --task"),
        ({"kind": "poses"}, "' is not one of "),
        ({"kind": "regression", "class_weights": "1"}, "--class-weights are of classes: --task"),
        ({"loss": F.mse_loss, "class_weights": "1"}, "not of your --loss"),
        ({"ignore": 3}, "--ignore-index is of masks"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_a_task_does_not_have_is_usage(options, says):
    with pytest.raises(UsageError, match=says):
        Task(None, **options)


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("regression", {"label_smoothing": 0.1}, "--label-smoothing is of classes"),
        ("semantic-segmentation", {"mixup": 0.1}, "masks have one per pixel"),
    ],
)
def test_settings_that_labels_do_not_have_are_usage(kind, settings, says):
    with pytest.raises(UsageError, match=says):
        Task(None, kind=kind).check(TrainSettings(**settings))
    Task(None).check(TrainSettings(**settings))


# ── views of maps, and counts ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip", "resized-crop"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("numbers", [False, True], ids=["masks", "numbers"])
def test_a_map_moves_with_its_image(kind, last, numbers):
    """The image shows its own mask; what is beyond the border is black, and not known."""
    masks = torch.randint(0, 5, (6, 8, 8), generator=DRAW)
    x = masks[..., None].float() if last else masks[:, None].float()
    y = x.clone() if numbers else masks
    views = Views(kind, torch.tensor([-7.0]), last)
    seen, moved = views.together(x, y, views.drawn(slice(0, 6), 6, DRAW))
    flat, moved_map = seen.squeeze(-1 if last else 1), moved.squeeze(-1 if last else 1)
    moved_map = moved_map if numbers else moved_map.float()
    counts = torch.isfinite(moved_map) if numbers else moved_map >= 0
    exact = kind != "resized-crop" or numbers
    near = (flat == moved_map) if exact else ((flat - moved_map).abs() <= 4)
    assert near[counts].all() and counts.float().mean() > 0.6
    assert (flat[~counts] == -7).all()
    assert not torch.equal(seen, x)
    assert moved.dtype == y.dtype


def test_a_crop_of_images_with_smaller_maps_is_refused():
    x, y = random(2, 1, 8, 8), torch.zeros(2, 4, 4, dtype=torch.long)
    views = Views("crop", torch.zeros(1))
    with pytest.raises(DataError, match="--augment crop moves both alike"):
        views.together(x, y, views.drawn(slice(0, 2), 2, DRAW))
    vectors = random(2, 4)
    assert views.together(x, vectors, views.drawn(slice(0, 2), 2, DRAW))[1] is vectors


def test_the_tally_of_classes_is_the_place_of_the_right_one():
    scores = np.array([[3, 2, 1, 0, -1, -2.0], [0, 0, 0, 0, 0, 0], [np.nan, 1, 2, 3, 4, 5]])
    tally = ClassTally()
    tally.add(scores, np.array([0, 5, 0]))
    assert tally.scores() == {"top1": pytest.approx(100 / 3), "top5": pytest.approx(100 / 3)}
    other = ClassTally()
    other.add(scores[:1], np.array([4]))
    tally.merge(other)
    assert tally.scores() == {"top1": 25.0, "top5": 50.0}
    few = ClassTally("agreement", five=None)
    assert few.scores() == {"agreement": None}
