"""The start is measured, the best epoch is kept, and the rate suits the network."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.errors import SelectionError, UsageError
from reprune_onnx.tasks import CLASSIFICATION, TASKS

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.activations.opened import batches_for
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.finetune import usual_optimizer
from reprune_onnx.training.frozen import frozen_parameters
from reprune_onnx.training.held_out import held_back, rest_of
from reprune_onnx.training.judge import Judge
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.prepare import prepare, start_fabric
from reprune_onnx.training.rate import find_rate
from reprune_onnx.training.run import Run
from reprune_onnx.training.schedule import learning_rate

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 4] w1 = {WONE}, float[4] b1 = {0.1, 0.2, 0.3, 0.4}, float[4, 2] w2 = {WTWO}>
{
   [first] m = MatMul(x, w1)
   [shift] h = Add(m, b1)
   [act] r = Relu(h)
   [second] y = MatMul(r, w2)
}"""


def net(scale: float = 1.0) -> rp.Model:
    """A classifier of two classes by three numbers; ``scale`` of its first layer."""
    rng = np.random.default_rng(0)
    texts = {
        key: ", ".join(f"{v:.6f}" for v in factor * rng.standard_normal(n))
        for key, n, factor in (("WONE", 12, scale), ("WTWO", 8, 1.0))
    }
    text = NET
    for key, numbers in texts.items():
        text = text.replace(key, numbers)
    return rp.Model(onnx.parser.parse_model(text))


def batches(n: int = 20, seed: int = 0):
    def function():
        rng = np.random.default_rng(seed)
        for _ in range(n):
            x = rng.standard_normal((16, 3)).astype(np.float32)
            yield x, (x[:, 0] > x[:, 1]).astype(np.int64)

    return function


def loss(outputs, target):
    return torch.nn.functional.cross_entropy(outputs, target)


def weights(model: rp.Model) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.proto.graph.initializer}


def tuned(model=None, lines=None, **settings):
    run = Run(on_line=None if lines is None else lines.append)
    task = rp.Task(batches(), batches(4, seed=9), loss=loss)
    how = rp.TrainSettings(**{"epochs": 2, "momentum": 0.9, **settings})
    return rp.finetune(model or net(), task, how, run)


def test_what_is_held_back_is_never_trained_on():
    held = held_back(1000, 3)
    assert len(held) == 100
    assert not np.intersect1d(held, rest_of(1000, held)).size
    assert len(rest_of(1000, held)) == 900
    assert (held != held_back(1000, 4)).any()


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_that_is_found_trains_a_network_of_any_scale(scale, optimizer):
    lines = []
    result = tuned(net(scale), lines, optimizer=optimizer)
    log = result.log
    assert log["result"]["scores"]["val_loss"] < log["start"]["val_loss"]
    taken = learning_rate(rp.TrainSettings(epochs=2), log["lr"]["rate"], 0.5)
    assert log["epochs"][0]["lr"] == pytest.approx(taken)
    assert f"learning rate {log['lr']['rate']:g}: " in "\n".join(lines)


@pytest.mark.parametrize(
    ("n", "keep", "held", "both"),
    [(300, "best", 30, 0), (1000, "best", 100, 0), (300, "last", 300, 300), (90, "best", 90, 90)],
)
def test_images_that_are_measured_on_are_not_trained_on(n, keep, held, both):
    """Unless so few are there that none can be spared, or nothing is chosen by what is measured."""
    model, settings = net(), rp.TrainSettings(batch_size=10, keep_epoch=keep)
    x = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    task = rp.Task(batches_for(model.proto, (x, np.arange(n) % 2)))
    prepared = prepare(model, task, settings, start_fabric(settings))
    trained, measured = (
        {row[0].item() for part, _ in some for row in part}
        for some in (prepared.feed.epoch(0, 0), prepared.judge.batches(torch_module(model)))
    )
    assert len(measured) == held
    assert len(trained & measured) == both
    assert len(trained | measured) == n


