"""One case of the campaign over random graphs: a graph of the rule table, randomly pruned."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import judgement
import onnx
from judgement import Judgement
from masked_oracle import (
    Feeds,
    computed,
    constants,
    prune_and_prove,
    random_images,
)
from outcome import Outcome
from random_graphs import build
from random_recipes import BATCH, SIDE, Recipe, random_recipe

import reprune_onnx as rp
from reprune_onnx.choices import (
    Allocation,
    CoverageOption,
    Cutoff,
    InputChannels,
    Linkage,
    Method,
    Residual,
    TieBreak,
)

NO_IMAGES = {"reconstruction", "sensitivity", "energy"}  # what would need images
CONTROL_EVERY = 50
"""The share of cases of which a wrong pruning is judged too."""
GIVEN = (("x", (BATCH, 3, SIDE, SIDE)),)
UNSIZED = 0.1
"""The share of graphs with open sizes of which none is given: the tool finds sizes that fit."""

KEPT_OPTIONS = {"sparsity", "macs_reduction", "params_reduction", "input_shapes"}
"""The options that stay as they are when a case that fails is simplified."""


@dataclass(frozen=True)
class Case:
    """A graph, and how it is pruned."""

    recipe: Recipe
    request: rp.Settings
    control: bool = False


def case(seed: int, number: int) -> Case:
    """Return the case of this number, always the same."""
    rng = random.Random(f"{seed}:{number}")
    recipe, request = random_recipe(rng), random_request(rng)
    if recipe.dense and request.exclude:
        request = replace(request, exclude=("MatMul1",))  # the stem, which is no Conv
    if recipe.symbolic and rng.random() < UNSIZED:
        request = replace(request, input_shapes=())
    return Case(recipe, request, number % CONTROL_EVERY == 0)


def random_request(rng: random.Random) -> rp.Settings:
    """Any options of `prune` that need no images; in a quarter of the cases it verifies the cut."""

    def one(of: Any) -> Any:
        return rng.choice([choice for choice in get_args(of) if choice not in NO_IMAGES])

    options: dict[str, Any] = {
        "sparsity": rng.choice((0.1, 0.2, 0.3, 0.5, 0.7, 0.9)),
        "method": one(Method),
        "coverage": one(CoverageOption),
        "linkage": one(Linkage),
        "cutoff": one(Cutoff),
        "tie_break": one(TieBreak),
        "allocation": one(Allocation),
        "residual": one(Residual) if rng.random() < 0.5 else "prune",
        "input_channels": one(InputChannels),
        "min_channels": rng.choice((None, 0, 0, 2, 3)),
        "round_to": rng.choice((None, None, None, 1, 2, 4)),
        "seed": rng.randrange(4),
    }
    if rng.random() < 0.2:
        options["exclude"] = ("Conv0",)
    if rng.random() < 0.2:  # what can be reached differs: a small share mostly can
        del options["sparsity"]
        options[rng.choice(("macs_reduction", "params_reduction"))] = rng.choice((0.05, 0.1, 0.2))
    verify = rng.random() < 0.25
    options["norm_statistics"] = rng.choice(("kept", "lock"))
    return rp.Settings(
        **options,
        recover="none",
        verify=verify,
        input_shapes=GIVEN,
    )


def outcomes(seed: int, first: int, n: int) -> tuple[list[Outcome], float]:
    """Cases ``first`` to ``first + n - 1``, and the CPU seconds that they took."""
    start = time.process_time()
    outcomes_ = [tried(case(seed, k)) for k in range(first, first + n)]
    return outcomes_, time.process_time() - start


def tried(case: Case) -> Outcome:
    """Prune, and let the judge compare."""
    original = build(case.recipe)
    before = original.SerializeToString(deterministic=True)
    ops = tuple(sorted({node.op_type for node in original.graph.node}))
    try:
        result, proven = prune_and_prove(original, case.request)
        verdict = judged(original, result, case.control)
    except rp.SelectionError as error:
        return Outcome("refused", str(error), ops)
    except Exception as error:  # whatever it is, the campaign reports it and goes on
        return Outcome("failed", f"{type(error).__name__}: {error}", ops)
    if original.SerializeToString(deterministic=True) != before:
        return Outcome("failed", "the source was changed", ops)
    if verdict.wrong:
        return Outcome("failed", verdict.wrong, ops)
    hidden = case.request.verify and not proven
    seen = (*ops, "(hardly shows)") if hidden else ops
    seen = (*seen, "(amplifies rounding)") if verdict.rounding else seen
    seen = (*seen, *_traits(case, ops))
    return Outcome("exact", "", seen, verdict.apart, verdict.control)


def _traits(case: Case, ops: Collection[str]) -> Iterator[str]:
    """The traits of a case to count beside its ops."""
    recipe = case.recipe
    if not any(op in ops for op in ("Conv", "ConvTranspose", "FusedConv")):
        yield "(no Conv)"
    if recipe.shuffled:
        yield "(nodes not sorted)"
    if not case.request.input_shapes:
        yield "(sizes not given)"
    yield from sorted({f"(block {b.kind})" for b in recipe.blocks})


def judged(original: onnx.ModelProto, result: rp.Pruned, control: bool) -> Judgement:
    """Compare a pruned file with the masked original, and with a wrong one as ``control``."""
    small = result.model.proto
    onnx.checker.check_model(small, full_check=True)
    empty = {t.name for t in original.graph.initializer if 0 in t.dims}
    lost = [t.name for t in small.graph.initializer if 0 in t.dims and t.name not in empty]
    assert not lost, f"nothing is left of {lost}"
    images = random_images(2, original)
    control = control and bool(result.report["cuts"])
    wrong = _shifted(original, result, images[0]) if control else None
    return judgement.judged(original, result, images, wrong)


def _shifted(original: onnx.ModelProto, result: rp.Pruned, feeds: Feeds) -> rp.Pruned:
    """The report of another cut: every channel but the last is taken for the next one."""
    wrong = deepcopy(result)
    cuts = wrong.report["cuts"]
    made = {name for node in original.graph.node for name in node.output}
    arrays = constants(original)
    arrays |= computed(original, {c["initializer"] for c in cuts} & made - arrays.keys(), feeds)
    for cut in cuts:
        array = arrays.get(cut["initializer"], arrays.get(cut.get("source")))
        if array is not None:
            n = array.shape[cut["axis"]]
            cut["keep"] = [(k + 1) % n for k in cut["keep"]]
    return wrong


def shrunk(case: Case, attempt: Callable[[Case], Outcome] = tried) -> Case:
    """Return the smallest case that still fails, by leaving out and simplifying while it does."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(case):
            if attempt(candidate).end == "failed":
                case, smaller = candidate, True
                break
    return case


