"""The cuts of a report in values outside the file."""

import numpy as np
import pytest
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.errors import SelectionError
from reprune_onnx.results import TensorCut

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.cuts import apply_cuts, narrowed, widen


@pytest.fixture(scope="module")
def pruned(demo):
    model = rp.load(demo)
    return model, rp.prune(model, rp.Settings(sparsity=0.6, residual="prune", recover="none"))


def test_a_state_is_cut_as_the_file_was(pruned):
    model, result = pruned
    state = dict(torch_module(model).state_dict())
    small = apply_cuts(result.report, state)
    module = torch_module(result.model)
    module.load_state_dict(small, strict=True)
    for tensor in result.model.proto.graph.initializer:
        if tensor.name in small:
            expected = numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(small[tensor.name].numpy(), expected)


def test_whole_branches_are_none_of_the_weights(demo):
    asked = rp.Settings(sparsity=0.1, layer={"/stage1/block2/conv1/Conv": 0}, recover="none")
    report = rp.prune(demo, asked).report
    with pytest.raises(SelectionError, match=r"takes 1 whole branch out, such as that of '/stage1"):
        apply_cuts(report, dict(torch_module(rp.load(demo)).state_dict()))


def test_a_users_own_network_goes_on_training_with_the_cut_weights(pruned):
    """Layers made narrow by the report take the cut state of the wide ones."""
    report = {
        "cuts": [
            {"initializer": "0.weight", "axis": 0, "keep": [0, 2]},
            {"initializer": "0.bias", "axis": 0, "keep": [0, 2]},
            {"initializer": "2.weight", "axis": 1, "keep": [0, 2]},
        ]
    }
    wide = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3))
    narrow = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 5, 3)
    )
    narrow.load_state_dict(apply_cuts(report, wide.state_dict()))
    with torch.no_grad():
        x = torch.randn(2, 3, 9, 9)
        wide[2].weight[:, [1, 3]] = 0
        torch.testing.assert_close(narrow(x), wide(x))


def test_names_that_do_not_match_are_told(pruned):
    _, result = pruned
    with pytest.raises(SelectionError, match=r"has no '.*' and \d+ others"):
        apply_cuts(result.report, {"other": torch.zeros(3)})
    assert list(apply_cuts(result.report, {"other": torch.zeros(3)}, strict=False)) == ["other"]


def test_a_tensor_of_another_size_is_refused():
    report = {"cuts": [{"initializer": "w", "axis": 0, "keep": [0, 9]}]}
    with pytest.raises(SelectionError, match=r"'w' has shape \[3\], but row 9 of axis 0"):
        apply_cuts(report, {"w": torch.zeros(3)})


def test_a_tensor_that_the_file_duplicated_gets_its_copies():
    report = {
        "cuts": [
            {"initializer": "w", "axis": 0, "keep": [0, 1]},
            {"initializer": "w_pruned", "axis": 0, "keep": [2], "source": "w"},
        ]
    }
    cut = apply_cuts(report, {"w": torch.arange(3.0)})
    assert {k: v.tolist() for k, v in cut.items()} == {"w": [0.0, 1.0], "w_pruned": [2.0]}


def test_widen_undoes_narrowed_and_leaves_the_rest():
    cuts = [TensorCut("w", 0, np.array([0, 2])), TensorCut("w", 1, np.array([1]))]
    wide = {"w": torch.arange(6.0).reshape(3, 2), "s": torch.tensor(1.0)}
    small = narrowed(wide, cuts)
    assert small["w"].tolist() == [[1.0], [5.0]]
    widen(wide, {"w": small["w"] + 100, "s": torch.tensor(7.0)}, cuts)
    assert wide["w"].tolist() == [[0.0, 101.0], [2.0, 3.0], [4.0, 105.0]]
    assert wide["s"].item() == 7.0