@pytest.mark.parametrize(
    ("teacher", "val", "by_loss"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_the_loss_decides_on_held_back_images_that_the_original_may_know(teacher, val, by_loss):
    model, settings = net(), rp.TrainSettings(batch_size=10)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3)).astype(np.float32)
    data = batches_for(model.proto, (x, rng.integers(0, 2, 300)))
    task = rp.Task(data, data if val else None, teacher=net(0.5) if teacher else None)
    judge = prepare(model, task, settings, start_fabric(settings)).judge
    assert judge.labelled
    assert judge.by_loss == by_loss


class Valley:
    """What the search for a rate asks of a trainer: w falls along c·w²/2, at most by one step."""

    feed = SimpleNamespace(steps=16, epoch=lambda *_: [(None, None)] * 16)

    def __init__(self, curvature: float, optimizer: str) -> None:
        self.settings = SimpleNamespace(optimizer=optimizer)
        self.module, self.curvature = torch.nn.Linear(1, 1, bias=False), curvature
        torch.nn.init.ones_(self.module.weight)

    def measured(self, judge) -> dict[str, float]:
        return judge(self.module)

    def snapshot(self):
        return {k: v.clone() for k, v in self.module.state_dict().items()}

    def put_back(self, snapshot) -> None:
        self.module.load_state_dict(snapshot)

    def take_step(self, x, target, rate: float) -> None:
        with torch.no_grad():
            self.module.weight *= 1 - rate * self.curvature

    def judge(self, module) -> dict[str, float]:
        return {"val_loss": self.curvature * module.weight.item() ** 2 / 2 + 1e-3}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("curvature", [1.0, 30.0, 1000.0])
def test_the_rate_that_is_found_is_what_the_network_bears(optimizer, curvature):
    """Steps of more than 2 / c lead away from the bottom; of far less they do not reach it."""
    trainer = Valley(curvature, optimizer)
    trial = find_rate(trainer, trainer.judge)
    assert 0.1 < trial.lr * curvature < 3
    assert trainer.module.weight.item() == 1


def test_the_values_that_are_written_are_those_of_the_best_epoch():
    result = tuned(epochs=4, lr=0.3, schedule="constant")
    losses = [e["val_loss"] for e in result.log["epochs"]]
    best = result.log["result"]["kept_epoch"]
    if result.log["result"]["kept_share"] == 1:
        assert best == 1 + int(np.argmin(losses))
        assert result.log["result"]["scores"]["val_loss"] == pytest.approx(min(losses), rel=1e-5)
    assert result.log["result"]["scores"]["val_loss"] <= min(losses) * (1 + 1e-5)
    last = tuned(epochs=4, lr=0.3, schedule="constant", keep_epoch="last").log["result"]
    assert last["kept_epoch"] == 4
    assert last["scores"]["val_loss"] == pytest.approx(losses[-1], rel=1e-5)


def turned(best: int, **settings):
    """The log of a training whose labels are wrong behind the epoch ``best``: they are learned."""
    calls = itertools.count()

    def turning():
        right = next(calls) <= best  # the first call counts the batches
        for x, y in batches()():
            yield x, y if right else 1 - y

    how = rp.TrainSettings(lr=0.1, schedule="constant", **settings)
    return rp.finetune(net(), rp.Task(turning, batches(4, seed=9), loss=loss), how).log


@pytest.mark.parametrize(("best", "patience"), [(1, 1), (1, 3), (3, 1)])
def test_patience_is_counted_from_the_best_epoch(best, patience):
    log = turned(best, epochs=9, patience=patience)
    assert len(log["epochs"]) == best + patience
    assert log["result"]["kept_epoch"] == best


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_best_epoch_is_written_wherever_it_is(best):
    log = turned(best, epochs=4)
    losses = [e["val_loss"] for e in log["epochs"]]
    assert (log["result"]["kept_epoch"], log["result"]["kept_share"]) == (best, 1)
    assert log["result"]["scores"]["val_loss"] == pytest.approx(losses[best - 1], rel=1e-5)
    assert losses[-1] > 2 * min(losses)


