"""Labels that nobody needs are not read; where they are needed, they are checked as ever."""

import sys

import numpy as np
import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.data import open_data
from reprune_onnx.data.images import ReadingOptions
from reprune_onnx.data.labels import CLASSES, IF_CLASSES
from reprune_onnx.errors import DataError

X = np.arange(4 * 3 * 4 * 4, dtype=np.uint8).reshape(4, 3, 4, 4)
OTHER = {
    "-1": np.array([0, 1, 2, -1]),
    "masks": np.zeros((4, 4, 4), np.uint8),
    "names": np.array(list("abcd")),
    "another length": np.arange(9),
    "objects": np.array([None, {}, 1, 2], dtype=object),
    "targets": np.array([0.5, 1.5, 2.0, 3.0]),
    "several labels each": np.eye(4, dtype=np.int64),
}


def opened(spec, labels):
    how = {"preprocess": "none", "input_shape": (None, 3, 4, 4), "dtype": np.float32}
    return open_data(str(spec), reading=ReadingOptions(labels=labels), **how)


@pytest.fixture(params=OTHER)
def path(request, tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=OTHER[request.param])
    return tmp_path / "d.npz"


@pytest.mark.parametrize("names", ["", ":x", ":x,y"])
def test_labels_of_another_kind_stop_nothing_where_they_are_not_needed(path, names):
    data = opened(f"{path}{names}", IF_CLASSES)
    assert data.labels is None and "d.npz:" in data.unused
    ((x, y),) = data.batches()
    assert y is None and np.array_equal(x, X)
    with pytest.raises(DataError, match=r"d\.npz:"):
        opened(f"{path}{names}", CLASSES)


def test_evaluate_from_python_needs_none_beside_an_original(path):
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[N,3,4,4] x) => (float[N,3] y) {
        m = GlobalAveragePool (x) y = Flatten (m) }"""
    proto = onnx.parser.parse_model(text)
    assert rp.evaluate(proto, str(path), against=proto).agreement == 100
    with pytest.raises(DataError, match=r"d\.npz:"):
        rp.evaluate(proto, str(path))


def test_class_numbers_are_kept_and_a_comma_leaves_them_out(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(4))
    data = opened(tmp_path / "d.npz", IF_CLASSES)
    assert data.labels.tolist() == [0, 1, 2, 3] and data.unused is None
    assert opened(f"{tmp_path / 'd.npz'}:x,", CLASSES).labels is None


def test_a_misspelt_name_is_told_though_labels_are_not_needed(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(4))
    with pytest.raises(DataError, match="did you mean 'y'"):
        opened(f"{tmp_path / 'd.npz'}:x,yy", IF_CLASSES)


def test_a_loader_with_labels_of_another_kind(tmp_path, monkeypatch):
    (tmp_path / "masks_loader.py").write_text(
        "import numpy as np\n"
        "def pairs():\n"
        "    yield np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 1])\n"
        "    yield np.zeros((2, 3, 4, 4), np.uint8), np.array([0, -1])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        batches = list(opened("masks_loader:pairs", IF_CLASSES).batches())
        assert [y is None for _, y in batches] == [False, True]
        with pytest.raises(DataError, match="label -1"):
            list(opened("masks_loader:pairs", CLASSES).batches())
    finally:
        sys.modules.pop("masks_loader", None)


def test_commands_that_need_no_labels(call, model, digits, tmp_path):
    """`prune`, `convert`, `evaluate --against`: with masks as labels as without labels."""
    with np.load(digits) as arrays:
        x = arrays["x_train"][:48]
    np.savez(tmp_path / "odd.npz", x=x, y=np.zeros((48, 8, 8), np.uint8))
    np.savez(tmp_path / "bare.npz", x=x)
    how = ("--preprocess", "scale=0.0625")
    for name in ("odd", "bare"):
        data = "--calibration", tmp_path / f"{name}.npz"
        made = call(*("prune", model, "--sparsity", "0.3", *data, *how), "-o", tmp_path / name)
        assert made.code == 0, made.err
    assert (tmp_path / "odd").read_bytes() == (tmp_path / "bare").read_bytes()
    data = tmp_path / "odd.npz"
    small = ("--precision", "int8", "--target", "cpu", "--calibration", data, "-o", tmp_path / "8")
    assert call("convert", model, *small, *how).code == 0
    seen = call("evaluate", tmp_path / "odd", "--data", data, "--against", model, *how)
    assert seen.code == 0 and "labels are not used" in seen.out and "agreement" in seen.out


@pytest.mark.parametrize("kind", ["-1", "masks", "names", "another length"])
def test_an_original_teaches_whatever_labels_there_are(
    call, model, digits, tmp_path, monkeypatch, kind
):
    """Training stops right behind the reading of data here."""
    pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

    def stop(*_, **__):
        raise DataError("trained enough")

    monkeypatch.setattr("reprune_onnx.training.finetune.finetune", stop)
    with np.load(digits) as arrays:
        x = arrays["x_train"][:4]
    np.savez(tmp_path / "odd.npz", x=x, y=OTHER[kind])
    how = ("--preprocess", "scale=1/16", "-o", tmp_path / "out.onnx")
    for names in ("", ":x", ":x,y"):
        data = ("--data", f"{tmp_path / 'odd.npz'}{names}")
        taught = call("finetune", model, *data, *how, "--distill", model)
        assert "trained enough" in taught.err
        assert "labels are not used" in taught.err
        alone = call("finetune", model, *data, *how, "--distill", "none")
        assert alone.code == 1 and "odd.npz:" in alone.err
        assert "trained enough" not in alone.err
