"""Text that is not JSON is one kind of error; what a model's metadata says may be anything."""

from __future__ import annotations

import json

import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.json_text import parse_json
from reprune_onnx.report.record import stamp_recovery
from reprune_onnx.types import Model

DEEP = "[" * 100_000


def test_values() -> None:
    assert parse_json('{"a": [1, 2.5, null, "b"]}') == {"a": [1, 2.5, None, "b"]}


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "-Infinity", DEEP, '{"a":' * 100_000])
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("stated", ["", DEEP, "3", "[[1, 2]]", '{"1": 2}'])
def test_metadata_that_is_no_record_of_settings_is_replaced(stated: str) -> None:
    proto = onnx.ModelProto()
    proto.metadata_props.add(key="reprune_onnx.settings", value=stated)
    stamped = stamp_recovery(Model(proto), rp.Settings(sparsity=0.5, recover="none")).proto
    (written,) = stamped.metadata_props
    assert json.loads(written.value)["recover"] == "none"
