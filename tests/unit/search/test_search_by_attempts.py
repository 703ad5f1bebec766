"""``--search``: what losses are worth is learned, and the best attempt is taken."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx import pipeline
from reprune_onnx.activations.images import Images
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.results import Losses
from reprune_onnx.runtime.ort import Session
from reprune_onnx.search import by_attempts
from reprune_onnx.search.coefficients import Coefficients

RNG = np.random.default_rng(2)


def test_coefficients_are_learned_from_sums() -> None:
    true = np.array([1.0, 1.4, 0.6, 1.0, 0.8])
    rng = np.random.default_rng(1)
    losses = rng.uniform(0.5, 1.5, (40, 5))
    known = Coefficients.first(losses[0], float(losses[0] @ true))
    before = np.abs(known.mean - true).max()
    for row in losses:
        known = known.learned(row, float(row @ true))
    assert np.abs(known.mean - true).max() < 0.3 * before
    assert np.linalg.eigvalsh(known.spread).max() < 0.3 * (0.25 * known.guess) ** 2
    draws = np.array([known.drawn(rng) for _ in range(200)]) * known.guess
    assert np.abs(draws.mean(axis=0) - known.mean).max() < 0.05


def test_no_coefficient_is_drawn_that_lets_a_group_go_for_nothing() -> None:
    known = Coefficients(np.array([-1.0, 1.0]), np.eye(2) * 1e-6, 1.0, 2.0)
    assert known.drawn(np.random.default_rng(0)) == pytest.approx([0.1, 1.0], abs=0.01)


def test_weights_scale_the_losses_of_their_groups() -> None:
    losses = Losses({3: np.array([2.0, 1.0, 0.0]), 4: np.array([5.0, 0.0])}, {3: np.arange(2)})
    weighed = by_attempts.weighed(losses, {3: 0.5})
    assert weighed is not None
    assert weighed.error[3].tolist() == [1.0, 0.5, 0.0]
    assert weighed.error[4].tolist() == [5.0, 0.0]
    assert by_attempts.weighed(losses, {}) is losses
    assert by_attempts.weighed(None, {3: 0.5}) is None


@pytest.mark.parametrize("n", [2, 3, 7, 9])
def test_images_that_were_split_are_joined_in_their_order(n: int) -> None:
    batches = tuple({"x": np.full((2, 1), k)} for k in range(n))
    images = Images("some", batches, 2 * n)
    fit, held = images.split()
    joined = fit.joined(held)
    assert [int(b["x"][0, 0]) for b in joined.batches] == list(range(n))
    assert joined.n == images.n


def network(last: str = "y = Gemm <transB = 1> (f, w4, b4)") -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,8,8] x) => (float[n,k] y) {{
      c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
      r1 = Relu (c1)
      c2 = Conv <pads = [1,1,1,1]> (r1, w2)
      r2 = Relu (c2)
      c3 = Conv (r2, w3)
      r3 = Relu (c3)
      a = GlobalAveragePool (r3)
      f = Flatten (a)
      {last}
    }}"""
    shapes: dict[str, Any] = {
        **{"w1": (12, 3, 3, 3), "b1": (12,), "w2": (16, 12, 3, 3), "w3": (14, 16, 1, 1)},
        **{"w4": (6, 14), "b4": (6,)},
    }
    weights = {k: RNG.standard_normal(s) / np.sqrt(np.prod(s[1:])) for k, s in shapes.items()}
    weights = {k: w for k, w in weights.items() if k in text}
    return onnx.shape_inference.infer_shapes(model(text, **weights))


def images(n: int = 96, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n, 3, 8, 8)).astype(np.float32)


def test_the_best_of_several_attempts_is_taken_and_fitted_to_all_images() -> None:
    proto = network()
    how: dict[str, Any] = {"macs_reduction": 0.5, "calibration": images()}
    pruned = rp.prune(proto, rp.Settings(**how, method="reconstruction", search=2.0))
    row = pruned.report["search"]
    assert row is not None
    assert row["attempts"] >= 2
    assert row["error"] <= row["error_first"]
    assert row["images"] >= 32
    assert any("attempts were made" in note for note in pruned.report["notes"])
    assert pruned.report["recovery"] is not None
    assert pruned.report["recovery"]["samples"] == 96
    assert pruned.report["verification"] is not None
    assert pruned.report["verification"]["passed"]
    assert abs(pruned.report["achieved"]["macs_reduction"] - 0.5) < 0.05
    plain = rp.prune(proto, rp.Settings(**how, method="reconstruction"))
    assert plain.report["search"] is None
    x = images(64, 5)
    a, b = (Session(m, optimize=False).run({"x": x})["y"] for m in (proto, pruned.model.proto))
    assert ((a - b) ** 2).mean() < 0.5 * a.var(axis=0).mean()


def test_late_errors_count_less_in_the_attempts_after_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[float]] = []

    def recorded(losses: Losses | None, weights: Mapping[int, float]) -> Losses | None:
        seen.append(list(weights.values()))
        return by_attempts.weighed(losses, weights)

    monkeypatch.setattr(pipeline, "weighed", recorded)
    rp.prune(network(), rp.Settings(macs_reduction=0.5, calibration=images(), search=2.0))
    assert seen[0] == [1.0, 1.0, 1.0]
    assert seen[1] == pytest.approx([1.0, 3 ** (-1 / 3), 3 ** (-2 / 3)])


def test_outputs_that_do_not_vary_tell_nothing() -> None:
    proto = network("z = Sub (f, f)\n y = Cast <to = 1> (z)")
    with pytest.raises(DataError, match="do not vary on the images"):
        rp.prune(proto, rp.Settings(macs_reduction=0.3, calibration=images(), search=1.0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"macs_reduction": 0.3}, "compares outputs on images"),
        (
            {"macs_reduction": 0.3, "calibration": "x.npz", "search": 0.0},
            "it is a number of seconds",
        ),
        (
            {"max_drop": 2.0, "calibration": "x.npz"},
            "--search goes with --macs-reduction",
        ),
        (
            {"latency_reduction": 0.3, "calibration": "x.npz"},
            "--search goes with --macs-reduction",
        ),
        (
            {"keep": "r.json", "calibration": "x.npz"},
            "--search goes with --macs-reduction",
        ),
        (
            {"sparsity": 0.3, "calibration": "x.npz", "allocation": "uniform"},
            "starts from losses: --allocation sensitivity",
        ),
    ],
)
def test_what_a_search_does_not_go_with_is_refused(options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        rp.Settings(**{"search": 5.0} | options)