def absent() -> str:
    """Nothing has to be there but the tool."""
    return ""


def show(seed: int, number: int) -> int:
    """Try one case again; where it fails, print the smallest that does."""
    return shown(case(seed, number), tried)


def shown(case: Case, attempt: Callable[[Case], Outcome]) -> int:
    """Print what comes of a case, and the smallest that fails; the exit code."""
    outcome = attempt(case)
    print(f"{outcome.end} {outcome.detail}\n{case.recipe}\n{case.request}")
    if outcome.end != "failed":
        return 0
    case = shrunk(case, attempt)
    print(f"made small:\n{attempt(case).detail}\n{case.recipe}\n{case.request}")
    return 1


def _simpler(case: Case) -> Iterator[Case]:
    recipe, request = case.recipe, case.request
    blocks = recipe.blocks
    for k, block in enumerate(blocks):
        yield replace(case, recipe=replace(recipe, blocks=blocks[:k] + blocks[k + 1 :]))
        narrow = (*blocks[:k], replace(block, width=2), *blocks[k + 1 :])
        if narrow != blocks:
            yield replace(case, recipe=replace(recipe, blocks=narrow))
    simplest = Recipe((), stem=4, head="conv", opset=17, seed=0)
    for field in fields(Recipe)[1:]:
        value = getattr(simplest, field.name)
        if value != getattr(recipe, field.name):
            yield replace(case, recipe=replace(recipe, **{field.name: value}))
    usual = rp.Settings(sparsity=0.5, method="l1", allocation="uniform", recover="none")
    for field in fields(rp.Settings):
        value = getattr(usual, field.name)
        if field.name not in KEPT_OPTIONS and value != getattr(request, field.name):
            yield replace(case, request=replace(request, **{field.name: value}))
