"""`recover` as a stage of `prune` and as a command by itself."""

import json

import numpy as np
import onnx
import pytest
from report_counts import arrays

IMAGES = ("--preprocess", "scale=1/16")
CUT = ("--macs-reduction", "0.5", "--method", "l1", "--allocation", "uniform")


def top1(call, model, digits):
    result = call("evaluate", model, "--data", digits, *IMAGES)
    return float(result.out.split("top-1 ")[1].split(" %")[0])


@pytest.mark.parametrize("method", ["data-free", "batch-norm", "least-squares"])
def test_recovery_repairs_what_the_cut_breaks(call, prune, digits, method):
    _, bare = prune(*CUT, "--residual", "prune", "--recover", "none", name="bare")
    images = () if method == "data-free" else ("--calibration", digits, *IMAGES)
    report, repaired = prune(*CUT, "--residual", "prune", "--recover", method, *images)
    assert report["recovery"]["method"] == method
    assert report["verification"]["passed"]
    least = {"data-free": 2, "batch-norm": 10, "least-squares": 20}[method]
    assert top1(call, repaired, digits) >= top1(call, bare, digits) + least


def test_an_earlier_cut_is_recovered(call, prune, model, digits, tmp_path):
    _, bare = prune(*CUT, "--recover", "none")
    out = tmp_path / "repaired.onnx"
    result = call("recover", model, bare, "-o", out, "--calibration", digits, *IMAGES)
    assert (result.code, result.err) == (0, "")
    assert "fitted to 512 images" in result.out
    report = json.loads((tmp_path / "repaired.report.json").read_text())
    assert report["recovery"]["method"] == "least-squares"
    assert report["recovery"]["error_after"] < 0.2 * report["recovery"]["error_before"]
    assert report["after"]["bytes"] == out.stat().st_size
    assert report["cuts"] == json.loads((tmp_path / "small.report.json").read_text())["cuts"]
    stamp = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert json.loads(stamp["reprune_onnx.settings"])["calibration"] is True
    verified = call("verify", model, out)
    assert verified.code == 0
    assert "structure verified" in verified.out


def test_recovering_later_is_recovering_at_once(call, prune, model, digits, tmp_path):
    images = ("--calibration", digits, *IMAGES)
    _, bare = prune(*CUT, *images, "--recover", "none", name="bare")
    _, at_once = prune(*CUT, *images, name="once")
    later = tmp_path / "later.onnx"
    assert call("recover", model, bare, "-o", later, *images, "-q").code == 0
    one, other = arrays(at_once), arrays(later)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_the_same_bytes_for_any_number_of_threads(run_cli, model, digits, tmp_path):
    made = []
    for threads in ("1", "2"):
        out = tmp_path / f"small{threads}.onnx"
        args = (*CUT, "--calibration", digits, "--calibration-size", "64", *IMAGES)
        env = {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        assert run_cli("prune", model, "-o", out, *args, env=env).returncode == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_recover_refuses_what_is_no_pair(refuses, prune, model, digits, tmp_path):
    _, bare = prune(*CUT, "--recover", "none")
    out, report = tmp_path / "r.onnx", tmp_path / "small.report.json"
    images = ("--calibration", digits, *IMAGES)
    refuses("recover", model, model, "-o", out, "--report", report, *images)
    refuses("recover", bare, bare, "-o", out, *images, says=("sha256",))
    for read in (model, bare, report):
        for force in ((), ("-f",)):  # which is not offered, as it would not do
            never = "is read, so it is never written to"
            refuses("recover", model, bare, "-o", read, *force, *images, says=(never,))
    out.touch()
    refuses("recover", model, bare, "-o", out, *images, says=("--force",))
    out.unlink()
    refuses("recover", model, bare, "-o", out, "--recover", "batch-norm", code=2, says=("images",))
