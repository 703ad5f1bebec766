"""`train`: Algorithm 2 end to end on the demo network."""

import json
from importlib import import_module

import numpy as np
import onnx
import pytest
from networks import PRE, fold
from onnx.numpy_helper import to_array

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.training.outcome import scores_of_file
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.run import Run
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.training.train import train

HOW = ("--sparsity", "0.55", "--epochs", "6", "--prune-epochs", "4", "--batch-size", "64")


@pytest.fixture(scope="module")
def trained(run_cli, demo, digits, tmp_path_factory):
    """One run of the command, and everything it left."""
    folder = tmp_path_factory.mktemp("trained")
    args = ("--data", digits, "--val", digits, *PRE, *HOW, "--lr", "0.02", "--plot", "rates.svg")
    result = run_cli("train", demo, *args, "-o", "out.onnx", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_it_prunes_while_it_trains_and_ends_exact(trained, digits):
    report = json.loads((trained / "out.report.json").read_text())
    assert report["verification"]["passed"]
    assert report["verification"]["max_abs_diff"] <= 1e-5 * report["verification"]["scale"]
    assert report["verification"]["negative_control"] >= 1e-2 * report["verification"]["scale"]
    assert report["achieved"]["sparsity"] == pytest.approx(0.55, abs=0.01)
    assert report["training"]["pruning"]["prune_epochs"] == 4
    data = rp.data.open_data(
        str(digits), preprocess="scale=1/16", input_shape=(None, 1, 8, 8), dtype=np.float32
    )
    assert rp.evaluate(rp.load(trained / "out.onnx"), data).top1 > 96
    assert {p.name for p in trained.iterdir()} == {
        "out.onnx",
        "out.report.json",
        "out.training.json",
        "rates.svg",
    }


def test_the_log_tells_what_algorithm_2_did(trained):
    """Channels regrow at first; then none do, and the mask is frozen."""
    epochs = json.loads((trained / "out.training.json").read_text())["epochs"]
    assert [e["epoch"] for e in epochs if "coverage" in e] == [2, 4]
    grown = [sum(e["regrown"].values()) for e in epochs if "regrown" in e]
    assert grown[0] > 0
    assert grown[1] == 0
    macs = [e["macs"] for e in epochs]
    assert macs[0] == macs[1] > macs[2] == macs[3] > macs[4] == macs[5]
    for e in epochs:
        assert all(0 < rate <= 1 for rate in e.get("coverage", {}).values())
    assert b"<svg" in (trained / "rates.svg").read_bytes()


def test_the_file_is_the_cut_that_its_report_names(trained, demo, call):
    report = json.loads((trained / "out.report.json").read_text())
    before, after = onnx.load(demo), onnx.load(trained / "out.onnx")
    shapes = {t.name: list(to_array(t).shape) for t in before.graph.initializer}
    for c in report["cuts"]:
        shapes[c["initializer"]][c["axis"]] = len(c["keep"])
    for t in after.graph.initializer:
        assert list(t.dims) == shapes[t.name]
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert call("verify", demo, trained / "out.onnx").code == 0


class KilledError(Exception):
    """What stands for kill -9 here."""


@pytest.mark.parametrize(
    "more", [{}, {"batch_norm": "insert"}, {"ema": 0.8}, {"optimizer": "adamw"}], ids=str
)
def test_a_run_that_stopped_goes_on_to_the_same_result(demo, images, tmp_path, more):
    model = rp.load(demo)
    data = images.take(128)
    if "batch_norm" in more:  # its folded counterpart
        proto = onnx.ModelProto()
        proto.CopyFrom(model.proto)
        model = rp.Model(fold(proto))
    settings = TrainSettings(epochs=5, lr=0.02, batch_size=32, **more)
    plan = PrunePlan(rp.Settings(sparsity=0.5), prune_epochs=4, interval=2, regrow=0.3)

    def go(name: str, stop: int | None):
        def on_epoch(record):
            if record["epoch"] == stop:
                raise KilledError

        run = Run(tmp_path / f"{name}.onnx", on_epoch=on_epoch)
        return train(model, Task(data), settings, plan, run)

    unbroken = go("whole", None)
    for stop in (2, 4):  # in the middle of an update, before it is saved
        with pytest.raises(KilledError):
            go("broken", stop)
    broken = go("broken", None)
    assert unbroken.model.proto == broken.model.proto
    assert {n.op_type for n in unbroken.model.proto.graph.node} == {
        n.op_type for n in model.proto.graph.node
    }
    without = ("seconds", "cpu_seconds", "update_seconds")
    histories = [
        [{k: v for k, v in e.items() if k not in without} for e in r.log["epochs"]]
        for r in (unbroken, broken)
    ]
    assert histories[0] == histories[1]
    assert unbroken.report["cuts"] == broken.report["cuts"]


def test_it_starts_from_random_values_too(demo, digits, tmp_path, call):
    out = tmp_path / "out.onnx"
    how = ("--sparsity", "0.3", "--epochs", "3", "--prune-epochs", "2", "--batch-size", "32")
    result = call(
        "train", demo, "--data", digits, *PRE, *how, "-o", out, "--init", "random", "--lr", "0.05"
    )
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "out.training.json").read_text())
    losses = [e["loss"] for e in log["epochs"]]
    assert losses[0] > 0.5  # it had to learn; the file's own values begin near 0.01
    assert losses[-1] < losses[0] / 2