@pytest.mark.parametrize(
    ("task", "number", "alike", "high"),
    [
        (CLASSIFICATION, "top1", "agreement", True),
        (TASKS["semantic-segmentation"], "mean_iou", "agreement_mean_iou", True),
        (TASKS["regression"], "rmse", "agreement_relative_error", False),
        (TASKS["multi-label"], "mean_ap", "agreement", True),
    ],
)
def test_what_decides_is_the_tasks_number_beside_labels_and_else_the_loss(
    task, number, alike, high
):
    """The one has the better number, the other the smaller loss."""
    goal = SimpleNamespace(task=task, its=object())
    labelled, without, known = (
        Judge(SimpleNamespace(goal=goal), None, lambda _: (), "images", *how)
        for how in ((True,), (False,), (True, True))
    )
    good, bad = (0.9, 0.5) if high else (0.5, 0.9)
    one, other = ({"val_loss": loss, **{f"val_{key}": value for key in (number, alike)}}
                  for loss, value in ((2.0, good), (1.0, bad)))  # fmt: skip
    assert labelled.better(one, other)
    assert not labelled.better(other, one)
    assert without.better(other, one)
    assert not without.better(one, other)
    assert known.better(other, one)  # labels that the original knows by heart
    assert not known.better(one, other)
    assert task.measure.said({number: good}) in labelled.said(one)
    assert "val loss 2.0000" not in labelled.said(one)
    assert f"{task.measure.said({number: good})}  val loss 2.0000" in known.said(one)
    assert labelled.better({**one, "val_loss": 1.0}, one)  # between equals the loss


def test_an_average_with_the_file_as_given_is_kept_where_it_is_better():
    """A step twice as long as the way to the best point: that lies half-way between its ends."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 4] x) => (float[N, 2] y)
        <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> { y = MatMul(x, w) }"""
    target, lines = torch.arange(8.0).reshape(4, 2) * 3 - 5, []

    def function():
        yield np.eye(4, dtype=np.float32), target

    def distance(outputs, wanted):
        return ((outputs - wanted) ** 2).mean()  # whose gradient is (w - wanted) / 4

    how = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "schedule": "constant"}
    settings = rp.TrainSettings(epochs=1, lr=8.0, **how)
    task = rp.Task(function, function, loss=distance)
    model = rp.Model(onnx.parser.parse_model(text))
    result = rp.finetune(model, task, settings, Run(on_line=lines.append))
    (epoch,), kept = result.log["epochs"], result.log["result"]
    assert epoch["val_loss"] == pytest.approx(result.log["start"]["val_loss"])
    assert kept["kept_share"] == 0.5
    assert kept["scores"]["val_loss"] < 1e-9
    assert lines[-1].startswith("OUT holds epoch 1 averaged with 50 % of the file as given: val")
    np.testing.assert_allclose(weights(result.model)["w"], target.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "settings"),
    [
        (1.0, {"lr": 30}),
        (100.0, {"lr": 1e4, "epochs": 2}),
        (1.0, {"lr": 1e3, "optimizer": "adamw"}),
    ],
)
def test_where_no_epoch_is_better_the_file_as_given_is_written_and_that_is_said(scale, settings):
    start, lines = tuned(net(scale), epochs=4).model, []
    settings = {"epochs": 1, **settings}
    result = tuned(start, lines, **settings)
    assert result.model.proto == start.proto
    assert result.log["result"]["kept_epoch"] == 0
    assert lines[-1].startswith("no epoch was better than the file as given (val loss ")
    worse = tuned(start, lines, **settings, keep_epoch="last")
    assert worse.model.proto != start.proto
    assert lines[-1].endswith(", which was better)")


def test_patience_ends_a_run_that_gets_no_better():
    lines = []
    good = tuned(epochs=4).model
    result = tuned(good, lines, lr=30, epochs=9, patience=2)
    assert len(result.log["epochs"]) == 2
    assert len(tuned(net(), epochs=3, patience=2).log["epochs"]) == 3  # which gets better


