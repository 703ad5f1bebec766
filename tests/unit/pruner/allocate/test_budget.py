"""The allocation within a budget, against brute force over all allocations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.pruner.allocate.budget_problem import BudgetProblem, solve_budget
from reprune_onnx.pruner.allocate.multilinear import Multilinear


def chain(rng: np.random.Generator, n: list[int], step: int = 1) -> BudgetProblem:
    """Layers in a row, each priced by the channels before and after it; convex-ish errors."""
    g = len(n)
    constant, slope = np.zeros((g + 1, 2)), np.zeros((g + 1, 2, g))
    constant[0, 0], constant[g, 1] = 3, 10
    for k in range(g):
        slope[k, 1, k] = slope[k + 1, 0, k] = 1
    factor = rng.integers(1, 20, g + 1).astype(float)
    choices = [np.arange(step, size + 1, step) for size in n]
    errors = []
    for values, size in zip(choices, n, strict=True):
        steps = rng.exponential(size=size) ** rng.uniform(1, 3)
        loss = np.append(np.cumsum(np.sort(steps))[::-1], 0.0)  # of 0 … n kept channels
        errors.append(loss[values] * rng.uniform(0.1, 1))
    return BudgetProblem(errors, choices, Multilinear(factor, constant, slope))


def best(problem: BudgetProblem, budget: float) -> float:
    ranges = [range(len(v)) for v in problem.choices]
    fitting = [
        np.array(index)
        for index in product(*ranges)
        if problem.cost(problem.kept(np.array(index))) <= budget
    ]
    return min(problem.loss(index) for index in fitting)


def loss_of(problem: BudgetProblem, kept: np.ndarray) -> float:
    index = [int(np.flatnonzero(v == k)[0]) for v, k in zip(problem.choices, kept, strict=True)]
    return problem.loss(np.array(index))


@settings(deadline=None, max_examples=60, database=None, derandomize=True)
@given(
    seed=st.integers(0, 9999),
    n=st.lists(st.integers(2, 8), min_size=2, max_size=4),
    share=st.floats(0.2, 0.95),
    step=st.integers(1, 2),
)
def test_never_over_the_budget(seed: int, n: list[int], share: float, step: int) -> None:
    problem = chain(np.random.default_rng(seed), n, step)
    full = problem.cost(np.array([v[-1] for v in problem.choices]))
    least = problem.cost(np.array([v[0] for v in problem.choices]))
    budget = max(share * full, least)
    kept = solve_budget(problem, budget)
    assert problem.cost(kept) <= budget
    assert all(k in v for k, v in zip(kept, problem.choices, strict=True))


def test_near_the_optimum() -> None:
    """Together within 3 % of what brute force loses: with so few channels, steps are coarse."""
    ratios = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        problem = chain(rng, rng.integers(6, 13, 3).tolist())
        budget = rng.uniform(0.3, 0.9) * problem.cost(np.array([v[-1] for v in problem.choices]))
        optimum = best(problem, budget)
        ratios.append(loss_of(problem, solve_budget(problem, budget)) / optimum)
    assert min(ratios) >= 1 - 1e-9, "brute force is not beaten"
    assert np.mean(ratios) < 1.03
    assert max(ratios) < 1.25


def test_everything_stays_where_the_budget_allows_it() -> None:
    problem = chain(np.random.default_rng(0), [4, 6, 5])
    full = problem.cost(np.array([4, 6, 5]))
    assert solve_budget(problem, full).tolist() == [4, 6, 5]
    assert solve_budget(problem, 10 * full).tolist() == [4, 6, 5]


def test_the_smallest_where_nothing_fits() -> None:
    problem = chain(np.random.default_rng(0), [4, 6, 5])
    assert solve_budget(problem, 0.0).tolist() == [1, 1, 1]


def test_a_channel_that_costs_most_for_what_it_gives_goes() -> None:
    """Two groups lose the same; one is ten times as dear."""
    errors = [np.array([3.0, 2.0, 1.0, 0.0])] * 2
    choices = [np.arange(1, 5)] * 2
    cost = Multilinear(np.array([10.0, 1.0]), np.zeros((2, 1)), np.eye(2)[:, None, :])
    kept = solve_budget(BudgetProblem(errors, choices, cost), 24.0)
    assert kept.tolist() == [2, 4]


def test_a_step_that_gains_nothing_alone_is_taken_with_the_next() -> None:
    """The first further channel gains nothing, three together gain all."""
    errors = [np.array([5.0, 5.0, 5.0, 0.0]), np.array([1.0, 0.9, 0.8, 0.7])]
    choices = [np.arange(1, 5)] * 2
    cost = Multilinear(np.ones(2), np.zeros((2, 1)), np.eye(2)[:, None, :])
    kept = solve_budget(BudgetProblem(errors, choices, cost), 5.0)
    assert kept.tolist() == [4, 1]


def test_errors_that_are_all_zero() -> None:
    choices = [np.arange(1, 5)] * 2
    cost = Multilinear(np.ones(2), np.zeros((2, 1)), np.eye(2)[:, None, :])
    problem = BudgetProblem([np.zeros(4)] * 2, choices, cost)
    assert solve_budget(problem, 5.0).sum() <= 5


@pytest.mark.parametrize("single", [3, 8])
def test_a_group_with_one_choice_keeps_it(single: int) -> None:
    rng = np.random.default_rng(1)
    problem = chain(rng, [8, 8, 8])
    choices = [problem.choices[0], np.array([single]), problem.choices[2]]
    errors = [problem.errors[0], problem.errors[1][[single - 1]], problem.errors[2]]
    fixed = BudgetProblem(errors, choices, problem.cost)
    budget = 0.6 * problem.cost(np.array([8, single, 8]))
    kept = solve_budget(fixed, budget)
    assert kept[1] == single
    assert problem.cost(kept) <= budget
