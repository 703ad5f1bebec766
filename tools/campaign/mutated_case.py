"""One case of the campaign over real files whose attributes and shapes were changed.

The command must keep its promises (`tools/fuzz/promise.py`), and what it writes must compute what
the judge's masked original computes.
"""

from __future__ import annotations

import json
import random
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from judgement import Judgement, judged
from masked_oracle import Feeds
from outcome import Outcome
from promise import PRUNED, Target, kept, mutated
from seeds import HALF
from structure import structure

import reprune_onnx as rp
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.sizes.fitting import fitting_shapes

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "models"
FILES = (
    *("fastestdet", "person_reid_0248", "ppocr_cls_v2", "resnet20_cifar10_bn"),
    *("resnet20_cifar10_dynamo", "resnet20_cifar10_folded", "rfb320", "yunet_n_dynamic"),
    *("zoo_vittracker",),
)
"""Small ones, of eight exporters: a pruning takes less than a second of CPU time."""
NAME = "model.onnx"


@cache
def target(name: str) -> Target:
    """Prune this file."""
    return Target(
        ((FOLDER / f"{name}.onnx").read_bytes(),),
        structure,
        NAME,
        lambda path: (
            "prune",
            path,
            "-o",
            "out.onnx",
            *HALF,
            "--residual",
            "prune",
            "--norm-statistics",
            "lock",
        ),
        PRUNED,
    )


def outcomes(seed: int, first: int, n: int) -> tuple[list[Outcome], float]:
    """Cases ``first`` to ``first + n - 1``, and the CPU seconds that they took."""
    start = time.process_time()
    return [tried(seed, k) for k in range(first, first + n)], time.process_time() - start


def tried(seed: int, number: int) -> Outcome:
    """Change a file, prune it, and let the judge compare what was written."""
    name = FILES[number % len(FILES)]
    seed_file = target(name)
    data = changed(seed, number)
    judgements: list[Judgement] = []
    try:
        refusal = kept(seed_file, data, lambda folder: judgements.append(_judged(folder)))
    except Exception as error:  # whatever it is, the campaign reports it and goes on
        return Outcome("failed", f"{name}: {type(error).__name__}: {error}", (name,))
    if refusal:
        return Outcome("refused", refusal, (name,))
    if judgements[0].wrong:
        return Outcome("failed", f"{name}: {judgements[0].wrong}", (name,))
    seen = (name, "(amplifies rounding)") if judgements[0].rounding else (name,)
    return Outcome("exact", "", seen, judgements[0].apart)


def changed(seed: int, number: int) -> bytes:
    """Return the file of this case."""
    seed_file = target(FILES[number % len(FILES)])
    draw = random.Random(f"{seed}:{number}").randrange(2**32)
    return mutated(seed_file.seeds[0], draw, seed_file, lambda data, most: data)


def _judged(folder: Path) -> Judgement:
    original, small = onnx.load(folder / NAME), onnx.load(folder / "out.onnx")
    report = json.loads((folder / "out.report.json").read_text(encoding="utf-8"))
    return judged(original, rp.Pruned(rp.Model(small), report), _inputs(original))


def _inputs(model: onnx.ModelProto) -> list[Feeds]:
    ports = Session(model, optimize=False, threads=1).inputs
    shapes = fitting_shapes(model, {}).shapes
    return [random_inputs(ports, shapes, np.random.default_rng(k)) for k in (100, 101)]


def absent() -> str:
    """Why there can be no such campaign here, or nothing."""
    missing = [name for name in FILES if not (FOLDER / f"{name}.onnx").is_file()]
    return f"{FOLDER} lacks {', '.join(missing)}" if missing else ""


def show(seed: int, number: int) -> int:
    """Try one case again; where it fails, keep its file."""
    outcome = tried(seed, number)
    print(f"{outcome.end} {outcome.detail}", file=sys.stderr)
    if outcome.end != "failed":
        return 0
    path = Path(f"case-{seed}-{number}.onnx")
    path.write_bytes(changed(seed, number))
    print(f"its file: {path}", file=sys.stderr)
    return 1
