"""The tool that trains the paper's tables, on the demo network."""

import json
import subprocess
import sys

import onnx
import pytest

import reprune_onnx as rp

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")


@pytest.fixture
def reproduce(root, demo, digits, tmp_path):
    def reproduce(table: str, *options: object) -> subprocess.CompletedProcess[str]:
        data = ("--data", digits, "--preprocess", "scale=1/16", "--augment", "none")
        small = ("--images", "256", "--batch-size", "32", "--threads", "1", "--val-images", "100")
        args = (table, "--model", demo, *data, *small, "-o", tmp_path / "out", *options)
        return subprocess.run(
            [sys.executable, root / "tools" / "reproduce", *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
        )

    return reproduce


def test_a_table_is_trained_kept_and_shown_beside_the_published_figures(reproduce, tmp_path):
    first = reproduce("table10", "--epochs", "4", "--seeds", "0", "1")
    assert first.returncode == 0, first.stderr
    data = json.loads((tmp_path / "out" / "table10.json").read_text())
    assert data["network"] == "digits_resnet"
    assert (data["epochs"], data["images"], data["test_images"]) == (4, 256, 597)
    rows = {row["run"]: row for row in data["rows"]}
    assert list(rows) == ["baseline", "finetuned-0.55", "concurrent-0.55"]
    assert all(row["seeds"] == [0, 1] and len(row["top1"]) == 2 for row in rows.values())
    assert rows["baseline"]["flops_cut"] == [0, 0]
    assert min(rows["concurrent-0.55"]["flops_cut"]) > 40
    assert rows["finetuned-0.55"]["shift"][0] > 0
    assert min(rows["finetuned-0.55"]["top1"]) > 50  # of ten classes, after 32 steps
    text = (tmp_path / "out" / "table10.md").read_text()
    assert text in first.stdout
    assert "| 93.02 |" in text
    assert "Measured: digits_resnet, 4 epochs on 256 images" in text

    again = reproduce("table5", "--epochs", "4")  # shares two of its runs
    assert again.returncode == 0, again.stderr
    trained = {
        line.split(" seed")[0].strip() for line in again.stdout.splitlines() if ": ep" in line
    }
    assert trained == {f"concurrent-0.55-{x}" for x in ("single", "complete", "average")}
    other = reproduce("table10", "--epochs", "5")
    assert other.returncode == 1
    assert "was trained with another epochs: give another folder -o" in other.stderr


def test_the_recipe_makes_the_papers_network(root, tmp_path):
    out = tmp_path / "resnet56.onnx"
    command = [sys.executable, "-m", "models.resnet_cifar", "56", "-o", str(out)]
    assert subprocess.run(command, cwd=root, check=False).returncode == 0
    onnx.checker.check_model(onnx.load(out), full_check=True)
    report = rp.prune(rp.load(out), rp.Settings(sparsity=0.5, residual="inner")).report
    assert report["before"]["macs"] == pytest.approx(125.5e6, rel=0.01)  # as He et al. count them
    assert report["verification"]["passed"]
    pruned = [x for x in report["layers"] if x["out_channels"][1] < x["out_channels"][0]]
    assert len(pruned) == 27  # the first layer of every block
