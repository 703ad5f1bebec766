"""Pruning in rounds: the shares, and the cuts of all rounds as cuts of the original."""

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx.errors import UsageError
from reprune_onnx.results import TensorCut

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.training.rounds import PruneRounds, Rows


def cut(name, axis, keep, source=None):
    return {"initializer": name, "axis": axis, "keep": keep, "source": source}


def report(*cuts, constants=()):
    return {"cuts": list(cuts), "removed": [{"constants": list(constants)}] if constants else []}


def as_lists(cuts: tuple[TensorCut, ...]):
    return [(c.initializer, c.axis, c.keep.tolist(), c.source) for c in cuts]


def test_rows_of_a_later_round_are_counted_in_what_is_left():
    rows = Rows()
    rows.take_in(report(cut("w", 0, [0, 2, 5]), cut("w", 1, [1])))
    rows.take_in(report(cut("w", 0, [1, 2]), cut("v", 0, [3])))
    assert as_lists(rows.cuts()) == [
        ("w", 0, [2, 5], None),
        ("w", 1, [1], None),
        ("v", 0, [3], None),
    ]


def test_a_copy_of_a_later_round_begins_with_what_was_left_of_its_source():
    rows = Rows()
    rows.take_in(report(cut("w", 1, [0, 3, 4])))
    rows.take_in(report(cut("w_copy", 0, [1], "w"), cut("w_copy", 1, [0, 2], "w")))
    rows.take_in(report(cut("w_copy_copy", 1, [1], "w_copy")))
    assert as_lists(rows.cuts()) == [
        ("w", 1, [0, 3, 4], None),
        ("w_copy", 1, [0, 4], "w"),
        ("w_copy", 0, [1], "w"),
        ("w_copy_copy", 1, [4], "w"),
        ("w_copy_copy", 0, [1], "w"),
    ]


def test_constants_in_the_place_of_branches_are_no_tensors_of_the_original():
    rows = Rows()
    rows.take_in(report(cut("w", 0, []), cut("v", 0, [1, 2]), constants=["branch"]))
    rows.take_in(report(cut("branch", 1, [0]), cut("v", 0, [1])))
    assert as_lists(rows.cuts()) == [("w", 0, [], None), ("v", 0, [2], None)]


@pytest.mark.parametrize("target", ["sparsity", "macs_reduction", "params_reduction"])
def test_the_rounds_together_take_the_whole(target):
    rounds = PruneRounds(rp.Settings(**{target: 0.6}), 3)
    left = np.prod([1 - getattr(rounds.settings_of(k), target) for k in (1, 2, 3)])
    assert left == pytest.approx(0.4)


def test_rounds_need_a_target_and_a_number(tmp_path):
    with pytest.raises(UsageError, match="--rounds must be at least 1"):
        PruneRounds(rp.Settings(sparsity=0.5), 0)
    with pytest.raises(UsageError, match="rounds prune to a --sparsity"):
        PruneRounds(rp.Settings(keep=tmp_path / "x.report.json"), 2)