def test_what_is_printed_last_is_the_accuracy_of_the_file(call, demo, digits, tmp_path):
    out = tmp_path / "out.onnx"
    how = ("--sparsity", "0.5", "--epochs", "2", "--interval", "1", "--val", digits, "--lr", "0.02")
    result = call("train", demo, "--data", digits, *PRE, *how, "-o", out)
    assert result.code == 0, result.err
    data = rp.data.open_data(
        str(digits), preprocess="scale=1/16", input_shape=(None, 1, 8, 8), dtype=np.float32
    )
    top1 = rp.evaluate(rp.load(out), data).top1
    assert f"OUT holds epoch 2: val {top1:.2f} %, measured on the written file" in result.out


@pytest.mark.parametrize("command", ["finetune", "train"])
def test_what_is_said_last_is_of_the_file_and_not_of_the_epoch(
    call, demo, few, tmp_path, monkeypatch, command
):
    """A file that is spoiled behind the last epoch is told by its own accuracy."""
    module = import_module(f"reprune_onnx.training.{command}")
    measured = []

    def spoiled(written, outputs, judge):
        proto = onnx.ModelProto()
        proto.CopyFrom(written.proto)
        weight = next(t for t in proto.graph.initializer if list(t.dims[:1]) == [10])
        weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(to_array(weight), 1, 0), weight.name))
        measured.append(scores_of_file(rp.Model(proto), outputs, judge))
        return measured[0]

    monkeypatch.setattr(module, "scores_of_file", spoiled)
    how = ("--epochs", "2", "--lr", "0.02", "--distill", "none", "--keep-epoch", "last")
    how += ("--sparsity", "0.5", "--interval", "1") if command == "train" else ()
    result = call(command, demo, "--data", few, *PRE, *how, "-o", tmp_path / "out.onnx")
    assert result.code == 0, result.err
    assert measured[0]["val_top1"] < 10
    said = f"OUT holds epoch 2: val {measured[0]['val_top1']:.2f} %, measured on the written file"
    assert said in result.out


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (("--epochs", "1"), "use --epochs 3 or more"),
        (("--epochs", "2"), "use --epochs 3 or more, or --interval 1 --prune-epochs 1"),
        (("--epochs", "6", "--prune-epochs", "6"), "--epochs 7 or more, or --prune-epochs 4"),
        (("--plot", "missing/rates.svg"), "there is no folder 'missing'"),
        (("--plot", "rates.odd"), "give a name that ends in .png, .svg or .pdf"),
    ],
    ids=lambda p: " ".join(p) if isinstance(p, tuple) else "",
)
def test_what_would_not_be_written_is_refused_before_the_first_epoch(
    call, demo, digits, tmp_path, how, message
):
    out = tmp_path / "out.onnx"
    result = call("train", demo, "--data", digits, *PRE, "--sparsity", "0.5", *how, "-o", out)
    assert result.code in (1, 2)
    assert message in result.err
    assert "epoch" not in result.out
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_asked_for_is_usage(call, demo, digits, tmp_path):
    args = ("train", demo, "--data", digits, "-o", tmp_path / "out.onnx")
    result = call(*args, "--sparsity", "0.5", "--prune-epochs", "5")
    assert result.code == 2
    assert "--prune-epochs 5 is not a multiple of --interval 2" in result.err
    assert call(*args, "--sparsity", "1.5").code == 2