def test_a_gradient_is_shortened_to_the_norm_that_is_given():
    """One step of plain SGD moves all parameters together by the rate times that norm."""

    def moved(**settings) -> float:
        start = net(10.0)
        task = rp.Task(batches(1), loss=loss)
        how = rp.TrainSettings(
            epochs=1, lr=1e-3, momentum=0.0, weight_decay=0.0, schedule="constant", **settings
        )
        after, before = weights(rp.finetune(start, task, how).model), weights(start)
        return math.sqrt(sum(((after[n] - before[n]) ** 2).sum() for n in after))

    assert moved(clip_norm=0.25) == pytest.approx(0.25e-3, rel=1e-3)
    assert moved() == pytest.approx(1e-3, rel=1e-3)  # by default to 1
    assert moved(clip_norm=0.0) > 2e-3


@pytest.mark.parametrize(
    ("globs", "frozen"),
    [
        (("w1",), {"w1"}),
        (("second",), {"w2"}),
        (("w*", "shift"), None),
        (("*irst", "b?"), {"w1", "b1"}),
    ],
)
def test_globs_freeze_tensors_by_their_name_or_by_their_nodes(globs, frozen):
    if frozen is None:
        with pytest.raises(SelectionError, match="leaves none of 3 parameters to train"):
            frozen_parameters(net(), globs)
        return
    assert frozen_parameters(net(), globs) == frozen
    before, after = weights(net()), weights(tuned(freeze=globs, optimizer="adamw").model)
    assert {n for n in before if np.array_equal(before[n], after[n])} == frozen


def test_a_glob_that_names_nothing_that_is_trained_is_refused():
    with pytest.raises(SelectionError, match="--freeze 'act' matches no trained tensor"):
        tuned(freeze=("act",))


def test_frozen_statistics_stay_and_the_scale_still_trains(demo):
    model = rp.load(demo)
    rng = np.random.default_rng(0)

    def function():
        for _ in range(2):
            yield rng.random((8, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 8)

    for freeze in (True, False):
        how = rp.TrainSettings(epochs=1, lr=1e-2, freeze_bn=freeze, keep_epoch="last")
        result = rp.finetune(model, rp.Task(function, loss=loss), how)
        before, after = weights(model), weights(result.model)
        moved = {n for n in before if not np.array_equal(before[n], after[n])}
        statistics = {n for n in before if "running" in n}
        assert statistics
        assert (statistics & moved == set()) is freeze
        assert moved - statistics


def test_finetune_takes_adamw_in_networks_of_matrices(root):
    task = rp.Task(batches(), loss=loss)
    taken = {
        lr: rp.finetune(net(), task, rp.TrainSettings(epochs=1, lr=lr)).log["settings"]["optimizer"]
        for lr in ("auto", 0.01)
    }
    assert taken == {"auto": "adamw", 0.01: "sgd"}
    live = rp.load(root / "models" / "digits_resnet.onnx")
    assert usual_optimizer(live, rp.TrainSettings()) == "sgd"
    assert usual_optimizer(net(), rp.TrainSettings(batch_norm="insert")) == "sgd"


@pytest.mark.parametrize(
    ("epochs", "end", "interval", "ways"),
    [
        (1, 2, 2, "--epochs 3 or more$"),
        (2, 2, 2, "--epochs 3 or more, or --interval 1 --prune-epochs 1$"),
        (6, 6, 2, "--epochs 7 or more, or --prune-epochs 4$"),
        (6, 9, 3, "--epochs 10 or more, or --prune-epochs 3$"),
    ],
)
def test_a_plan_that_leaves_no_epoch_after_the_last_cut_is_refused(epochs, end, interval, ways):
    plan = PrunePlan(rp.Settings(sparsity=0.5), end, interval)
    with pytest.raises(UsageError, match=ways):
        plan.check(epochs)
    plan.check(end + 1)


@pytest.mark.parametrize("wrong", [{"lr": "fast"}, {"clip_norm": -1}, {"patience": -1}], ids=str)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        rp.TrainSettings(**wrong)
