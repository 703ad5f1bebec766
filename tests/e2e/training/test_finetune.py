"""`finetune` on the demo network: what it gives."""

import json
import re

import numpy as np
import onnx
import pytest
from networks import PRE, fold, weights
from onnx.numpy_helper import to_array

import reprune_onnx as rp

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")


def accuracy(path, digits) -> float:
    data = rp.data.open_data(
        str(digits), preprocess="scale=1/16", input_shape=(None, 1, 8, 8), dtype=np.float32
    )
    return rp.evaluate(rp.load(path), data).top1


def test_it_repairs_a_pruned_model_and_changes_nothing_but_numbers(
    call, small, demo, digits, tmp_path
):
    out = tmp_path / "out.onnx"
    how = ("--epochs", "2", "--val", digits, "--ema", "0.8", "--mixup", "0.1", "--warmup", "0.5")
    result = call("finetune", small, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    before, after = accuracy(small, digits), accuracy(out, digits)
    opened, *validated, taught, measured, rate, given, first, second, kept = result.out.splitlines()
    assert all(line.startswith("note: ") for line in (opened, *validated))
    assert taught.startswith(
        f"taught by '{demo}', which '{small.with_suffix('.report.json')}' names"
    )
    assert measured == f"measured on 597 images of {digits}:x"
    assert re.match(r"learning rate [\d.e-]+: the largest whose short trial was", rate)
    assert given == f"epoch   0  val {before:.2f} %  (the file as given)"
    assert first.startswith("epoch   1  loss ")
    assert second.startswith("epoch   2  loss ")
    held = rf"OUT holds epoch [12].*: val {after:.2f} %, measured on the written file"
    assert re.match(held, kept)
    assert before < 80
    assert after > 94
    log = json.loads((tmp_path / "out.training.json").read_text())
    assert [e["epoch"] for e in log["epochs"]] == [1, 2]
    best = max(e["val_top1"] for e in log["epochs"])
    averaged = log["result"]["kept_share"] < 1
    assert after > best if averaged else after == pytest.approx(best, abs=1e-3)
    assert log["result"]["scores"]["val_top1"] == pytest.approx(after, abs=1e-3)
    assert log["start"]["val_top1"] == pytest.approx(before, abs=1e-3)
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
    how = ("--epochs", "1", "--batch-norm", "insert", "--lr", "0.005", "--val", digits)
    how += ("--keep-epoch", "last")  # the file as given is hard to beat
    result = call("finetune", folded, "--data", digits, *PRE, "-o", out, *how)
    assert result.code == 0, result.err
    assert list(onnx.load(out).graph.node) == list(onnx.load(folded).graph.node)
    before, after = weights(folded), weights(out)
    assert set(before) == set(after)
    assert any(np.abs(before[n] - after[n]).max() > 1e-4 for n in before)
    assert accuracy(out, digits) > 97
    as_given = accuracy(folded, digits)  # before the nodes were put in
    assert f"epoch   0  val {as_given:.2f} %" in result.out


def as_exported(proto: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """A network whose BatchNormalization is folded away, with weights as exporters leave them."""
    proto = fold(proto)
    graph = proto.graph
    if kind == "of uneven scales":  # Relu passes factors on: the network computes what it did
        held = {t.name: t for t in graph.initializer}
        producer = {o: n for n in graph.node for o in n.output}
        chains = [
            (producer[relu.input[0]], conv)
            for conv in graph.node
            for relu in [producer.get(conv.input[0])]
            if conv.op_type == "Conv" and relu is not None and relu.op_type == "Relu"
            if producer[relu.input[0]].op_type == "Conv"
            if sum(relu.output[0] in n.input for n in graph.node) == 1
        ]
        assert chains
        for before, after in chains:
            for name, factor in (
                (before.input[1], 30),
                (before.input[2], 30),
                (after.input[1], 1 / 30),
            ):
                scaled = (to_array(held[name]) * factor).astype(np.float32)
                held[name].CopyFrom(onnx.numpy_helper.from_array(scaled, name))
    if kind == "in Constant nodes":
        for tensor in graph.initializer:
            node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
            graph.node.insert(0, node)
        del graph.initializer[:]
    return proto


@pytest.mark.parametrize("kind", ["in initializers", "in Constant nodes", "of uneven scales"])
def test_a_folded_network_gets_better_with_no_option_but_the_data(
    call, small, few, digits, tmp_path, kind
):
    """With fixed rates such networks diverged within a few steps."""
    folded, out = tmp_path / "folded.onnx", tmp_path / "out.onnx"
    onnx.save(as_exported(onnx.load(small), kind), folded)
    result = call("finetune", folded, "--data", few, *PRE, "-o", out)
    assert result.code == 0, result.err
    assert accuracy(out, digits) > accuracy(folded, digits) + 2
    diverged = call("finetune", folded, "--data", few, *PRE, "--lr", "30", "-o", out, "-f")
    assert diverged.code == 1 or "no epoch was better" in diverged.out  # the control


def test_any_other_task_trains_with_a_loss_of_ones_own(call, small, digits, tmp_path, monkeypatch):
    (tmp_path / "digits_task.py").write_text(
        "import numpy as np, torch\n"
        "def batches():\n"
        f"    a = np.load({str(digits)!r})\n"
        "    for k in range(0, 320, 32):\n"
        "        x = a['x_train'][k:k+32].astype('float32') / 16\n"
        "        yield x, {'y': a['y_train'][k:k+32]}\n"
        "def others():\n"
        "    yield from list(batches())[:2]\n"
        "def loss(outputs, target):\n"
        "    return torch.nn.functional.cross_entropy(outputs, target['y'])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out.onnx"
    how = ("--data", "digits_task:batches", "--loss", "digits_task:loss", "--epochs", "4")
    how += ("--lr", "0.03", "--val", "digits_task:others")
    result = call("finetune", small, *how, "-o", out)
    assert result.code == 0, result.err
    assert "measured on 2 batches of others" in result.out
    log = json.loads((tmp_path / "out.training.json").read_text())
    losses = [e["loss"] for e in log["epochs"]]
    assert losses[-1] < losses[0] / 2
    assert accuracy(out, digits) > accuracy(small, digits) + 10


def test_it_prunes_and_trains_in_rounds(call, demo, digits, tmp_path):
    """The report is about the original, and its cuts are those of all rounds together."""
    out = tmp_path / "out.onnx"
    how = ("--macs-reduction", "0.6", "--rounds", "3", "--epochs", "1", "--residual", "prune")
    how += ("--lr", "0.02")  # to find it in every round takes longer than they do
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
    more += ("--optimizer", "adamw", "--lr", "0.01", "--freeze", "*stem*")
    more += ("--clip-norm", "5", "--patience", "3", "--keep-epoch", "last")
    result = call("finetune", small, "--data", few, "--val", digits, *PRE, "-o", out, *how, *more)
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "out.training.json").read_text())
    assert [e["lr"] for e in log["epochs"]] == pytest.approx([0.01, 0.001, 0.0001])
    assert log["epochs"][-1]["loss"] < log["epochs"][0]["loss"]
    assert accuracy(out, digits) > accuracy(small, digits)
    assert len(list((tmp_path / "board").glob("events.*"))) >= 1


ELSEWHERE = {
    "--loss": "test_any_other_task_trains_with_a_loss_of_ones_own",
    "--preprocess": "nearly every test here",
    "--task": "test_tasks_trained.py, and the commands of docs/data.md",
    "--batch-norm": "test_a_folded_model_trains_with_batch_normalisation_of_its_own",
    "--recover": "tests/unit/training/test_distilled.py, as it is an option of prune",
    "--nproc-per-node": "test_two_processes_give_what_one_gives, as are torchrun's others",
    "--no-python": "an option of torchrun's",
}
"""Options that the document names and none of its commands uses, and what runs them."""


def test_every_option_that_the_document_names_is_run(root):
    text = (root / "docs" / "training.md").read_text(encoding="utf-8")
    ours = text[: text.index("## What was measured")]  # behind it: prune's, and a tool's
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```$", ours, re.MULTILINE | re.DOTALL))
    named, run = (set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", t)) for t in (ours, blocks))
    assert named - run - ELSEWHERE.keys() - {"--calibration"} == set()
    assert ELSEWHERE.keys() & run == set()
