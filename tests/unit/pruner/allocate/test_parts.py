"""Layers that have only parts of a group's channels get suitable widths too."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

import reprune_onnx as rp
from reprune_onnx.pruner.allocate.parts import Parts, parts, suitable
from reprune_onnx.rounding import Rounding

PADDED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] x) => (float[1, 10] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w0)
  b = Relu (a)
  p = Pad (b, front)
  c = Conv <pads = [1, 1, 1, 1]> (b, w1)
  d = Add (p, c)
  e = Relu (d)
  m = GlobalAveragePool (e)
  f = Flatten (m)
  y = MatMul (f, w2)
}"""
"""A shortcut that pads 16 channels to 40, eight before and sixteen behind."""


@pytest.fixture
def padded():
    proto = parser.parse_model(PADDED)
    rng = np.random.default_rng(0)
    tensors = {
        "w0": rng.standard_normal((16, 3, 3, 3)),
        "w1": rng.standard_normal((40, 16, 3, 3)),
        "w2": rng.standard_normal((40, 10)),
    }
    for name, array in tensors.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    pads = np.array([0, 8, 0, 0, 0, 16, 0, 0])
    proto.graph.initializer.append(numpy_helper.from_array(pads, "front"))
    onnx.checker.check_model(proto, full_check=True)
    return rp.Model(proto)


def widths(model):
    return [len(layer.out_ids) for layer in rp.analyze(model).layers]


def test_the_parts_of_a_padded_shortcut(padded):
    channels = rp.analyze(padded, rp.Scope(residual="prune"))
    (group,) = [g for g in channels.groups if g.free.any()]
    split = parts(channels, group)
    assert sorted(split.size) == [16, 24]
    assert sorted((split.has @ split.size).tolist()) == [16, 40]


@pytest.mark.parametrize("method", ["reprune", "l1", "fpgm", "random"])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_every_width_is_a_multiple(padded, method, share):
    how = {"residual": "prune", "allocation": "uniform", "method": method, "recover": "none"}
    result = rp.prune(padded, rp.Settings(sparsity=share, round_to=8, **how))
    kept = widths(result.model)
    assert [n % 8 for n in kept[:2]] == [0, 0]
    assert kept[1] < 40
    assert result.report["rounding"]["exceptions"] == 0
    free = rp.prune(padded, rp.Settings(sparsity=share, **how))
    assert sum(kept) <= sum(widths(free.model)) + 16


def test_a_width_that_the_user_fixes_is_an_exception(padded):
    how = {"residual": "prune", "allocation": "uniform", "recover": "none"}
    layer = ((rp.analyze(padded).layers[1].name, 21),)
    result = rp.prune(padded, rp.Settings(sparsity=0.3, round_to=8, layer=layer, **how))
    assert widths(result.model)[1] == 21
    assert result.report["rounding"]["exceptions"] >= 1


@st.composite
def problems(draw):
    size = np.array(draw(st.lists(st.integers(1, 40), min_size=1, max_size=6)))
    rows = draw(st.lists(st.lists(st.integers(0, 2), min_size=len(size), max_size=len(size))))
    has = np.array([[1] * len(size), *[row for row in rows[:5] if any(row)]])
    wanted = np.array([draw(st.integers(0, int(n))) for n in size])
    least = np.array([draw(st.integers(0, int(n))) for n in wanted])
    rounding = Rounding(draw(st.sampled_from([2, 4, 8, 16])))
    return Parts(np.repeat(np.arange(len(size)), size), has), wanted, least, rounding


def allowed(split, numbers, least, rounding):
    """Whether all axes have suitable widths, none is empty, and enough stays."""
    axes = zip((split.has @ split.size).tolist(), (split.has @ numbers).tolist(), strict=True)
    return (numbers >= least).all() and all(k in rounding.choices(n, 1) for n, k in axes)


@settings(deadline=None, max_examples=150)
@given(problems())
def test_numbers_suit_all_axes_or_stay(problem):
    split, wanted, least, rounding = problem
    numbers = suitable(split, wanted, least, rounding)
    assert abs(numbers.sum() - wanted.sum()) <= rounding.step(len(split.of))
    if (numbers != wanted).any():
        assert allowed(split, numbers, least, rounding)


@settings(deadline=None, max_examples=60)
@given(problems())
def test_no_other_numbers_are_nearer(problem):
    split, wanted, least, rounding = problem
    if np.prod(split.size + 1) > 20_000:
        return
    numbers = suitable(split, wanted, least, rounding)
    every = np.stack(np.meshgrid(*[np.arange(n + 1) for n in split.size]), axis=-1)
    every = every.reshape(-1, len(split.size))
    apart = np.abs(every.sum(axis=1) - wanted.sum())
    every = every[apart <= rounding.step(len(split.of))]
    fits = [c for c in every if allowed(split, c, least, rounding)]
    if not fits:
        assert numbers.tolist() == wanted.tolist()
    else:

        def cost(c):
            return len(split.of) * abs(c.sum() - wanted.sum()) + np.abs(c - wanted).sum()

        assert cost(numbers) == min(cost(c) for c in fits)
