"""Selections (--keep) that do not fit the model."""

import json

import pytest
from altered_models import HALF, INNER, write


def row(initializer: object, keep: object, axis: object = 0) -> dict[str, object]:
    return {"initializer": initializer, "axis": axis, "keep": keep}


KEEPS = {
    "not JSON": "keep: [1, 2, 3]",
    "binary": b"\xff\xfe\x00\x01",
    "empty": "",
    "a list": "[]",
    "a number": "3",
    "without cuts": '{"schema": 1}',
    "cuts that are no list": '{"cuts": 5}',
    "a cut without keep": '{"cuts": [{"initializer": "a", "axis": 0}]}',
    "words to keep": json.dumps({"cuts": [row(INNER, ["a", "b"])]}),
    "halves to keep": json.dumps({"cuts": [row(INNER, [0.5, 1.5])]}),
    "an axis that is a word": json.dumps({"cuts": [row(INNER, [0], "out")]}),
    "an axis that is not there": json.dumps({"cuts": [row(INNER, [0], 9)]}),
    "a row that is not there": json.dumps({"cuts": [row(INNER, [0, 16])]}),
    "a row below zero": json.dumps({"cuts": [row(INNER, [-1, 0])]}),
    "the same row twice": json.dumps({"cuts": [row(INNER, [3, 3])]}),
    "no row at all": json.dumps({"cuts": [row("stem.conv.weight", [])]}),
    "another model's weight": json.dumps({"cuts": [row("backbone.conv7.weight", [0])]}),
    "channels of the output": json.dumps({"cuts": [row("fc.weight", [0, 1, 2])]}),
    "channels of the residual stream": json.dumps({"cuts": [row("stem.conv.weight", [0, 1])]}),
    "settings that are no settings": '{"cuts": [], "settings": 5}',
    "a source that is no source": '{"cuts": [], "source": 5}',
    "brackets without end": "[" * 100_000,
}


@pytest.mark.parametrize("kind", KEEPS)
def test_a_selection_that_does_not_fit(refuses, model, tmp_path, kind):
    file = tmp_path / "selection.json"
    content = KEEPS[kind]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refuses("prune", model, "--keep", file, says=("selection.json",))


def test_a_selection_that_does_not_exist(refuses, model, tmp_path):
    refuses("prune", model, "--keep", tmp_path / "none.json", says=("none.json", "No such file"))


def test_a_selection_of_another_model(refuses, call, model, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[2,6,3,3] W2) => (float[1,2,4,4] y) {
        a = Conv(x, W1)
        y = Conv(a, W2)}""",
    )
    assert call("prune", other, *HALF).code == 0
    refuses("prune", model, "--keep", tmp_path / "other-pruned.report.json", says=("W1",))
