"""`sweep`: a table, a plot and models, resumable and parallel."""

import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

REDUCTIONS = ("--macs-reduction", "0.3,0.5")
WAYS = ("--method", "l1,l2", "--recover", "none")


def rows(folder):
    return json.loads((folder / "sweep.json").read_text())["rows"]


def test_a_table_a_plot_and_the_models(call, model, digits, tmp_path):
    out = tmp_path / "sweep"
    data = ("--data", digits, "--preprocess", "scale=1/16")
    result = call("sweep", model, *REDUCTIONS, *WAYS, *data, "-o", out)
    assert (result.code, result.err) == (0, "")
    table = rows(out)
    assert [(r["method"], r["macs_reduction"]) for r in table] == [
        *[("l1", 0.3), ("l1", 0.5)],
        *[("l2", 0.3), ("l2", 0.5)],
    ]
    for row in table:
        assert abs(row["achieved"]["macs_reduction"] - row["macs_reduction"]) < 0.01
        onnx.checker.check_model(onnx.load(out / row["model"]))
        measured = call("evaluate", out / row["model"], *data)
        assert f"top-1 {row['top1']:.2f} %" in measured.out
        assert f"{row['top1']:.4g}" in (out / "sweep.md").read_text()
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(out / "pareto.svg").getroot().tag.endswith("svg")


def test_what_is_done_is_not_done_again(call, model, tmp_path):
    out = tmp_path / "sweep"
    assert call("sweep", model, "--macs-reduction", "0.3", *WAYS, "-o", out).code == 0
    before = {p: p.stat().st_mtime_ns for p in (out / "models").iterdir()}
    assert call("sweep", model, *REDUCTIONS, *WAYS, "-o", out).code == 0
    assert len(rows(out)) == 4
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    (out / "models" / "l1-auto-none-0.3.onnx").unlink()
    assert call("sweep", model, *REDUCTIONS, *WAYS, "--seed", "1", "-o", out).code == 0
    assert all(p.stat().st_mtime_ns != t for p, t in before.items())


def test_a_case_that_fails_is_told_and_the_others_are_done(call, model, tmp_path):
    out = tmp_path / "sweep"
    result = call("sweep", model, "--macs-reduction", "0.3,0.99", *WAYS, "-o", out)
    assert result.code == 0
    assert "cannot be reached" in result.out
    assert ["error" in row for row in rows(out)] == [False, True, False, True]
    assert "cannot be reached" in (out / "sweep.md").read_text()


def test_agreement_is_measured_on_images_that_were_held_out(call, model, digits, tmp_path):
    out = tmp_path / "sweep"
    images = ("--calibration", digits, "--calibration-size", "300", "--preprocess", "scale=1/16")
    how = ("--macs-reduction", "0.3", "--method", "l1")
    assert call("sweep", model, *how, *images, "-o", out).code == 0
    (row,) = rows(out)
    report = json.loads((out / row["model"]).with_suffix(".report.json").read_text())
    assert row["n"] + report["recovery"]["samples"] == 300
    assert row["agreement"] >= 90
    assert 0 < row["output_error"] < 1


def test_labels_of_another_kind_stop_no_sweep(call, model, digits, tmp_path):
    """Without accuracy, the share of equal answers is what tells."""
    with np.load(digits) as arrays:
        np.savez(tmp_path / "odd.npz", x=arrays["x"][:40], y=np.zeros((40, 8, 8), np.uint8))
    data = ("--data", tmp_path / "odd.npz", "--preprocess", "scale=1/16")
    how = ("--macs-reduction", "0.2", "--method", "l1", "--recover", "none")
    result = call("sweep", model, *how, *data, "-o", tmp_path / "sweep")
    assert result.code == 0, result.err
    (row,) = rows(tmp_path / "sweep")
    assert (row["top1"], row["n"]) == (None, 40)
    assert row["agreement"] > 50


