"""The whole way on the demo model, command after command: the same numbers stand everywhere."""

import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_report import Page

IMAGES = ("--preprocess", "scale=1/16")


class Way:
    """A folder with a model, and the commands run there; each returns what it wrote as JSON."""

    def __init__(self, call):
        self.call = call

    def run(self, *words, writes=None):
        result = self.call(*words)
        assert (result.code, result.err) == (0, ""), words
        return result.out if writes is None else json.loads(Path(writes).read_text())

    def evaluate(self, name, digits):
        into = f"{name}.eval.json"
        words = ("evaluate", f"{name}.onnx", "--data", digits, *IMAGES, "--json", into)
        return self.run(*words, writes=into)

    def bundle(self, pruned, report):
        """Pack original and pruned for a Jetson: what is packed is what was pruned."""
        words = ("bundle", "model.onnx", pruned, "--target", "jetson-tx2", "-o", "bundle")
        packed = self.run(*words, writes="bundle/bundle.json")
        original, smaller = packed["models"]
        assert smaller["pruned_from"] == original["source"]["sha256"] == report["source"]["sha256"]
        for entry, when in ((original, "before"), (smaller, "after")):
            file = str(Path("bundle") / entry["files"]["fp32"])
            outputs = self.run("analyze", file, "--json", "packed.json", writes="packed.json")
            assert (outputs["macs"], outputs["params"]) == tuple(
                report[when][k] for k in ("macs", "params")
            )

    def build_or_refusal(self, pruned):
        """An engine where there is TensorRT and a GPU; else one line that says what is missing."""
        words = ("build", pruned, "--target", "cuda", "-o", "small.engine")
        result = self.call(*words)
        if find_spec("tensorrt") and find_spec("polygraphy") and shutil.which("nvidia-smi"):
            assert (result.code, result.err) == (0, "")
            assert Path("small.engine.json").exists()
        else:
            assert (result.code, len(result.err.splitlines())) == (1, 1)
            assert "reprune-onnx[tensorrt]" in result.err or "nvidia-smi" in result.err
            assert not Path("small.engine").exists()


@pytest.fixture
def way(call, model, monkeypatch):
    monkeypatch.chdir(model.parent)
    return Way(call)


@pytest.mark.parametrize("trained", [False, True], ids=["without training", "fine-tuned"])
def test_from_the_model_to_the_page(way, digits, trained):
    if trained and not (find_spec("torch") and find_spec("lightning_fabric")):
        pytest.skip("the extra [torch] is not installed")
    analysis = way.run("analyze", "model.onnx", "--json", "analysis.json", writes="analysis.json")
    report = way.run(
        *("prune", "model.onnx", "--macs-reduction", "0.4", "-o", "small.onnx"),
        writes="small.report.json",
    )
    assert report["before"]["macs"] == analysis["macs"]
    assert report["before"]["params"] == analysis["params"]
    assert report["achieved"]["macs_reduction"] <= analysis["summary"]["largest_macs_reduction"]
    again = way.run("analyze", "small.onnx", "--json", "again.json", writes="again.json")
    assert (again["macs"], again["params"]) == tuple(report["after"][k] for k in ("macs", "params"))
    files, last = ["small.report.json", "analysis.json"], "small"
    if trained:
        data = ("--data", digits, "--val", digits, *IMAGES)
        log = way.run(
            *("finetune", "small.onnx", *data, "--epochs", "2", "-o", "tuned.onnx"),
            writes="tuned.training.json",
        )
        files, last = [*files, "tuned.training.json"], "tuned"
        assert log["source"]["path"] == "small.onnx"
        assert log["command"][:3] == ["reprune-onnx", "finetune", "small.onnx"]
    accuracies = {name: way.evaluate(name, digits) for name in dict.fromkeys(["model", last])}
    if trained:
        written = log["result"]["scores"]["val_top1"]
        assert written == pytest.approx(accuracies["tuned"]["top1"], abs=1e-3)
    bench = way.run(
        *("bench", "model.onnx", f"{last}.onnx", "--batch-size", "1,4", "--seconds", "0.05"),
        *("--json", "bench.json"),
        writes="bench.json",
    )
    assert [entry["pruned_from"] for entry in bench["models"]] == [None, "model.onnx"]
    way.bundle(f"{last}.onnx", report)
    way.build_or_refusal(f"{last}.onnx")
    files += [*(f"{name}.eval.json" for name in accuracies), "bench.json"]
    way.run("report", *files, "-o", "page.html")
    page = Page(Path("page.html").read_text())
    pruning = page.values["pruning-0"]
    assert {report[when]["macs"] for when in ("before", "after")} <= set(pruning)
    assert {report[when]["params"] for when in ("before", "after")} <= set(pruning)
    assert page.values["analysis-0"][0] == analysis["summary"]["largest_macs_reduction"]
    assert {evaluation["top1"] for evaluation in accuracies.values()} <= set(
        page.values["accuracy"]
    )
    speeds = [(row["batch_size"], row["images_per_s"]) for row in bench["rows"]]
    assert sorted(page.values["throughput points"]) == sorted(speeds)
    if trained:
        points = [(e["epoch"], e["val_top1"]) for e in log["epochs"]]
        assert page.values["training-0 points"][: len(points)] == points
        assert all(word in page.text for word in log["command"])


def test_the_terminal_says_what_the_files_say(way):
    out = way.run("prune", "model.onnx", "--macs-reduction", "0.4", "-o", "small.onnx")
    report = json.loads(Path("small.report.json").read_text())
    for name in ("macs", "params", "bytes"):
        pattern = rf"{report['before'][name]:,} │ +{report['after'][name]:,}"
        assert re.search(pattern, out), name
