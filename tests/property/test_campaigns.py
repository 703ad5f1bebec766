"""The short form of `tools/campaign`, and what its long ones found, made small."""

import json
import sys
from pathlib import Path

import masked_oracle
import numpy as np
import pytest
import text_graphs
from ort_version import ort_is_older_than
from random_recipes import BATCH, SIDE, Block, Recipe

import reprune_onnx as rp

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path[:0] = [str(TOOLS / "fuzz"), str(TOOLS / "campaign")]

import image_case
import judgement
import mutated_case
import random_case
from outcome import Outcome, Summary, anonymous

GRAPHS, IMAGES, FILES = 150, 30, 18
SHAPE = (("x", (BATCH, 3, SIDE, SIDE)),)
FOUND = {
    "kept inputs of a depthwise ConvTranspose": (
        Recipe((Block("transposed", 2, 53),), stem=4, head="conv", opset=17, seed=0),
        {"sparsity": 0.3, "input_channels": "kept"},
    ),
    "kept inputs of a ConvTranspose in groups": (
        Recipe((Block("transposed", 3, 1),), stem=4, head="conv", opset=17, seed=0),
        {"sparsity": 0.5, "input_channels": "kept"},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_campaign_found_stays_found(name):
    recipe, options = FOUND[name]
    settings = {"method": "l1", "allocation": "uniform", "recover": "none", "input_shapes": SHAPE}
    outcome = random_case.tried(random_case.Case(recipe, rp.Settings(**settings, **options)))
    assert outcome.end == "exact", outcome.detail


def test_rounding_that_a_graph_amplifies_is_no_wrong_output(monkeypatch):
    """Two normalizations in a row, of what is the same everywhere; no rounding is allowed here."""
    monkeypatch.setattr(judgement, "ALLOWED", 0.0)
    blocks = (Block("group-norm", 2, 12), Block("expand", 2, 53), Block("instance-norm", 2, 38))
    recipe = Recipe(blocks, stem=5, head="conv", opset=17, seed=512)
    request = rp.Settings(
        sparsity=0.9, method="representative", recover="none", verify=False, input_shapes=SHAPE
    )
    outcome = random_case.tried(random_case.Case(recipe, request))
    assert outcome.end == "exact", outcome.detail


def test_rounding_is_that_of_weights_too():
    """Of equal weights one is chosen, whatever the image: case 9223 of seed 14."""
    proto = text_graphs.model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[1,8] x) => (float[1] y) {
        n = Mul (x, none)  c = Add (n, w)  k = ArgMax <axis = 1, keepdims = 0> (c)
        y = Cast <to = 1> (k) }""",
        none=np.zeros(1),
        w=np.full((1, 8), 0.1),
    )
    assert masked_oracle.own_rounding(proto, [{"x": np.ones((1, 8), np.float32)}]) > 0


def test_random_graphs_are_pruned_exactly():
    outcomes, _ = random_case.outcomes(2, 0, GRAPHS)
    assert [o.detail for o in outcomes if o.end == "failed"] == []
    assert sum(o.end == "exact" for o in outcomes) > 0.7 * GRAPHS
    controls = [o.control for o in outcomes if o.control is not None]
    assert controls
    assert min(controls) > judgement.ALLOWED


@pytest.mark.skipif(
    ort_is_older_than("1.23"),
    reason="optimizing, ONNX Runtime 1.20 breaks a FusedConv with a sum (nchwc_ops.cc), a MatMul"
    " of rank 4 before a BatchNormalization (MatMulBnFusion), and aborts at one graph",
)
def test_graphs_are_pruned_exactly_by_images_and_recovered():
    outcomes, _ = image_case.outcomes(2, 0, IMAGES)
    assert [o.detail for o in outcomes if o.end == "failed"] == []
    assert sum(o.end == "exact" for o in outcomes) > 0.6 * IMAGES


def test_changed_files_are_pruned_exactly_or_refused():
    if reason := mutated_case.absent():
        pytest.skip(reason)
    outcomes, _ = mutated_case.outcomes(2, 0, FILES)
    assert [o.detail for o in outcomes if o.end == "failed"] == []
    assert {o.end for o in outcomes} == {"exact", "refused"}


def test_a_wrong_pruning_fails_and_is_made_small(monkeypatch):
    """A tool that keeps the wrong channels of one weight, and does not verify."""
    prune = rp.prune

    def wrong(model, request):
        result = prune(model, request)
        for cut in result.report["cuts"]:
            tensor = next(
                (t for t in model.proto.graph.initializer if t.name == cut["initializer"]), None
            )
            if tensor is not None:
                n = tensor.dims[cut["axis"]]
                cut["keep"] = [(k + 1) % n for k in cut["keep"]]
        return result

    monkeypatch.setattr(rp, "prune", wrong)
    blocks = (Block("residual", 6, 1), Block("unary", 4, 0), Block("concat", 4, 0))
    request = rp.Settings(
        sparsity=0.4, method="l1", allocation="uniform", recover="none", input_shapes=SHAPE
    )
    case = random_case.Case(Recipe(blocks, stem=6, head="pool", opset=13, seed=1), request)
    assert "from the masked original" in random_case.tried(case).detail
    small = random_case.shrunk(case)
    assert random_case.tried(small).end == "failed"
    assert len(small.recipe.blocks) < len(blocks)


def test_a_wrong_pruning_is_seen_where_no_output_shows_it(monkeypatch):
    """Case 3000 of seed 8, made small: the means of a normalized map are its bias."""
    recipe = Recipe(
        (Block("loop", 2, 4), Block("instance-norm", 2, 7)), stem=5, head="pool", opset=17, seed=0
    )
    request = rp.Settings(
        sparsity=0.7, method="l1", recover="none", round_to=4, verify=False, input_shapes=SHAPE
    )
    case = random_case.Case(recipe, request, control=True)
    seen = random_case.tried(case)
    assert (seen.end, seen.detail) == ("exact", "")
    assert seen.control > 0.1
    monkeypatch.setattr(judgement, "behind_cuts", lambda *_: [])
    assert random_case.tried(case).control < judgement.ALLOWED


def test_a_wrong_pruning_is_seen_in_a_branch_that_no_input_takes(monkeypatch):
    """Case 6400 of seed 11, made small."""
    recipe = Recipe((Block("branches", 6, 17),), stem=6, head="conv", opset=13, seed=1)
    request = rp.Settings(
        sparsity=0.3,
        method="l1",
        recover="none",
        verify=False,
        exclude=("Conv0", "*_0_*"),
        input_shapes=SHAPE,
    )
    case = random_case.Case(recipe, request, control=True)
    seen = random_case.tried(case)
    assert (seen.end, seen.detail) == ("exact", "")
    assert seen.control > 0.1
    monkeypatch.setattr(judgement, "_runs", lambda *_: False)
    assert random_case.tried(case).control < judgement.ALLOWED


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe((Block("chunk", 2, 44), Block("fused", 2, 16)), 4, "conv", 17, 94),
        Recipe(
            (
                *(Block("chunk", 4, 44), Block("fused", 6, 16), Block("correlation", 4, 24)),
                *(Block("lengths", 5, 40), Block("split", 7, 5)),
            ),
            *(3, "matmul", 17, 94),
            symbolic=True,
        ),
    ],
)
def test_a_wrong_pruning_whose_parts_do_not_fit_is_seen(recipe):
    """Case 6450 of seed 16: a norm of five channels of which the report leaves four."""
    request = rp.Settings(
        sparsity=0.5,
        method="l1",
        allocation="uniform",
        residual="keep",
        norm_statistics="kept",
        recover="none",
        input_shapes=SHAPE,
    )
    outcome = random_case.tried(random_case.Case(recipe, request, control=True))
    assert (outcome.end, outcome.detail) == ("exact", "")
    assert outcome.control > judgement.ALLOWED


def test_a_summary_goes_on_where_it_was(tmp_path):
    path = tmp_path / "campaign.json"
    first = [
        Outcome("exact", "", ("Conv", "Add"), 1e-6, control=0.5),
        Outcome("refused", "nothing can be pruned (Conv 'a' of 3)"),
        Outcome("failed", "IndexError: 7", ("Conv",)),
    ]
    summary = Summary.read(path, "graphs", 0)
    summary.add(first, 1.5, 1e-4)
    summary.write(path)
    again = Summary.read(path, "graphs", 0)
    again.add([Outcome("exact", "", ("Conv",), 2e-6)], 0.5, 1e-4)
    again.write(path)
    facts = json.loads(path.read_text())
    assert (facts["cases"], facts["exact"], facts["refused_cases"]) == (4, 2, 1)
    assert facts["failed"] == {"2": "IndexError: 7"}
    assert facts["seen"] == {"Add": 1, "Conv": 3}
    assert (facts["controls"], facts["controls_seen"], facts["cpu_seconds"]) == (1, 1, 2.0)
    assert facts["largest_difference"] == 2e-6
    with pytest.raises(ValueError, match="another campaign"):
        Summary.read(path, "graphs", 1)
    assert anonymous("Conv 'a' of 3, 4.5 %") == "Conv '…' of N N %"
