"""Models above protobuf's limit: the weights lie beside the model, and both appear together."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx import model as model_file
from reprune_onnx.errors import ModelError, OutputError


@pytest.fixture
def large(demo, monkeypatch) -> rp.Model:
    """The demo model, where any model is above the limit."""
    monkeypatch.setattr(model_file, "LIMIT", 1000)
    return rp.load(demo)


def test_weights_are_written_beside_the_model_and_read_again(large, tmp_path):
    path = tmp_path / "large.onnx"
    before = large.proto.SerializeToString(deterministic=True)
    rp.save(large, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data"]
    assert path.stat().st_size < (tmp_path / "large.onnx.data").stat().st_size
    again = rp.load(path)
    assert again.files == (path, tmp_path / "large.onnx.data")
    assert again.bytes == sum(p.stat().st_size for p in again.files)
    for a, b in zip(large.proto.graph.initializer, again.proto.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))
    assert large.proto.SerializeToString(deterministic=True) == before


def test_where_it_cannot_be_written_nothing_is_left(large, tmp_path, monkeypatch):
    (tmp_path / "large.onnx").write_bytes(b"old")

    def full(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(OutputError, match="No space left on device"):
        rp.save(large, tmp_path / "large.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["large.onnx"]
    assert (tmp_path / "large.onnx").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("location", "../large.onnx.data", "outside the folder"),
        ("location", "gone.data", "missing"),
        ("offset", "1000000000", "truncated"),
        ("length", "many", "damaged"),
    ],
)
def test_external_data_that_does_not_fit_is_refused(large, tmp_path, entry, value, says):
    path = tmp_path / "large.onnx"
    rp.save(large, path)
    proto = onnx.load(path, load_external_data=False)
    entries = [e for t in proto.graph.initializer for e in t.external_data if e.key == entry]
    assert entries
    entries[0].value = value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=says):
        rp.load(path)
