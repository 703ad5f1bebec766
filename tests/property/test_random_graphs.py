"""Random graphs, randomly pruned, compute what the original computes without the cut channels."""

from __future__ import annotations

from copy import deepcopy
from typing import get_args

import numpy as np
import onnx
import pytest
import summed_oracle
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from masked_oracle import (
    computed,
    constants,
    difference,
    masked,
    prune_and_prove,
    random_images,
    run,
)
from onnx import numpy_helper
from random_graphs import BLOCKS, build
from random_recipes import BATCH, OPSETS, SIDE, VARIANTS, Block, Recipe, recipes

import reprune_onnx as rp
from reprune_onnx.analyzer.rules import RULES
from reprune_onnx.choices import Allocation, Residual

quick = settings(
    deadline=None,
    max_examples=40,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def requests() -> st.SearchStrategy[rp.Settings]:
    return st.builds(
        rp.Settings,
        sparsity=st.sampled_from([0.15, 0.3, 0.5, 0.7, 0.9]),
        method=st.sampled_from(["l1", "random"]),
        allocation=st.sampled_from([a for a in get_args(Allocation) if a != "sensitivity"]),
        residual=st.sampled_from(get_args(Residual)),
        norm_statistics=st.just("lock"),
        recover=st.just("none"),
        seed=st.integers(0, 3),
        input_shapes=st.just((("x", (BATCH, 3, SIDE, SIDE)),)),
    )


def pruned(original: onnx.ModelProto, request: rp.Settings) -> rp.Pruned:
    """The result; a graph of which nothing can go is not an example."""
    try:
        result, proven = prune_and_prove(original, request)
    except rp.SelectionError as error:
        assert "nothing can be pruned" in str(error)
        assume(False)
        raise
    if not proven:
        event("hardly shows")
        return result
    assert result.report["verification"]["passed"] is True
    return result


@settings(quick, max_examples=100)
@given(recipe=recipes(), request=requests())
def test_pruned_equals_masked(recipe: Recipe, request: rp.Settings) -> None:
    original = build(recipe)
    before = original.SerializeToString(deterministic=True)

    result = pruned(original, request)

    assert original.SerializeToString(deterministic=True) == before
    small = result.model.proto
    onnx.checker.check_model(small, full_check=True)
    empty = {t.name for t in original.graph.initializer if 0 in t.dims}
    assert all(t.name in empty or 0 not in t.dims for t in small.graph.initializer)
    images = random_images(2, original)
    expected = run(masked(original, result, images[0]), images)
    assert difference(expected, run(small, images)) <= 1e-4


@quick
@given(recipe=recipes(), request=requests())
def test_the_report_tells_what_happened_to_every_tensor(
    recipe: Recipe, request: rp.Settings
) -> None:
    original = build(recipe)

    result = pruned(original, request)

    cuts = result.report["cuts"]
    arrays = constants(original)
    named = {c.get("source") or c["initializer"] for c in cuts}
    arrays |= computed(original, named - arrays.keys(), random_images(1, original)[0])
    wanted = dict(arrays)
    for cut in cuts:
        name = cut["initializer"]
        array = wanted[name] if name in wanted else arrays[cut["source"]]
        wanted[name] = array.take(cut["keep"], axis=cut["axis"])
    tensors = constants(result.model.proto)
    read = {name for node in result.model.proto.graph.node for name in node.input}
    for name, array in wanted.items():
        if array.dtype == np.float32 and name in read:
            np.testing.assert_array_equal(tensors[name], array, err_msg=name)
    if "made-weight" not in kinds(recipe) and recipe.head != "matmul":
        sizes = sum(
            tensors[name].size
            for name in read
            if name in tensors and tensors[name].dtype == np.float32
        )
        assert result.report["after"]["params"] == sizes


def kinds(recipe: Recipe) -> set[str]:
    return {block.kind for block in recipe.blocks}


@settings(quick, max_examples=15)
@given(recipe=recipes(), request=requests())
def test_same_seed_same_bytes(recipe: Recipe, request: rp.Settings) -> None:
    original = build(recipe)

    first, second = (pruned(original, request).model.proto for _ in range(2))

    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_the_oracle_sees_a_wrong_channel() -> None:
    """The negative control: zeros in place of another channel are told from the right ones."""
    blocks = (Block("residual", 6, 1), Block("concat", 4, 0))
    original = build(Recipe(blocks, stem=6, head="pool", opset=17, seed=1))
    result = rp.prune(
        rp.Model(original),
        rp.Settings(
            recover="none", sparsity=0.4, method="l1", allocation="uniform", residual="prune"
        ),
    )
    lengths = {t.name: list(t.dims) for t in original.graph.initializer}
    wrong = deepcopy(result)
    for cut in wrong.report["cuts"]:
        n = lengths[cut["initializer"]][cut["axis"]]
        cut["keep"] = [(k + 1) % n for k in cut["keep"]]
    images = random_images(2, original)
    outputs = run(result.model.proto, images)

    assert difference(run(masked(original, result, images[0]), images), outputs) <= 1e-5
    assert difference(run(masked(original, wrong, images[0]), images), outputs) > 1e-2
    assert difference(run(original, images), outputs) > 1e-2


def test_the_oracle_sees_a_wrong_channel_where_two_activations_are_summed() -> None:
    """Attention between positions: which channels went is seen in no weight of its own."""
    original = build(Recipe((Block("locked", 6, 0),), stem=4, head="conv", opset=17, seed=0))
    result = rp.prune(
        rp.Model(original),
        rp.Settings(recover="none", sparsity=0.5, method="l1", allocation="uniform"),
    )
    images = random_images(2, original)
    outputs = run(result.model.proto, images)
    right = masked(original, result, images[0])
    assert any(name.endswith("_mask") for name in (t.name for t in right.graph.initializer))
    assert difference(run(right, images), outputs) <= 1e-5
    for tensor in right.graph.initializer:
        if tensor.name.endswith("_mask"):
            mask = np.roll(numpy_helper.to_array(tensor), 1, axis=-1)
            tensor.CopyFrom(numpy_helper.from_array(mask, tensor.name))
    assert difference(run(right, images), outputs) > 1e-4


def test_the_oracle_sees_over_which_channels_a_norm_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control: over all channels, those that went among them, it is another norm."""
    original = build(Recipe((Block("layer-norm", 4, 6),), 6, "conv", 17, seed=2))
    options = {"sparsity": 0.5, "method": "l1", "residual": "prune", "recover": "none"}
    result = rp.prune(rp.Model(original), rp.Settings(**options, norm_statistics="kept"))
    images = random_images(2, original)
    outputs = run(result.model.proto, images)
    assert "LayerNormalization" in {node.op_type for node in original.graph.node}
    assert difference(run(masked(original, result, images[0]), images), outputs) <= 1e-5
    monkeypatch.setattr(summed_oracle, "is_statistic", lambda node: False)
    assert difference(run(masked(original, result, images[0]), images), outputs) > 1e-2


def test_the_oracle_tells_what_is_summed_behind_a_normalization() -> None:
    """Statistics of channels that went are changed to see where they lead; their values stay."""
    blocks = (Block("unary", 2, 2), Block("locked", 2, 24), Block("recurrent", 7, 58))
    original = build(Recipe(blocks, 4, "conv", 17, 791, dense=True))
    options = {"sparsity": 0.3, "method": "l1", "residual": "prune", "recover": "none"}
    result = rp.prune(rp.Model(original), rp.Settings(**options))
    images = random_images(2, original)
    outputs = run(result.model.proto, images)
    assert {"w4", "w5"} <= {cut["initializer"] for cut in result.report["cuts"]}
    assert difference(run(masked(original, result, images[0]), images), outputs) <= 1e-5


def test_the_oracle_masks_products_in_the_order_in_which_they_are_computed() -> None:
    """Nodes that stand in any order: a product is looked at behind those that it follows from."""
    blocks = (Block("correlation", 4, 4), Block("correlation", 7, 28))
    original = build(Recipe(blocks, 4, "conv", 17, 688, shuffled=True))
    options = {"sparsity": 0.5, "method": "l1", "allocation": "uniform", "recover": "none"}
    result = rp.prune(rp.Model(original), rp.Settings(**options))
    images = random_images(2, original)
    outputs = run(result.model.proto, images)
    right = run(masked(original, result, images[0]), images)
    assert difference(right, outputs) <= 1e-5
    assert difference(run(original, images), outputs) > 1e-2


RETIRED = {"Affine", "Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh", "Upsample"}
RETIRED |= {"Scatter"}
NOT_OF_ONNX = {"SimplifiedLayerNormalization"}  # ONNX Runtime's own, which the checker refuses
WITHOUT_KERNEL = {  # here, or no longer written
    ("com.microsoft", name)
    for name in (
        *("BiasAdd", "LayerNormalization", "NhwcMaxPool"),
        *("SimplifiedLayerNormalization", "TransposeMatMul"),
    )
}


def test_the_blocks_hold_the_whole_rule_table() -> None:
    seen: set[tuple[str, str]] = set()
    for opset in (min(OPSETS), 18, max(OPSETS)):
        for kind in BLOCKS:
            for variant in range(0, VARIANTS, 1 if opset == 18 else 7):
                recipe = Recipe((Block(kind, 4, variant),), 5, "pool", opset, variant)
                seen |= {(node.domain, node.op_type) for node in build(recipe).graph.node}
    head = Recipe((), 5, "flatten", 18, 0)
    seen |= {(node.domain, node.op_type) for node in build(head).graph.node}

    assert set(RULES) - seen == {("", op) for op in RETIRED | NOT_OF_ONNX} | WITHOUT_KERNEL


def test_the_oracle_masks_no_product_that_sums_no_channels() -> None:
    """A correlation of each channel alone, then a norm: zeros would hide which channels went."""
    blocks = (Block("correlation", 2, 43), Block("fused", 2, 58))
    original = build(Recipe(blocks, 4, "conv", 17, seed=0))
    options = {"sparsity": 0.7, "method": "l1", "allocation": "uniform", "recover": "none"}
    result = rp.prune(rp.Model(original), rp.Settings(**options, norm_statistics="kept"))
    images = random_images(2, original)
    outputs = run(result.model.proto, images)
    assert "SkipSimplifiedLayerNormalization" in {node.op_type for node in original.graph.node}
    assert difference(run(masked(original, result, images[0]), images), outputs) <= 1e-5
    assert difference(run(original, images), outputs) > 1e-2
