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
