"""Weights in a file beside the model: missing, truncated, or outside its folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from altered_models import HALF, altered


def point_to(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(m):
        for t in m.graph.initializer:
            for entry in t.external_data:
                if entry.key == "location":
                    entry.value = location

    return change


def test_external_data_is_read_where_it_is_whole(call, external, tmp_path):
    assert call("prune", external, "-o", tmp_path / "small.onnx", *HALF).code == 0


def test_external_data_is_missing(refuses, external):
    (external.parent / "w.data").unlink()
    for command in (("prune", external, *HALF), ("analyze", external)):
        refuses(*command, says=("w.data", "missing"))


@pytest.mark.parametrize("way", ["parent", "inside out", "absolute", "link", "empty"])
def test_external_data_escapes_the_folder(refuses, external, tmp_path, way):
    outside = Path(shutil.move(external.parent / "w.data", tmp_path / "w.data"))
    (external.parent / "sub").mkdir()
    location = {
        "parent": "../w.data",
        "inside out": "sub/../../w.data",
        "absolute": str(outside),
        "link": "link.data",
        "empty": "",
    }[way]
    if way == "link":
        (external.parent / "link.data").symlink_to(outside)
    altered(external, external, point_to(location))
    refuses("prune", external, *HALF, says=("outside the folder",))


def test_external_data_is_truncated(refuses, external):
    data = external.parent / "w.data"
    data.write_bytes(data.read_bytes()[:-100])
    refuses("prune", external, *HALF, says=("w.data", "truncated"))


@pytest.mark.parametrize("entry", ["offset", "length"])
def test_external_data_has_a_damaged_entry(refuses, external, entry):
    def change(m):
        for t in m.graph.initializer:
            for e in t.external_data:
                if e.key == entry:
                    e.value = "many"

    altered(external, external, change)
    refuses("prune", external, *HALF, says=("external data",))


@pytest.mark.parametrize("location", ["w\0.data", "w" * 5000, "loop.data"])
def test_external_data_that_cannot_name_a_file(refuses, external, location):
    (external.parent / "loop.data").symlink_to("loop.data")
    altered(external, external, point_to(location))
    refuses("prune", external, *HALF, says=("external data", "cannot name a file"))


def test_external_data_of_a_name_that_is_no_text(refuses, external):
    altered(external, external, point_to("zzzz"))
    external.write_bytes(external.read_bytes().replace(b"zzzz", b"\xff\xfe\xfd\xfc"))
    refuses("prune", external, *HALF, says=("names that are no text",))


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["link", "second name"])
def test_external_data_is_read_by_a_link_within_the_folder(call, external, tmp_path, make):
    make(external.parent / "other.data", external.parent / "w.data")
    altered(external, external, point_to("other.data"))
    assert call("prune", external, "-o", tmp_path / "small.onnx", *HALF).code == 0


def test_external_data_is_read_as_far_as_the_tensor_goes(call, external, tmp_path):
    """Without a length, a few bytes of a file that pretends to be of a terabyte are read."""

    def change(m):
        for t in m.graph.initializer:
            for k in [k for k, e in enumerate(t.external_data) if e.key == "length"]:
                del t.external_data[k]

    altered(external, external, change)
    with (external.parent / "w.data").open("r+b") as file:
        file.truncate(2**40)
    assert call("prune", external, "-o", tmp_path / "small.onnx", *HALF).code == 0


def test_external_data_of_another_length(refuses, external):
    def change(m):
        next(e for e in m.graph.initializer[0].external_data if e.key == "length").value = "8"

    altered(external, external, change)
    refuses("prune", external, *HALF, says=("external data 8", "damaged"))


@pytest.mark.parametrize("place", ["initializer", "attribute", "body"])
def test_external_data_of_a_sparse_tensor_escapes_the_folder(refuses, demo, tmp_path, place):
    outside = onnx.TensorProto(name="s", data_type=onnx.TensorProto.FLOAT, dims=[2])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../w.data")
    sparse = onnx.SparseTensorProto(values=outside, dims=[4])

    def change(m):
        if place == "initializer":
            m.graph.sparse_initializer.append(sparse)
            return
        made = onnx.helper.make_node("Constant", [], ["s"], sparse_value=sparse)
        if place == "body":
            body = onnx.GraphProto(name="body", sparse_initializer=[sparse])
            made = onnx.helper.make_node("If", ["c"], ["s"], then_branch=body, else_branch=body)
        m.graph.node.append(made)

    path = altered(demo, tmp_path / "model.onnx", change)
    refuses("prune", path, *HALF, says=("outside the folder",))
