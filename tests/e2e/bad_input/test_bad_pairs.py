"""Pairs that verify must refuse, and those that it must not."""

import json

import onnx
import pytest
from altered_models import INNER, altered, node, set_value, tensor
from onnx import helper, numpy_helper


def test_a_pair_is_verified(call, pair):
    result = call("verify", *pair)
    assert result.code == 0
    assert result.out.startswith("verified on ")


def test_values_changed_since_the_cut_are_told(call, pair):
    model, pruned = pair
    altered(pruned, pruned, lambda m: set_value(m, INNER, 5.0))
    result = call("verify", model, pruned)
    assert result.code == 0
    assert "structure verified" in result.out
    assert "1 tensors have other values" in result.out or "1 tensor has" in result.out


def drop_row(m: onnx.ModelProto) -> None:
    weight = tensor(m, INNER)
    array = numpy_helper.to_array(weight)[1:]
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))


TAMPERED = {
    "a row less": drop_row,
    "a node less": lambda m: m.graph.node.remove(node(m, "Relu")),
    "a node more": lambda m: m.graph.node.append(
        helper.make_node("Identity", [m.graph.output[0].name], ["more"])
    ),
    "another operator": lambda m: setattr(node(m, "Relu"), "op_type", "Sigmoid"),
    "another connection": lambda m: node(m, "Relu").input.__setitem__(0, m.graph.node[0].output[0]),
    "another stride": lambda m: next(
        a for a in node(m, "Conv").attribute if a.name == "strides"
    ).ints.__setitem__(0, 2),
    "a weight less": lambda m: m.graph.initializer.remove(tensor(m, INNER)),
    "another output": lambda m: setattr(m.graph.output[0], "name", m.graph.node[0].output[0]),
    "another epsilon": lambda m: next(
        a for a in node(m, "BatchNormalization").attribute if a.name == "epsilon"
    ).__setattr__("f", 0.5),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_pruned_file_of_another_structure(refuses, pair, kind):
    model, pruned = pair
    altered(pruned, pruned, TAMPERED[kind])
    refuses("verify", model, pruned)


def test_the_original_is_no_pruning_of_itself(refuses, pair):
    model, pruned = pair
    refuses("verify", model, model, "--report", pruned.with_name("small.report.json"))


def test_original_and_pruned_are_swapped(refuses, pair):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    refuses("verify", pruned, model, "--report", report, says=("sha256",))


def test_the_report_is_about_another_model(refuses, pair, demo, tmp_path):
    _, pruned = pair
    other = altered(demo, tmp_path / "other.onnx", lambda m: set_value(m, INNER, 5.0))
    refuses("verify", other, pruned, says=("sha256", "other.onnx"))


def test_there_is_no_report(refuses, pair):
    model, pruned = pair
    pruned.with_name("small.report.json").unlink()
    refuses("verify", model, pruned, says=("small.report.json", "No such file"))


@pytest.mark.parametrize(
    "settings",
    [
        {"include": 5},
        {"include": [3]},
        {"input_shapes": [["input", [1, "x"]]]},
        {"input_shapes": {"input": [1, 1, 8, 8]}},
        {"input_shapes": 3},
    ],
)
def test_a_report_with_settings_that_are_none(call, pair, settings):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    content = json.loads(report.read_text())
    content["settings"] |= settings
    report.write_text(json.dumps(content))
    result = call("verify", model, pruned)
    assert result.code in (1, 2), result.err
    assert len(result.err.splitlines()) == 1
