"""The options of DATA at the command line: class order, broken images, what is said of the data."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(digits, tmp_path):
    """Forty test digits as images, a folder per digit, and one text file that is called .png."""
    with np.load(digits) as arrays:
        x, y = arrays["x"][:40], arrays["y"][:40]
    for k, (image, label) in enumerate(zip(x.reshape(40, *x.shape[-2:]), y, strict=True)):
        path = tmp_path / "set" / str(label) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path)
    (tmp_path / "set" / "0" / "broken.png").write_text("no image")
    (tmp_path / "set" / "0" / "photo.heic").write_text("another kind")
    return tmp_path / "set"


def test_evaluate_says_what_there_is(call, model, folder):
    how = ("--preprocess", "scale=1/16;color=gray", "--data", folder)
    refused = call("evaluate", model, *how)
    assert refused.code == 1 and "broken.png cannot be read" in refused.err
    assert " at 0x" not in refused.err
    seen = call("evaluate", model, *how, "--skip-broken")
    assert seen.code == 0, seen.err
    assert "41 images of 10 classes, 0 is '0' and 9 is '9'" in seen.out
    assert "1 file is no image that is read: .heic (1)" in seen.out
    assert "1 image is broken and left out" in seen.out and "on 40 images" in seen.out


def test_classes_turn_the_labels(call, model, folder, tmp_path):
    """By their own order all digits are right; by the reversed one, none."""
    how = (
        "--preprocess",
        "scale=1/16;color=gray",
        "--skip-broken",
        "--data",
        folder,
        "--json",
        "-",
    )
    (tmp_path / "own.txt").write_text("\n".join("0123456789"))
    (tmp_path / "turned.txt").write_text("\n".join("9876543210"))
    evaluation = json.loads(call("evaluate", model, *how, "--classes", tmp_path / "own.txt").out)
    turned = json.loads(call("evaluate", model, *how, "--classes", tmp_path / "turned.txt").out)
    assert evaluation["top1"] > 95 and turned["top1"] < 5
    missing = call("evaluate", model, *how, "--classes", tmp_path / "none.txt")
    assert missing.code == 1 and "none.txt' cannot be read" in missing.err


def test_prune_notes_what_it_calibrates_on(prune, folder):
    how = ("--calibration", folder, "--preprocess", "scale=1/16;color=gray", "--skip-broken")
    report, _ = prune("--sparsity", "0.5", *how)
    assert any("41 images of 10 classes" in note for note in report["notes"])
    assert any("1 image is broken and left out" in note for note in report["notes"])
    assert report["settings"]["skip_broken"] is True
