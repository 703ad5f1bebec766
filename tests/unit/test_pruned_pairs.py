"""A pruned file beside its original and the report: what the numbers in it may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import VerificationError
from reprune_onnx.pruner.earlier import EarlierReport, earlier_report
from reprune_onnx.types import Model

RESHAPED = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,2,8,8] y) {
  c = Conv (x, first)
  r = Reshape (c, target)
  f = Relu (r)
  b = Reshape (f, back)
  y = Conv (b, head)
}"""

Pair = tuple[Model, Model, EarlierReport]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    rng = np.random.default_rng(2)
    original = Model(
        model(
            RESHAPED,
            first=rng.standard_normal((8, 3, 1, 1)),
            head=rng.standard_normal((2, 8, 1, 1)),
            target=np.array([1, 8, 64]),
            back=np.array([1, 8, 8, 8]),
        )
    )
    pruned = rp.prune(original, rp.Settings(sparsity=0.5, method="l1", recover="none"))
    file = tmp_path / "small.report.json"
    file.write_text(json.dumps(pruned.report))
    return original, pruned.model, earlier_report(file)


def test_whole_numbers_are_those_of_the_cut(pair: Pair) -> None:
    original, pruned, report = pair
    result = rp.verify(original, pruned, report).result
    assert result is not None
    assert result.passed


def test_another_whole_number_is_no_training(pair: Pair) -> None:
    original, pruned, report = pair
    (target,) = [t for t in pruned.proto.graph.initializer if t.name == "target"]
    assert numpy_helper.to_array(target).tolist() == [1, 4, 64]
    target.CopyFrom(numpy_helper.from_array(np.array([1, 64, 4]), "target"))
    with pytest.raises(VerificationError, match="integers of tensor 'target' differ"):
        rp.verify(original, pruned, report)


def test_other_weights_may_be_training(pair: Pair) -> None:
    original, pruned, report = pair
    (head,) = [t for t in pruned.proto.graph.initializer if t.name == "head"]
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * 2, "head"))
    seen = rp.verify(original, pruned, report)
    assert (seen.result, seen.changed) == (None, 1)
