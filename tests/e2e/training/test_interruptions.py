"""Training by several processes, killed, stopped, and gone on with: the result is the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from networks import PRE, weights

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.training.checkpoint import Checkpoint

COMMON = ("--batch-size", "60", "--augment", "crop", "--accelerator", "cpu")
LR = ("--lr", "0.02")
"""For runs that are not about how the rate is found, which takes longer than they do."""

SCRIPT = "from reprune_onnx.cli import main\nmain()\n"
OFTEN = """
import functools, os, time
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.run import Run

Run.__init__ = functools.partialmethod(Run.__init__, save_seconds=0.0)
save, saves, last = Checkpoint.save, 0, int(os.environ.get("SAVES", 1000))

def counted(*arguments):
    global saves
    save(*arguments)
    saves += 1
    if saves == last:
        os.write(1, b"saved\\n")  # a progress bar takes what is printed
    elif saves > last:
        time.sleep(600)  # however late the signal comes, the run has not ended

Checkpoint.save = counted
"""
"""A checkpoint after every step, and no end once there were so many of them."""


def environment(root) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


def test_two_processes_give_what_one_gives(small, few, tmp_path, root):
    """The same global batch: batch statistics and gradients are those of all processes."""
    script = tmp_path / "cli.py"
    script.write_text(SCRIPT)
    runs = {
        "one": [sys.executable, str(script)],
        "two": [
            *[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"],
            *["--master-port", str(random.randint(20000, 50000)), str(script)],
        ],
    }
    for name, command in runs.items():
        out = tmp_path / f"{name}.onnx"
        # more epochs would multiply the rounding: training is chaotic
        args = ["finetune", small, "--data", few, *PRE, *COMMON, "--epochs", "1", "-o", out]
        done = subprocess.run(
            [*command, *map(str, args)],
            env=environment(root),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    log = json.loads((tmp_path / "two.training.json").read_text())
    assert log["machine"]["processes"] == 2
    start, one, two = (weights(p) for p in (small, tmp_path / "one.onnx", tmp_path / "two.onnx"))
    moved = max(np.abs(one[n] - start[n]).max() for n in one)
    apart = max(np.abs(one[n] - two[n]).max() for n in one)
    assert moved > 0.01
    assert apart < 1e-3 * moved


@pytest.fixture
def one_thread():
    """As the processes have that are started here, so that sums have the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_goes_on_to_the_same_result(call, small, few, tmp_path, root):
    """kill -9 at a random moment, twice; then the same command again."""
    script = tmp_path / "often.py"
    script.write_text(OFTEN + SCRIPT)
    unbroken, broken = tmp_path / "whole.onnx", tmp_path / "broken.onnx"

    how = ("--data", few, *PRE, *COMMON, *LR, "--epochs", "4", "--ema", "0.9")
    assert call("finetune", small, *how, "-o", unbroken).code == 0
    command = [sys.executable, script, *map(str, ("finetune", small, *how, "-o", broken))]
    checkpoint = tmp_path / "broken.checkpoint.pt"
    stops = []
    for saves in (random.randint(2, 6), random.randint(2, 6)):
        env = environment(root) | {"SAVES": str(saves)}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert any(line == "saved\n" for line in process.stdout)
        time.sleep(random.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        state = torch.load(checkpoint, weights_only=True)["state"]
        stops.append((state["epoch"], state["step"]))
        assert not broken.exists()
    assert stops[1] > stops[0] > (0, 0)
    assert call("finetune", small, *how, "-o", broken).code == 0
    assert not checkpoint.exists()
    a, b = weights(unbroken), weights(broken)
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name], err_msg=name)
    logs = [json.loads(p.with_suffix(".training.json").read_text()) for p in (unbroken, broken)]
    assert [e["loss"] for e in logs[0]["epochs"]] == [e["loss"] for e in logs[1]["epochs"]]


def test_a_checkpoint_of_another_run_is_refused(call, small, few, tmp_path):
    out = tmp_path / "out.onnx"
    Checkpoint.of(out, {"another": "run"}).save({"epoch": 3})
    args = ("finetune", small, "--data", few, *PRE, "-o", out, "--epochs", "1", *LR)
    result = call(*args)
    assert result.code == 1
    assert "belongs to a run with another model, data or settings" in result.err
    assert call(*args, "--restart").code == 0


def test_a_damaged_checkpoint_is_told(call, small, digits, tmp_path):
    out = tmp_path / "out.onnx"
    (tmp_path / "out.checkpoint.pt").write_bytes(b"PK\x03\x04 nothing")
    result = call("finetune", small, "--data", digits, *PRE, "-o", out, "--epochs", "1")
    assert result.code == 1
    assert "is no checkpoint of this tool, or it is damaged" in result.err


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_last_good_state(
    call, small, digits, tmp_path
):
    out = tmp_path / "out.onnx"
    how = ("--epochs", "2", "--lr", "1e9")
    result = call("finetune", small, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "the loss is " in line
    assert "at step " in line
    assert "of epoch 1, at a learning rate of up to 1e+09: try a smaller --lr" in line
    assert "out.checkpoint.pt" in line
    assert not out.exists()
    state = torch.load(tmp_path / "out.checkpoint.pt", weights_only=True)["state"]
    assert all(torch.isfinite(v).all() for v in state["module"].values())


def test_rounds_that_were_stopped_go_on_to_the_same_result(demo, images, tmp_path):
    from reprune_onnx.training.rounds import PruneRounds, finetune_in_rounds

    model = rp.load(demo)
    data = images.take(64)
    rounds = PruneRounds(rp.Settings(sparsity=0.5), 2)

    def go(name: str, stop: int):
        seen = []

        def on_epoch(record):
            seen.append(record)
            if len(seen) == stop:
                raise KeyboardInterrupt

        run = rp.Run(tmp_path / f"{name}.onnx", on_epoch=on_epoch)
        how = rp.TrainSettings(epochs=2, batch_size=32)
        return finetune_in_rounds(model, rp.Task(data), how, rounds, run), len(seen)

    unbroken, epochs = go("whole", 0)
    with pytest.raises(KeyboardInterrupt):
        go("broken", 3)  # in the second round
    broken, more = go("broken", 0)
    assert (epochs, more) == (4, 2)
    assert unbroken.model.proto == broken.model.proto
    assert unbroken.report == broken.report