@pytest.mark.parametrize("option", ["--calibration", "--data"])
@pytest.mark.parametrize(("how", "told"), [("scale=1/16", False), ("scale=1", True)])
def test_a_wrong_preprocess_is_told_once(call, model, digits, tmp_path, option, how, told):
    ways = ("--macs-reduction", "0.2,0.4", "--method", "l1", "--recover", "none")
    data = (option, digits, "--preprocess", how, "--allocation", "uniform")
    result = call("sweep", model, *ways, *data, "-o", tmp_path / "sweep")
    assert result.code == 0, result.err
    notes = [line for line in result.out.splitlines() if "--preprocess" in line]
    assert len(notes) == told
    for row in rows(tmp_path / "sweep"):
        assert (row["preprocess_note"] is not None) is told
        assert not told or notes == [f"note: {row['preprocess_note']}"]


def test_processes_give_the_same_models(call, model, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert call("sweep", model, *REDUCTIONS, *WAYS, "-o", one).code == 0
    assert call("sweep", model, *REDUCTIONS, *WAYS, "-o", two, "--jobs", "2").code == 0
    for row in rows(one):
        assert (one / row["model"]).read_bytes() == (two / row["model"]).read_bytes()


def test_a_killed_sweep_goes_on(call, model, root, tmp_path):
    out = tmp_path / "sweep"
    shares = ",".join(f"0.{k}" for k in range(1, 9))
    how = ["sweep", str(model), "--macs-reduction", shares, "--recover", "none", "-o", str(out)]
    code = "from reprune_onnx.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *how], env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {p: p.read_bytes() for p in out.glob("runs/*.json")}
    assert done
    assert call(*how).code == 0
    assert len(rows(out)) == 16
    assert all(p.read_bytes() == text for p, text in done.items())


def test_a_dask_cluster_does_the_same(root, model, tmp_path):
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    out, other = tmp_path / "dask", tmp_path / "here"
    # In a process of its own: the cluster's threads and warnings are not this process's.
    script = tmp_path / "cluster.py"
    script.write_text(
        "import subprocess, sys\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c:\n"
        "        code = 'from reprune_onnx.cli import main; main()'\n"
        "        more = ['--scheduler', c.scheduler_address]\n"
        "        done = subprocess.run([sys.executable, '-c', code, *sys.argv[1:], *more])\n"
        "    sys.exit(done.returncode)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(root)}
    how = ("sweep", str(model), *REDUCTIONS, *WAYS, "-o")
    command = [sys.executable, str(script), *how, str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "from reprune_onnx.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *how, str(other), "-q"], env=env, check=True)
    for row in rows(other):
        assert (out / row["model"]).read_bytes() == (other / row["model"]).read_bytes()


def test_a_sweep_of_which_nothing_could_be_done_fails(call, model, tmp_path):
    lost = ("--calibration", tmp_path / "lost", "-o", tmp_path / "sweep")
    done = call("sweep", model, "--macs-reduction", "0.3", "--method", "l1", *lost)
    assert done.code == 1
    assert "no case could be done: " in done.err and "lost' does not exist" in done.err


def test_bad_requests(refuses, model, tmp_path):
    out = ("-o", tmp_path / "sweep")
    refuses("sweep", model, "--macs-reduction", "half", *out, code=2, says=("half",))
    refuses("sweep", model, "--macs-reduction", "0.3,1.5", *out, code=2, says=("outside (0, 1)",))
    how = ("sweep", model, "--macs-reduction", "0.3", *out)
    refuses(*how, "--method", "l3", code=2, says=("l3",))
    refuses(*how, "--allocation", "sensitivity", code=2, says=("--calibration",))
    refuses(*how, "--jobs", "0", code=2, says=("--jobs is a number of processes",))
    refuses("sweep", tmp_path / "no.onnx", "--macs-reduction", "0.3", *out)
    refuses(*how[:-1], model, says=("is a file; give the name of a folder",))
