"""A criterion and a recovery method of one's own: a function each, given to `Settings`."""

from __future__ import annotations

from typing import get_args

import numpy as np
import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.choices import Method, Recover
from reprune_onnx.pruner.select import METHODS as CRITERIA
from reprune_onnx.recovery.methods import METHODS as RECOVERIES


def first(problem: rp.Problem, options: rp.SelectOptions, rng: np.random.Generator) -> np.ndarray:
    """The first channels, and before them those that have to stay."""
    return np.argsort(~problem.fixed, kind="stable")[: problem.n_keep]


def doubled(work) -> dict[str, np.ndarray]:
    """Twice the weights of every layer that reads what was cut."""
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in work.pruned.proto.graph.initializer}
    return {step.weight: 2 * arrays[step.weight] for step in work.steps}


def test_a_criterion_of_ones_own(demo):
    how = rp.Settings(sparsity=0.5, method=first, recover="none", allocation="uniform")
    report = rp.prune(demo, how).report
    assert report["verification"]["passed"]
    kept = [cut["keep"] for cut in report["cuts"]]
    assert kept and all(keep == list(range(len(keep))) for keep in kept)
    assert report["settings"]["method"] == f"{__name__}.first"
    same = rp.Settings(sparsity=0.5, method=rp.Criterion(first), recover="none", verify=False)
    assert str(same.method) == f"{__name__}.first"
    others = rp.prune(demo, rp.Settings(sparsity=0.5, recover="none", verify=False)).report
    assert others["cuts"] != report["cuts"], "the control: reprune keeps others"


def test_a_recovery_method_of_ones_own(demo, digits):
    how = {"sparsity": 0.5, "verify": False}
    before = rp.prune(demo, rp.Settings(recover="none", **how)).model.proto
    pruned = rp.prune(demo, rp.Settings(recover=doubled, **how))
    report = pruned.report["recovery"]
    assert report["method"] == f"{__name__}.doubled" and report["layers"] > 3
    unrepaired, twice = (
        {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
        for proto in (before, pruned.model.proto)
    )
    changed = [name for name in unrepaired if not np.array_equal(unrepaired[name], twice[name])]
    assert len(changed) == report["layers"]
    assert all(np.array_equal(2 * unrepaired[name], twice[name]) for name in changed)


def test_one_that_needs_images_gets_them_and_the_error_is_measured(demo, digits):
    seen = []

    def look(work):
        seen.append(work.images.n)
        return {}

    row = rp.RecoveryMethod(look, needs_images=True)
    how = {"sparsity": 0.5, "verify": False, "allocation": "uniform", "recover": row}
    images = np.load(digits)["x_train"][:32]
    report = rp.prune(demo, rp.Settings(calibration=images, **how)).report["recovery"]
    assert seen == [32] and report["error_before"] == report["error_after"]
    with pytest.raises(rp.UsageError, match="needs images"):
        rp.Settings(**how)


@pytest.mark.parametrize(
    ("field", "row", "says"),
    [
        ("method", lambda *_: [0, 0], "keeps 2 channels, [0, 0]: it has to keep"),
        ("method", lambda p, *_: np.arange(p.n), "each once"),
        ("recover", lambda work: {"no such": np.zeros(1)}, "it is no constant"),
        ("recover", lambda work: {work.steps[0].weight: np.zeros(1)}, "it has ("),
    ],
)
def test_what_a_row_returns_is_checked(demo, field, row, says):
    how = {"recover": "none", "verify": False} | {field: row}
    with pytest.raises((rp.SelectionError, rp.DataError)) as error:
        rp.prune(demo, rp.Settings(sparsity=0.5, **how))
    assert says in str(error.value) and "<lambda>" in str(error.value)


def test_the_words_are_the_rows():
    assert set(get_args(Method)) == set(CRITERIA)
    assert set(get_args(Recover)) == {"auto", *RECOVERIES}


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_a_criterion_that_needs_losses_needs_images(name):
    if CRITERIA[name].needs == "losses":
        with pytest.raises(rp.UsageError, match="needs images"):
            rp.Settings(sparsity=0.5, method=name)
    else:
        rp.Settings(sparsity=0.5, method=name)


@pytest.mark.parametrize("name", sorted(RECOVERIES))
def test_a_recovery_that_needs_images_is_refused_without(name):
    if RECOVERIES[name].needs_images:
        with pytest.raises(rp.UsageError, match="needs images"):
            rp.Settings(sparsity=0.5, recover=name)
    else:
        rp.Settings(sparsity=0.5, recover=name)


def test_a_sweep_from_python(demo, digits, tmp_path):
    images = np.load(digits)["x_train"][:60]
    how = rp.Settings(macs_reduction=0.3, calibration=images, allocation="uniform", verify=False)
    varied = {"macs_reduction": [0.2, 0.4], "method": ["l1"], "recover": ["none"]}
    rows = rp.sweep(onnx.load(demo), tmp_path / "out", how, varied)
    assert [row["macs_reduction"] for row in rows] == [0.2, 0.4]
    assert all("error" not in row and row["agreement"] > 10 for row in rows)
    assert (tmp_path / "out" / "sweep.json").is_file()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()}
    assert rp.sweep(onnx.load(demo), tmp_path / "out", how, varied) == rows
    assert files == {path: path.stat().st_mtime_ns for path in files}, "nothing ran again"
    for wrong, says in (
        ({"colour": [1]}, "a sweep cannot vary '"),
        ({"method": "l1"}, "varied['method'] takes a list"),
        ([0.3], "varied takes a dict"),
    ):
        with pytest.raises(rp.UsageError) as error:
            rp.sweep(demo, tmp_path / "out", how, wrong)
        assert says in str(error.value)
    with pytest.raises(rp.UsageError, match="a sweep needs targets"):
        rp.sweep(demo, tmp_path / "out", rp.Settings(sparsity=0.5), {})
