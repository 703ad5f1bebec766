"""The parts of training that decide about its result: order, views, rates, losses, averages."""

import numpy as np
import pytest

from reprune_onnx.errors import UsageError

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from torch.nn import functional as F

from reprune_onnx.tasks import CLASSIFICATION
from reprune_onnx.tasks.kinds import Head
from reprune_onnx.training.answers import AnswerTensors
from reprune_onnx.training.augment import Views
from reprune_onnx.training.ema import MovingAverage
from reprune_onnx.training.examples import HeldExamples
from reprune_onnx.training.feed import ImageFeed
from reprune_onnx.training.goal import Goal, Module
from reprune_onnx.training.losses import LOSSES, Terms
from reprune_onnx.training.objective import Objective
from reprune_onnx.training.sampler import Sampler
from reprune_onnx.training.schedule import learning_rate
from reprune_onnx.training.settings import TrainSettings


def test_an_epoch_has_every_image_once_and_another_order_each_time():
    sampler = Sampler(100, 10)
    first, second = (np.concatenate(sampler.epoch(e)) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    np.testing.assert_array_equal(np.concatenate(sampler.epoch(0, start=4)), first[40:])


def test_processes_share_a_batch():
    by_one = Sampler(50, 8).epoch(3)
    parts = [Sampler(50, 8, rank=r, world=4).epoch(3) for r in range(4)]
    for k, batch in enumerate(by_one):
        np.testing.assert_array_equal(np.concatenate([p[k] for p in parts]), batch)
    with pytest.raises(UsageError, match="a batch of 8 images cannot be shared by 3 processes"):
        Sampler(50, 8, world=3)


def test_the_rate_warms_up_and_falls():
    s = TrainSettings(epochs=10, warmup=1)
    rates = [learning_rate(s, 0.4, e / 10) for e in range(101)]
    assert max(rates) == pytest.approx(0.4)
    assert rates[5] == pytest.approx(0.2)
    assert rates[100] == pytest.approx(0.0)
    assert learning_rate(TrainSettings(schedule="constant"), 0.3, 7.5) == 0.3


IMAGES = torch.arange(4 * 3 * 8 * 8, dtype=torch.float32).reshape(4, 3, 8, 8) + 1


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip", "resized-crop"])
def test_views_are_the_same_however_a_batch_is_shared(kind, last):
    x = IMAGES.movedim(1, -1) if last else IMAGES
    views = Views(kind, torch.tensor([-1.0, -2.0, -3.0]), last)

    def draw():
        return torch.Generator().manual_seed(3)

    at_once = views(x, slice(0, 4), 4, draw())
    assert at_once.shape == x.shape
    assert (at_once != x).any()
    halves = [views(x[s], s, 4, draw()) for s in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(torch.cat(halves), at_once)


def test_a_crop_is_a_shift_over_black():
    black = torch.tensor([-1.0, -2.0, -3.0])
    views = Views("crop", black)
    seen = set()
    for seed in range(40):
        out = views(IMAGES, slice(0, 4), 4, torch.Generator().manual_seed(seed))
        for image, original in zip(out, IMAGES, strict=True):
            padded = F.pad(original - black[:, None, None], [1, 1, 1, 1]) + black[:, None, None]
            places = [
                (i, j)
                for i in range(3)
                for j in range(3)
                if torch.equal(image, padded[:, i : i + 8, j : j + 8])
            ]
            assert len(places) == 1
            seen.add(places[0])
    assert len(seen) == 9


def test_a_flip_mirrors_left_and_right():
    out = Views("flip", torch.zeros(3))(IMAGES, slice(0, 4), 4, torch.Generator().manual_seed(0))
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(out, IMAGES, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(out, IMAGES, strict=True)]
    assert any(flipped)
    assert any(kept)
    assert all(f != k for f, k in zip(flipped, kept, strict=True))


def test_mixup_mixes_images_and_labels_alike():
    examples = HeldExamples("x", IMAGES, torch.arange(4))
    feed = ImageFeed(
        examples, Sampler(4, 4), Views("none", torch.zeros(3)), torch.device("cpu"), 0, 0.5, 4
    )
    ((x, y),) = feed.epoch(0, 0)
    assert torch.allclose(y.sum(1), torch.ones(4))
    for image, shares in zip(x, y, strict=True):
        torch.testing.assert_close(image, (shares[:, None, None, None] * IMAGES).sum(0))
    assert (y.max(1).values < 1).any()


def logits(x):
    return x


def of_classes(settings: TrainSettings) -> Goal:
    """Three classes, by a network and an original that give nothing but their logits."""
    module = Module(AnswerTensors(Head("y"), Head("y"), 3), ("y",))
    terms = Terms(None, settings.label_smoothing, settings.temperature)
    loss = LOSSES["classification"]["cross-entropy"]
    return Goal(CLASSIFICATION, loss, module, terms, module)


def test_cross_entropy_with_smoothing_is_torchs():
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    settings = TrainSettings(label_smoothing=0.1)
    objective = Objective(settings, of_classes(settings))
    given = objective(logits, x, y)
    torch.testing.assert_close(given.loss, F.cross_entropy(x, y, label_smoothing=0.1))
    assert objective.right(given, y) == (x.argmax(1) == y).sum()


def test_distillation_is_the_divergence_of_softened_answers():
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    teacher = torch.nn.Linear(3, 3)
    T = 2.0
    p = (teacher(x) / T).softmax(1).detach()
    q = (x / T).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean() * T**2
    settings = TrainSettings(temperature=T, distill_weight=0.25)
    objective = Objective(settings, of_classes(settings), teacher=teacher)
    torch.testing.assert_close(objective(logits, x, None).loss, divergence)
    both = 0.25 * divergence + 0.75 * F.cross_entropy(x, y)
    torch.testing.assert_close(objective(logits, x, y).loss, both)
    same = Objective(settings, of_classes(settings), teacher=torch.nn.Identity())
    assert same(logits, x, None).loss.abs() < 1e-6


def test_without_classes_every_output_is_matched_in_units_of_its_variance():
    x = torch.randn(64, 3)

    def student(x):
        return x, 100 * x

    class Teacher(torch.nn.Module):
        def forward(self, x):
            return x + 1, 100 * (x + 1)

    objective = Objective(TrainSettings(), teacher=Teacher())
    loss = objective(student, x, None).loss
    torch.testing.assert_close(loss, 1 / x.var(), rtol=1e-4, atol=1e-4)


def test_the_moving_average_follows_slowly():
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    average = MovingAverage(module, 0.9)
    with torch.no_grad():
        module.weight.fill_(1.0)
    expected = 0.0
    for k in range(1, 200):
        average.update(module)
        decay = min(0.9, k / (k + 9))
        expected = decay * expected + (1 - decay)
    assert average.state["weight"].item() == pytest.approx(expected, abs=1e-5)
    assert 0.99 < expected < 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1}, {"epochs": 0}, {"milestones": (2.0,)}, {"schedule": "steps"}, {"warmup": -1}],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        TrainSettings(**wrong)
