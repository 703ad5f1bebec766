"""Campaigns against wrong output: many cases, each with its number, in a file of figures.

    python tools/campaign graphs --cases 100000 --jobs 2 -o graphs.json
    python tools/campaign graphs --case 4711     # one of them again, made small where it fails
    python tools/campaign images --cases 1000 -o images.json
    python tools/campaign files --cases 1000 -o files.json

`graphs`: random graphs over the whole rule table, pruned with random options and compared with the
masked original by a judge that knows nothing of labels. `images`: the same graphs, their channels
chosen by images, and recovered. `files`: the files of ../shared/models with attributes, shapes,
wiring and ops changed, which are pruned exactly or refused in one line. The same command goes on
where it was stopped. Exit code 1 where a case failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # cases are shared out, not products
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("", "tests", "tests/property", "tools/fuzz", "tools/campaign")
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]

import image_case
import mutated_case
import random_case
from judgement import ALLOWED
from outcome import Outcome, Summary
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

KINDS = {"graphs": random_case, "images": image_case, "files": mutated_case}
CHUNK = 20
SAVED_EVERY = 20.0  # seconds


def chunks(
    work: Callable[..., tuple[list[Outcome], float]], seed: int, cases: range, jobs: int
) -> Iterator[tuple[list[Outcome], float]]:
    """The chunks in order, made by some processes."""
    starts = range(cases.start, cases.stop, CHUNK)
    sizes = [min(CHUNK, cases.stop - k) for k in starts]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, [seed] * len(sizes), starts, sizes)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--cases", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("-o", "--out", type=Path, default=Path("campaign.json"))
    parser.add_argument("--case", type=int, metavar="K", help="only this case, again")
    args = parser.parse_args(argv)
    kind = KINDS[args.kind]
    if reason := kind.absent():
        sys.exit(reason)
    if args.case is not None:
        return kind.show(args.seed, args.case)
    try:
        summary = Summary.read(args.out, args.kind, args.seed)
    except ValueError as error:
        sys.exit(str(error))
    saved = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(args.kind, total=args.cases, completed=summary.cases)
        wanted = range(summary.cases, args.cases)
        for outcomes, seconds in chunks(kind.outcomes, args.seed, wanted, args.jobs):
            before = set(summary.failed)
            summary.add(outcomes, seconds, ALLOWED)
            for number in summary.failed.keys() - before:
                bar.print(f"case {number}: {summary.failed[number]}")
            bar.update(task, completed=summary.cases)
            if time.monotonic() - saved > SAVED_EVERY:
                summary.write(args.out)
                saved = time.monotonic()
    summary.write(args.out)
    print(f"{summary.cases} cases: {summary.exact} exact, {sum(summary.refused.values())} refused,")
    print(f"{len(summary.failed)} failed; {args.out}")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
