"""What images tell about a layer, wherever its op has the channels; and what energies weigh."""

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.calibrate import layer_statistics
from reprune_onnx.pruner.selection import group_problem
from reprune_onnx.results import Knowledge
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

N = 10
NETWORKS = {
    "Conv": ("y = Conv <strides = [2, 2]> (r, w2)", {"w2": (5, 6, 3, 3)}, 1, 1),
    "grouped Conv": ("y = Conv <group = 2> (r, w2)", {"w2": (4, 3, 1, 1)}, 1, 1),
    "MatMul": (
        "p = GlobalAveragePool (r)\n f = Flatten (p)\n y = MatMul (f, w2)",
        {"w2": (6, 5)},
        1,
        1,
    ),
    "Gemm of columns": (
        """p = GlobalAveragePool (r)
        f = Flatten (p)
        t = Transpose <perm = [1, 0]> (f)
        y = Gemm <transA = 1> (t, w2)""",
        {"w2": (6, 5)},
        0,
        1,
    ),
    "Einsum": ('y = Einsum <equation = "bchw,ck->bkhw"> (r, w2)', {"w2": (6, 5)}, 1, 1),
    "Einsum to the end": ('y = Einsum <equation = "bchw,ck->bhwk"> (r, w2)', {"w2": (6, 5)}, 1, 3),
}


def network(body: str, weights: dict[str, tuple[int, ...]]) -> Model:
    rng = np.random.default_rng(1)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, 6, 6] x) => (float[] y) {{
        a = Conv (x, w1)
        r = Relu (a)
        {body}
    }}"""
    arrays = {k: rng.standard_normal(shape) for k, shape in {"w1": (6, 3, 1, 1), **weights}.items()}
    return Model(text_graphs.model(text, **arrays))


def images() -> Images:
    x = np.random.default_rng(2).standard_normal((N, 3, 6, 6)).astype(np.float32)
    return Images("random", tuple({"x": x[k : k + 4]} for k in range(0, N, 4)), N)


def over(array: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(array.astype(np.float64), axis, -1).reshape(-1, array.shape[axis])


@pytest.mark.parametrize(("body", "weights", "read", "made"), NETWORKS.values(), ids=NETWORKS)
def test_deviations_and_energies_are_along_the_layers_own_axes(
    body: str, weights: dict[str, tuple[int, ...]], read: int, made: int
) -> None:
    model = network(body, weights)
    graph = graph_of(model)
    channels = channels_of(graph, rp.Scope(residual="prune"))
    layer = channels.layers[-1]
    source = graph.ops[layer.node].inputs[0]
    x = np.concatenate([batch["x"] for batch in images().batches])
    tensors = Session(model.proto, optimize=False, outputs=[source, "y"]).run({"x": x})

    statistics = layer_statistics(model, graph, channels, images(), energies=True)

    expected = (over(tensors[source], read) ** 2).mean(axis=0)
    np.testing.assert_allclose(statistics.energy[layer.node], expected, rtol=1e-4)
    expected = over(tensors["y"], made).std(axis=0)
    np.testing.assert_allclose(statistics.deviation[layer.node], expected, rtol=1e-4)
    assert layer_statistics(model, graph, channels, images(), energies=False).energy == {}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("coverage", ["norm", "energy"])
def test_every_kind_of_layer_is_pruned_with_images(name: str, coverage: str, tmp_path) -> None:
    x = np.random.default_rng(2).standard_normal((40, 3, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    settings = rp.Settings(
        sparsity=0.5,
        residual="prune",
        allocation="uniform",
        coverage=coverage,
        calibration=str(tmp_path / "d.npz"),
        preprocess="none",
    )
    report = rp.prune(network(*NETWORKS[name][:2]), settings).report
    before, after = report["layers"][0]["out_channels"]
    assert (before, after) in {(6, 3), (6, 4)}, "of the slots of two groups one of three goes"
    assert report["verification"]["passed"]


def test_a_grouped_layers_kernels_get_the_mean_energy_of_their_place() -> None:
    body = "b = Conv <group = 2> (r, w2)\n q = Relu (b)\n y = Conv (q, w3)"
    graph = graph_of(network(body, {"w2": (4, 3, 1, 1), "w3": (2, 4, 1, 1)}))
    channels = channels_of(graph, rp.Scope())
    grouped = channels.layers[1]
    (group,) = [g for g in channels.groups if g.producers[0].layer is grouped]
    knowledge = Knowledge({group.id: np.ones(group.n)}, {grouped.node: np.arange(6.0)})
    for part in group_problem(graph, channels, group, 1, knowledge).filters:
        assert part.kernels.shape[1] == len(part.energy)
        of_groups = part.energy.reshape(-1, 3)
        np.testing.assert_array_equal(of_groups, [[1.5, 2.5, 3.5]] * len(of_groups))


@pytest.mark.parametrize(("asked", "left"), [(0.3, 4), (0.4, 4), (0.6, 2), (0.7, 2)])
def test_of_three_slots_that_many_go_that_are_nearest_to_the_sparsity(
    asked: float, left: int
) -> None:
    settings = rp.Settings(sparsity=asked, residual="prune", allocation="uniform", recover="none")
    report = rp.prune(network(*NETWORKS["grouped Conv"][:2]), settings).report
    assert report["layers"][0]["out_channels"] == [6, left]
