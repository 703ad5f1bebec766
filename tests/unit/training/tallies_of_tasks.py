"""Every tally that training counts with, and answers for it; run as a program, in one of several.

``python tallies_of_tasks.py MEETING RANK WORLD OUT``: each process takes in its part of the
answers, and writes down what `merged` makes of all.
"""

import json
import sys
from pathlib import Path

import numpy as np

from reprune_onnx.tasks import CLASSIFICATION, TASKS
from reprune_onnx.tasks.kinds import TargetReading

COUNTS = (17, 1)
"""Answers in all: of one, a second process has none."""


def answers_of(name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What a model gave for n images, and what it should have given."""
    rng = np.random.default_rng(n)
    unknown = rng.random((n, 3)) < 0.2
    unknown[0] = False
    flags = rng.integers(0, 2, (n, 3)).astype(np.float32)
    flags[0] = 1
    return {
        "classification": (rng.standard_normal((n, 7)), rng.integers(0, 7, n)),
        "semantic-segmentation": (rng.integers(0, 4, (n, 4, 4)), rng.integers(-1, 3, (n, 4, 4))),
        "regression": (
            rng.standard_normal((n, 3)),
            np.where(unknown, np.nan, rng.standard_normal((n, 3))),
        ),
        "multi-label": (rng.standard_normal((n, 3)), np.where(unknown, np.nan, flags)),
    }[name]


def tallies(n: int, part: slice):
    """Pairs of a name and a tally that has taken in ``part`` of n answers."""
    for kind in (CLASSIFICATION, *TASKS.values()):
        for what, tally in (("labels", kind.tally(TargetReading())), ("answers", kind.agreement())):
            given, wanted = (a[part] for a in answers_of(kind.name, n))
            if what == "answers" and kind.name == "multi-label":
                wanted = np.nan_to_num(wanted) - 0.5
            if len(given):
                tally.add(given, wanted)
            yield f"{kind.name}, {what}, {n}", tally


def main(meeting: str, rank: int, world: int, out: str) -> None:
    """Count a part of the answers, put all together, and write what comes of it."""
    import torch

    from reprune_onnx.training.judge import merged

    where = {"init_method": f"file://{meeting}", "rank": rank, "world_size": world}
    torch.distributed.init_process_group("gloo", **where)
    parts = [pair for n in COUNTS for pair in tallies(n, slice(rank, None, world))]
    together = {name: merged(tally).scores() for name, tally in parts}
    torch.distributed.destroy_process_group()
    Path(out).write_text(json.dumps(together))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
