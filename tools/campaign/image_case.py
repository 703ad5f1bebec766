"""One case of the campaign that chooses channels by images, and recovers what was lost.

The random graphs of `random_case`, with the methods, coverages and allocations that measure. What
is cut is judged as there. Then the same pruning is recovered, which must change no cut and leave
outputs of the original's shapes, finite where the original's are.
"""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import random_case
from judgement import Judgement
from masked_oracle import random_images, run
from outcome import Outcome
from random_graphs import build
from random_recipes import MORE_INPUTS, SIDE

import reprune_onnx as rp
from reprune_onnx.choices import Allocation, CoverageOption, Method

absent = random_case.absent
RECOVERIES = ("least-squares", "batch-norm", "data-free")
IMAGES = 24


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """A folder with a file of random images, as long as this process lasts."""
    made = tempfile.TemporaryDirectory(prefix="campaign")
    x = np.random.default_rng(0).standard_normal((IMAGES, 3, SIDE, SIDE))
    np.savez(Path(made.name) / "images.npz", x=x.astype(np.float32))
    return made


def case(seed: int, number: int) -> random_case.Case:
    """Return the case of this number, always the same."""
    graph_case = random_case.case(seed, number)
    blocks = tuple(b for b in graph_case.recipe.blocks if b.kind not in MORE_INPUTS)
    rng = random.Random(f"images {seed}:{number}")
    request = replace(
        graph_case.request,
        calibration=f"{folder().name}/images.npz",
        calibration_size=IMAGES,
        preprocess="none",
        input_shapes=random_case.GIVEN,
        method=rng.choice(get_args(Method)),
        coverage=rng.choice(get_args(CoverageOption)),
        allocation=rng.choice(get_args(Allocation)),
        recover=rng.choice(RECOVERIES),
        verify=False,
    )
    return random_case.Case(replace(graph_case.recipe, blocks=blocks), request)


def outcomes(seed: int, first: int, n: int) -> tuple[list[Outcome], float]:
    """Cases ``first`` to ``first + n - 1``, and the CPU seconds that they took."""
    start = time.process_time()
    return [tried(case(seed, k)) for k in range(first, first + n)], time.process_time() - start


def tried(case: random_case.Case) -> Outcome:
    """Prune, let the judge compare, and recover."""
    original, request = build(case.recipe), case.request
    seen = (request.method, f"allocation {request.allocation}", f"recover {request.recover}")
    try:
        unrecovered = rp.prune(rp.Model(original), replace(request, recover="none"))
        verdict = _judged(original, unrecovered, request)
        recovered = rp.prune(rp.Model(original), request)
        wrong = verdict.wrong or _wrong(original, unrecovered, recovered)
    except rp.SelectionError as error:
        return Outcome("refused", str(error), seen)
    except Exception as error:  # whatever it is, the campaign reports it and goes on
        return Outcome("failed", f"{type(error).__name__}: {error}", seen)
    if wrong:
        return Outcome("failed", wrong, seen)
    return Outcome("exact", "", seen, verdict.apart)


def _judged(original: onnx.ModelProto, result: rp.Pruned, request: rp.Settings) -> Judgement:
    """The judgement of a cut; by the tool's own proof where it is of axes of another basis.

    The masked original of such a cut cannot be made from the file and the report alone.
    """
    if not result.report["turned"]:
        return random_case.judged(original, result, control=False)
    proof = rp.prune(rp.Model(original), replace(request, recover="none", verify=True))
    verified = proof.report["verification"]
    return Judgement(verified["max_abs_diff"] / max(verified["scale"], 1.0))


def show(seed: int, number: int) -> int:
    """Try one case again; where it fails, print the smallest that does."""
    return random_case.shown(case(seed, number), tried)


def _wrong(original: onnx.ModelProto, unrecovered: rp.Pruned, recovered: rp.Pruned) -> str:
    """The first fault of a recovery; nothing where there is none."""
    cuts: list[Any] = [result.report["cuts"] for result in (unrecovered, recovered)]
    if cuts[0] != cuts[1]:
        return "recovery changed the cuts"
    onnx.checker.check_model(recovered.model.proto, full_check=True)
    feeds = random_images(1, original)
    for before, after in zip(
        run(original, feeds)[0], run(recovered.model.proto, feeds)[0], strict=True
    ):
        if before.shape != after.shape:
            return f"an output of shape {after.shape}, not {before.shape}"
        if np.isfinite(before).all() and not np.isfinite(after).all():
            return "recovery made an output that is not finite"
    return ""
