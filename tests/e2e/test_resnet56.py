"""The paper's own network at the paper's own sparsity: ResNet-56 on CIFAR-10, s̄ = 0.55."""

import hashlib
import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference_algorithm1
from onnx import numpy_helper

import reprune_onnx as rp

BLOCKS = range(27)
SETTINGS = ("--sparsity", "0.55")


@pytest.fixture(scope="module")
def model(shared) -> rp.Model:
    return rp.load(shared / "models" / "resnet56_cifar10_bn.onnx")


@pytest.fixture(scope="module")
def pruned(model) -> rp.Pruned:
    return rp.prune(model, rp.Settings(recover="none", sparsity=0.55))


def arrays(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def inner_convs(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The first Conv of every basic block: the Convs are the stem and then two per block."""
    convs = [n for n in proto.graph.node if n.op_type == "Conv"]
    assert len(convs) == 55
    return convs[1::2]


def eq_8_9(proto: onnx.ModelProto, sparsity: Fraction) -> list[int]:
    """How many filters each inner Conv keeps: the ⌈s̄·N⌉ smallest |γ| of all inner BNs fall."""
    weights = arrays(proto)
    readers = {n.input[0]: n for n in proto.graph.node if n.input}
    gammas = []
    for conv in inner_convs(proto):
        norm = readers[conv.output[0]]
        assert norm.op_type == "BatchNormalization"
        gammas.append(np.abs(weights[norm.input[1]]))
    pool = sorted(
        (float(g), layer, i) for layer, gamma in enumerate(gammas) for i, g in enumerate(gamma)
    )
    fallen = [layer for _, layer, _ in pool[: math.ceil(sparsity * len(pool))]]
    return [max(1, len(gamma) - fallen.count(layer)) for layer, gamma in enumerate(gammas)]


def changed(report: dict) -> list[int]:
    """The positions, among all layers, of those that lost channels."""
    return [
        k
        for k, layer in enumerate(report["layers"])
        if layer["out_channels"][1] < layer["out_channels"][0]
    ]


def test_exactly_the_block_inner_layers_are_pruned(model, pruned):
    layers = {layer["node"]: layer for layer in pruned.report["layers"]}
    inner = {n.name for n in inner_convs(model.proto)}
    assert len(inner) == len(BLOCKS) == 27
    for name, layer in layers.items():
        before, after = layer["out_channels"]
        assert (1 <= after < before) == (name in inner)
    assert len(layers) == 56


def test_the_residual_stream_is_whole(model, pruned):
    before, after = arrays(model.proto), arrays(pruned.model.proto)
    inner = inner_convs(model.proto)
    seconds = [n for n in model.proto.graph.node if n.op_type == "Conv"][2::2]
    for first, second in zip(inner, seconds, strict=True):
        n_out, n_in, kh, kw = before[first.input[1]].shape
        kept = len(after[first.input[1]])
        assert after[first.input[1]].shape == (kept, n_in, kh, kw)
        assert after[second.input[1]].shape == (before[second.input[1]].shape[0], kept, kh, kw)
        assert kept < n_out
    assert after["conv1.weight"].tobytes() == before["conv1.weight"].tobytes()
    assert after["linear.weight"].tobytes() == before["linear.weight"].tobytes()


def test_multiply_adds_fall_by_half(model, pruned):
    achieved = pruned.report["achieved"]
    assert 0.50 <= achieved["macs_reduction"] <= 0.56
    assert achieved["macs_reduction"] == pytest.approx(0.5206, abs=5e-5)
    assert achieved["sparsity"] == pytest.approx(555 / 1008, abs=1e-6)


def test_the_cut_is_proven_and_a_wrong_one_would_show(pruned):
    v = pruned.report["verification"]
    assert v["passed"]
    assert v["max_abs_diff"] / v["scale"] < 1e-5
    assert v["negative_control"] / v["scale"] > 1e-2


def test_as_many_filters_stay_as_equations_8_and_9_say(model, pruned):
    kept = [pruned.report["layers"][k]["out_channels"][1] for k in changed(pruned.report)]
    assert kept == eq_8_9(model.proto, Fraction(55, 100))


@pytest.mark.parametrize("cutoff", ["merge-count", "height"])
@pytest.mark.parametrize("linkage", ["ward", "single", "complete", "average"])
def test_the_filters_that_stay_are_those_of_algorithm_1(model, linkage, cutoff):
    weights = arrays(model.proto)
    names = [n.input[1] for n in inner_convs(model.proto)]
    for tie_break in ("max-l2", "min-l2"):
        settings = rp.Settings(
            recover="none",
            sparsity=0.55,
            linkage=linkage,
            cutoff=cutoff,
            tie_break=tie_break,
            verify=False,
        )
        report = rp.prune(model, settings).report
        tensors = {c["initializer"]: c["keep"] for c in report["cuts"] if c["axis"] == 0}
        for name, n_keep in zip(names, eq_8_9(model.proto, Fraction(55, 100)), strict=True):
            expected = reference_algorithm1.select(
                weights[name], n_keep, linkage, cutoff, tie_break
            )
            assert tensors[name] == expected, (name, tie_break)


def test_the_cases_above_are_different_problems(model):
    """The oracle would be worth little if linkage, cut-off and tie-break did not matter here."""
    name = inner_convs(model.proto)[20].input[1]
    F = arrays(model.proto)[name]
    answers = {
        (linkage, cutoff, tie): tuple(
            reference_algorithm1.select(F, len(F) // 2, linkage, cutoff, tie)
        )
        for linkage, cutoff, tie in itertools.product(
            ("ward", "single", "complete", "average"),
            ("merge-count", "height"),
            ("max-l2", "min-l2"),
        )
    }
    assert len(set(answers.values())) >= 12


@pytest.mark.parametrize("residual", ["keep", "inner"])
@pytest.mark.parametrize("export", ["folded", "dynamo"])
def test_other_exports_of_the_network_have_the_same_groups(shared, model, export, residual):
    other = rp.load(shared / "models" / f"resnet56_cifar10_{export}.onnx")
    assert not any(n.op_type == "BatchNormalization" for n in other.proto.graph.node)
    scope = rp.Scope(residual=residual)
    channels, expected = rp.analyze(other, scope), rp.analyze(model, scope)
    assert groups(channels) == groups(expected)
    assert sum(free > 0 for _, free, _ in groups(channels)) == 27


def groups(channels: rp.ChannelMap) -> list[tuple[int, int, list[int]]]:
    """Channels, prunable channels, and the positions of the layers that make them."""
    place = {layer.node: k for k, layer in enumerate(channels.layers)}
    return [
        (g.n, int(g.free.sum()), sorted(place[p.layer.node] for p in g.producers))
        for g in channels.groups
    ]


@pytest.mark.parametrize("export", ["folded", "dynamo"])
def test_other_exports_of_the_network_prune(shared, pruned, export):
    other = rp.load(shared / "models" / f"resnet56_cifar10_{export}.onnx")
    report = rp.prune(other, rp.Settings(recover="none", sparsity=0.55)).report
    assert report["verification"]["passed"]
    assert changed(report) == changed(pruned.report)
    assert [layer["out_channels"][0] for layer in report["layers"]] == [
        layer["out_channels"][0] for layer in pruned.report["layers"]
    ]
    assert {layer["gamma_source"] for layer in report["layers"]} == {"weights"}
    assert 0.50 <= report["achieved"]["macs_reduction"] <= 0.56


def test_gamma_comes_from_the_batch_normalization(pruned):
    source = {layer["op"]: set() for layer in pruned.report["layers"]}
    for layer in pruned.report["layers"]:
        source[layer["op"]].add(layer["gamma_source"])
    assert source == {"Conv": {"bn"}, "Gemm": {"weights"}}


def test_the_preset_of_the_paper(call, model, pruned, tmp_path):
    out = tmp_path / "small.onnx"
    result = call("prune", model.path, "-o", out, *SETTINGS, "--preset", "paper")
    assert result.code == 0
    inner = rp.prune(
        model, rp.Settings(recover="none", sparsity=0.55, residual="inner", verify=False)
    )
    assert arrays(onnx.load(out)).keys() == arrays(inner.model.proto).keys()
    for name, array in arrays(onnx.load(out)).items():
        np.testing.assert_array_equal(array, arrays(inner.model.proto)[name])
    # in this network all that does not meet an Add lies inside a block
    assert inner.report["cuts"] == pruned.report["cuts"]


def test_equal_bytes_for_equal_seeds(run_cli, shared, tmp_path):
    source = shared / "models" / "resnet56_cifar10_bn.onnx"
    ways = {
        "one": ((), {"PYTHONHASHSEED": "1"}),
        "two": (("--jobs", "2"), {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "1"}),
        "other-seed": (("--seed", "1"), {}),
    }
    digests = {}
    for name, (more, env) in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        copy = folder / f"{name}.onnx"
        copy.write_bytes(source.read_bytes())
        out = folder / "small.onnx"
        args = ("prune", copy.name, "-o", out, *SETTINGS, "--no-verify", "--quiet", *more)
        result = run_cli(*args, cwd=folder, env=env)
        assert result.returncode == 0, result.stderr
        assert result.stdout == result.stderr == ""
        digests[name] = hashlib.sha256(out.read_bytes()).hexdigest()
    assert digests["one"] == digests["two"]
    assert digests["one"] != digests["other-seed"]
    assert arrays_differ(tmp_path / "one" / "small.onnx", tmp_path / "other-seed" / "small.onnx")


def arrays_differ(a: Path, b: Path) -> bool:
    """Not only the metadata, which states the seed."""
    x, y = arrays(onnx.load(a)), arrays(onnx.load(b))
    return any(not np.array_equal(x[name], y[name]) for name in x)


def test_a_proven_file_has_the_same_bytes_as_an_unproven_one_but_for_its_settings(pruned, model):
    again = rp.prune(model, rp.Settings(recover="none", sparsity=0.55, jobs=2, verify=False))
    for proto in (again.model.proto, pruned.model.proto):
        assert {p.key for p in proto.metadata_props} >= {"reprune_onnx.settings"}
    a, b = onnx.ModelProto(), onnx.ModelProto()
    a.CopyFrom(again.model.proto)
    b.CopyFrom(pruned.model.proto)
    del a.metadata_props[:], b.metadata_props[:]
    assert a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def test_the_accuracy_of_the_unpruned_network(call, shared):
    data = shared / "data" / "cifar10_lossless.npz"
    model = shared / "models" / "resnet56_cifar10_bn.onnx"
    result = call("evaluate", model, "--data", data, "--preprocess", "cifar10")
    assert result.code == 0
    assert "top-1 92.60 %" in result.out
    assert "932 images" in result.out
