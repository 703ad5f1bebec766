"""`finetune` on the demo network: results, interruptions, several processes, bad data."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array
from PIL import Image

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.training.checkpoint import Checkpoint  # noqa: E402 (after the skip)

PRE = ("--preprocess", "scale=1/16")


@pytest.fixture(scope="module")
def small(demo, tmp_path_factory):
    """The demo network, pruned so far that it needs training."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    model = rp.prune(rp.load(demo), rp.Settings(sparsity=0.85))
    rp.save(model.model, path)
    path.with_suffix(".report.json").write_text(json.dumps(model.report))
    return path


def accuracy(path, digits) -> float:
    data = rp.data.open_data(
        str(digits), preprocess="scale=1/16", input_shape=(None, 1, 8, 8), dtype=np.float32
    )
    return rp.evaluate(rp.load(path), data).top1


def weights(path) -> dict[str, np.ndarray]:
    return {t.name: to_array(t) for t in onnx.load(path).graph.initializer}


def test_it_repairs_a_pruned_model_and_changes_nothing_but_numbers(
    call, small, demo, digits, tmp_path
):
    out = tmp_path / "out.onnx"
    how = ("--epochs", "2", "--val", digits, "--ema", "0.8", "--mixup", "0.1", "--warmup", "0.5")
    result = call("finetune", small, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch   2  loss ")
    before, after = accuracy(small, digits), accuracy(out, digits)
    assert before < 80
    assert after > 94
    log = json.loads((tmp_path / "out.training.json").read_text())
    assert [e["epoch"] for e in log["epochs"]] == [1, 2]
    assert log["epochs"][1]["val_top1"] == pytest.approx(after, abs=0.2)
    assert log["result"]["difference"] < 1e-5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.onnx", "out.training.json"]
    a, b = onnx.load(small), onnx.load(out)
    assert list(a.graph.node) == list(b.graph.node)
    assert a.opset_import == b.opset_import
    assert a.ir_version == b.ir_version
    report = small.with_suffix(".report.json")
    assert call("verify", demo, out, "--report", report).code == 0


def test_the_original_teaches_without_labels(call, small, demo, digits, tmp_path):
    with np.load(digits) as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x_train"])
    out = tmp_path / "out.onnx"
    how = ("--epochs", "2", "--distill", demo)
    result = call("finetune", small, "--data", tmp_path / "unlabelled.npz", *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    assert accuracy(out, digits) > 90


def test_a_folded_model_trains_with_batch_normalisation_of_its_own(call, digits, tmp_path, demo):
    """The inserted nodes are folded away again: the graph is the old one."""
    folded = tmp_path / "folded.onnx"
    rp.save(rp.Model(fold(onnx.load(demo))), folded)
    assert "BatchNormalization" not in {n.op_type for n in onnx.load(folded).graph.node}
    out = tmp_path / "out.onnx"
    how = ("--epochs", "1", "--batch-norm", "insert", "--lr", "0.005")
    result = call("finetune", folded, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    assert list(onnx.load(out).graph.node) == list(onnx.load(folded).graph.node)
    before, after = weights(folded), weights(out)
    assert set(before) == set(after)
    assert any(np.abs(before[n] - after[n]).max() > 1e-4 for n in before)
    assert accuracy(out, digits) > 97


def fold(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Fold every BatchNormalization into the Conv before it, as exporters do."""
    held = {t.name: t for t in proto.graph.initializer}
    producer = {o: n for n in proto.graph.node for o in n.output}
    for bn in [n for n in proto.graph.node if n.op_type == "BatchNormalization"]:
        conv = producer[bn.input[0]]
        scale, shift, mean, var = (to_array(held[i]).astype(np.float64) for i in bn.input[1:])
        epsilon = next((a.f for a in bn.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(var + epsilon)
        w = to_array(held[conv.input[1]]) * factor[:, None, None, None]
        held[conv.input[1]].CopyFrom(
            onnx.numpy_helper.from_array(w.astype(np.float32), conv.input[1])
        )
        bias = onnx.numpy_helper.from_array((shift - mean * factor).astype(np.float32), bn.input[2])
        held[bn.input[2]].CopyFrom(bias)
        conv.input.append(bn.input[2])
        conv.output[0] = bn.output[0]
        proto.graph.node.remove(bn)
    used = {i for n in proto.graph.node for i in n.input}
    for name in set(held) - used:
        proto.graph.initializer.remove(held[name])
    return proto


def test_any_other_task_trains_with_a_loss_of_ones_own(call, small, digits, tmp_path, monkeypatch):
    (tmp_path / "own_task.py").write_text(
        "import numpy as np, torch\n"
        "def batches():\n"
        f"    a = np.load({str(digits)!r})\n"
        "    for k in range(0, 320, 32):\n"
        "        x = a['x_train'][k:k+32].astype('float32') / 16\n"
        "        yield x, {'y': a['y_train'][k:k+32]}\n"
        "def loss(outputs, target):\n"
        "    return torch.nn.functional.cross_entropy(outputs, target['y'])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out.onnx"
    how = ("--data", "own_task:batches", "--loss", "own_task:loss", "--epochs", "4")
    result = call("finetune", small, *how, "-o", out)
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "out.training.json").read_text())
    losses = [e["loss"] for e in log["epochs"]]
    assert losses[-1] < losses[0] / 2
    assert accuracy(out, digits) > accuracy(small, digits) + 10


def test_it_prunes_and_trains_in_rounds(call, demo, digits, tmp_path):
    """The report is about the original, and its cuts are those of all rounds together."""
    out = tmp_path / "out.onnx"
    how = ("--macs-reduction", "0.6", "--rounds", "3", "--epochs", "1", "--residual", "prune")
    result = call("finetune", demo, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["achieved"]["macs_reduction"] == pytest.approx(0.6, abs=0.02)
    assert report["verification"]["passed"]
    log = json.loads((tmp_path / "out.training.json").read_text())
    assert [e["round"] for e in log["epochs"]] == [1, 2, 3]
    macs = [e["macs"] for e in log["epochs"]]
    assert report["before"]["macs"] > macs[0] > macs[1] > macs[2] == report["after"]["macs"]
    assert call("verify", demo, out).code == 0
    assert accuracy(out, digits) > 94
    names = {"out.onnx", "out.report.json", "out.training.json"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_rounds_that_were_stopped_go_on_to_the_same_result(demo, digits, tmp_path):
    from reprune_onnx.training.rounds import Rounds, finetune_in_rounds

    model = rp.load(demo)
    data = rp.data.open_data(
        str(digits),
        preprocess="scale=1/16",
        input_shape=(None, 1, 8, 8),
        dtype=np.float32,
        split="train",
    ).take(128)
    rounds = Rounds(rp.Settings(sparsity=0.5), 2)

    def go(name: str, stop: int):
        seen = []

        def on_epoch(record):
            seen.append(record)
            if len(seen) == stop:
                raise KeyboardInterrupt

        run = rp.Run(tmp_path / f"{name}.onnx", on_epoch=on_epoch)
        how = rp.TrainSettings(epochs=2)
        return finetune_in_rounds(model, rp.Task(data), how, rounds, run), len(seen)

    whole, epochs = go("whole", 0)
    with pytest.raises(KeyboardInterrupt):
        go("broken", 3)  # in the second round
    broken, more = go("broken", 0)
    assert (epochs, more) == (4, 2)
    assert whole.model.proto == broken.model.proto
    assert whole.report == broken.report


def test_rounds_without_a_target_are_usage(call, demo, digits, tmp_path):
    result = call("finetune", demo, "--data", digits, "-o", tmp_path / "out.onnx", "--rounds", "2")
    assert result.code == 2
    assert "--rounds prunes: give --sparsity or --macs-reduction too" in result.err


def test_every_other_option_trains_too(call, small, few, digits, tmp_path):
    out = tmp_path / "out.onnx"
    how = (
        "--epochs",
        "3",
        "--schedule",
        "step",
        "--milestones",
        "0.4,0.8",
        "--label-smoothing",
        "0.1",
    )
    more = ("--precision", "bf16", "--augment", "crop", "--tensorboard", tmp_path / "board")
    result = call("finetune", small, "--data", few, "--val", digits, *PRE, "-o", out, *how, *more)
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "out.training.json").read_text())
    assert [e["lr"] for e in log["epochs"]] == pytest.approx([0.02, 0.002, 0.0002])
    assert log["epochs"][-1]["loss"] < log["epochs"][0]["loss"]
    assert accuracy(out, digits) > accuracy(small, digits)
    assert len(list((tmp_path / "board").glob("events.*"))) >= 1


def test_the_documents_commands_work(call, root, demo, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(demo, "model.onnx")
    assert call("prune", "model.onnx", "--sparsity", "0.5").code == 0
    with np.load(digits) as data:
        for k in range(200):
            folder = tmp_path / "images" / str(data["y"][k])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data["x"][k, 0] * 16).save(folder / f"{k}.png")
    done = 0
    for document in ("README.md", "docs/training.md"):
        text = (root / document).read_text(encoding="utf-8")
        for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "reprune-onnx"
                if arguments[0] in ("convert", "build", "bundle"):  # of test_bundle.py
                    continue
                result = call(*arguments, "--force")
                assert result.code == 0, result.err
                assert Path(arguments[arguments.index("-o") + 1]).exists()
                done += 1
    assert done >= 6
    assert b"<svg" in Path("coverage.svg").read_bytes()


# ── several processes, interruptions ────────────────────────────────────────────────────────────

COMMON = ("--epochs", "4", "--batch-size", "60", "--augment", "crop", "--accelerator", "cpu")
SCRIPT = "from reprune_onnx.cli import main\nmain()\n"


@pytest.fixture(scope="module")
def few(digits, tmp_path_factory):
    """240 images: four steps per epoch."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    with np.load(digits) as arrays:
        np.savez(path, x=arrays["x_train"][:240], y=arrays["y_train"][:240])
    return path


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


def test_a_killed_run_goes_on_to_the_same_result(small, few, tmp_path, root):
    """kill -9 at a random moment, twice; then the same command again."""
    script = tmp_path / "often.py"  # a checkpoint after every step
    script.write_text(
        "import time\n"
        "from reprune_onnx.training.checkpoint import Checkpoint\n"
        "from reprune_onnx.training.finetune import Run\n"
        "Run.__init__.__defaults__ = (*Run.__init__.__defaults__[:-1], 0.0)\n"
        "save = Checkpoint.save\n"
        "Checkpoint.save = lambda *a: (save(*a), time.sleep(0.1))\n" + SCRIPT
    )
    whole, broken = tmp_path / "whole.onnx", tmp_path / "broken.onnx"

    def command(out) -> list[str]:
        args = ["finetune", small, "--data", few, *PRE, *COMMON, "--ema", "0.9", "-o", out]
        return [sys.executable, str(script), *map(str, args)]

    subprocess.run(command(whole), env=environment(root), check=True, capture_output=True)
    checkpoint = tmp_path / "broken.checkpoint.pt"
    stops = []
    for steps in (random.randint(2, 7), random.randint(2, 7)):
        process = subprocess.Popen(
            command(broken), env=environment(root), stdout=subprocess.DEVNULL
        )
        seen = {checkpoint.stat().st_mtime_ns} if checkpoint.exists() else set()
        wanted = len(seen) + steps
        while process.poll() is None and len(seen) < wanted:
            time.sleep(0.01)
            seen |= {checkpoint.stat().st_mtime_ns} if checkpoint.exists() else set()
        time.sleep(random.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = torch.load(checkpoint, weights_only=True)["state"]
        stops.append((state["epoch"], state["step"]))
        assert not broken.exists()
    assert stops[1] > stops[0] > (0, 0)
    subprocess.run(command(broken), env=environment(root), check=True, capture_output=True)
    assert not checkpoint.exists()
    a, b = weights(whole), weights(broken)
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name], err_msg=name)
    logs = [json.loads(p.with_suffix(".training.json").read_text()) for p in (whole, broken)]
    assert [e["loss"] for e in logs[0]["epochs"]] == [e["loss"] for e in logs[1]["epochs"]]


def test_a_checkpoint_of_another_run_is_refused(call, small, digits, tmp_path):
    out = tmp_path / "out.onnx"
    Checkpoint.of(out, {"another": "run"}).save({"epoch": 3})
    args = ("finetune", small, "--data", digits, *PRE, "-o", out, "--epochs", "1")
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
    assert "of epoch 1: try a smaller --lr" in line
    assert "out.checkpoint.pt" in line
    assert not out.exists()
    state = torch.load(tmp_path / "out.checkpoint.pt", weights_only=True)["state"]
    assert all(torch.isfinite(v).all() for v in state["module"].values())


# ── bad data: one line before the first epoch ───────────────────────────────────────────────────


def images(folder, classes: int = 10, side: int = 8, n: int = 2) -> None:
    for c in range(classes):
        (folder / f"{c:02d}").mkdir(parents=True)
        for k in range(n):
            Image.new("L", (side, side), 10 * c).save(folder / f"{c:02d}" / f"{k}.png")


BAD = {
    "empty": ("no images", lambda d: d.mkdir()),
    "other classes": ("labels are 0 to 4, but the model has 10 classes", lambda d: images(d, 5)),
    "more classes": ("labels are 0 to 11, but the model has 10 classes", lambda d: images(d, 12)),
    "smaller": ("smaller than the 8×8", lambda d: images(d, side=4)),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_one_line_before_the_first_epoch(call, small, tmp_path, kind):
    message, make = BAD[kind]
    make(tmp_path / "data")
    refused(call, small, tmp_path, message)


def test_an_unreadable_image_is_named(call, small, tmp_path):
    images(tmp_path / "data")
    (tmp_path / "data" / "07" / "1.png").write_bytes(b"no image")
    refused(call, small, tmp_path, "07/1.png cannot be read as an image")


def test_an_unreadable_image_is_found_also_where_not_all_fit_in_memory(
    call, small, tmp_path, monkeypatch
):
    from reprune_onnx.training import examples

    monkeypatch.setattr(examples, "MEMORY", 100)
    images(tmp_path / "data")
    out = tmp_path / "good.onnx"
    how = ("--epochs", "1", "--batch-size", "4")
    assert call("finetune", small, "--data", tmp_path / "data", "-o", out, *how).code == 0
    (tmp_path / "data" / "07" / "1.png").write_bytes(b"no image")
    refused(call, small, tmp_path, "07/1.png cannot be read as an image")


def test_no_labels_and_no_original_is_refused(call, small, digits, tmp_path):
    with np.load(digits) as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x_train"])
    result = call(
        "finetune", small, "--data", tmp_path / "unlabelled.npz", "-o", tmp_path / "out.onnx"
    )
    assert result.code == 1
    assert "has no labels: give labelled images, or the original with --distill" in result.err


def refused(call, small, tmp_path, message) -> None:
    out = tmp_path / "out.onnx"
    result = call("finetune", small, "--data", tmp_path / "data", "-o", out)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert message in line
    assert "epoch" not in result.out
    assert not list(tmp_path.glob("out*"))


def test_without_the_extra_one_line_says_what_to_install(run_cli, small, digits, tmp_path, root):
    (tmp_path / "lightning_fabric.py").touch()
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('torch', 'lightning_fabric') else find(n, *a)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    api = "import reprune_onnx as rp\nrp.finetune"
    done = subprocess.run(
        [sys.executable, "-c", api],
        env={**environment(root), "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith("pip install 'reprune-onnx[torch]'")
    for command, more in (("finetune", ()), ("train", ("--sparsity", "0.5"))):
        out = tmp_path / "out.onnx"
        result = run_cli(
            command, small, "--data", digits, "-o", out, *more, env={"PYTHONPATH": str(tmp_path)}
        )
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line == (
            f"reprune-onnx: {command} needs torch and lightning_fabric:"
            " pip install 'reprune-onnx[torch]'"
        )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--lr", "0"), "--lr must be above 0"),
        (("--epochs", "0"), "--epochs must be at least 1"),
        (("--ema", "1"), "--ema 1.0 is outside [0, 1)"),
        (("--milestones", "a"), "--milestones 'a' is not numbers"),
        (("--accelerator", "abacus"), "--accelerator abacus"),
    ],
)
def test_options_out_of_range_are_usage(call, small, digits, tmp_path, option, message):
    out = tmp_path / "out.onnx"
    result = call("finetune", small, "--data", digits, "-o", out, *option)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert message in line


def test_an_op_that_the_bridge_lacks_is_named_before_anything_is_trained(
    call, small, digits, tmp_path
):
    proto = onnx.load(small)
    last = proto.graph.output[0].name
    shape = onnx.numpy_helper.from_array(np.array([-1, 1, 1]), "matrix")
    proto.graph.initializer.append(shape)
    proto.graph.node.extend(
        [
            onnx.helper.make_node("Reshape", [last, "matrix"], ["m"], name="as_matrices"),
            onnx.helper.make_node("Det", ["m"], ["d"], name="odd"),
        ]
    )
    proto.graph.output.append(onnx.helper.make_tensor_value_info("d", 1, [None]))
    onnx.save(proto, tmp_path / "odd.onnx")
    out = tmp_path / "out.onnx"
    result = call("finetune", tmp_path / "odd.onnx", "--data", digits, *PRE, "-o", out)
    assert result.code == 1
    assert "Det 'odd': the PyTorch bridge has no op Det" in result.err
    assert "epoch" not in result.out
