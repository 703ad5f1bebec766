"""Faults given to real processes: killed, interrupted, on a full disk, without rights, two at once.

    python tools/faults --runs 300 -o faults.json

Afterwards the source must be as it was, OUT old or new and never a part, no temporary file left
where the process could remove it, and the same command must end as if nothing had happened. Needs a
Unix; what needs root (a small tmpfs, another user) is left out, and named, where there is none.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from judge import broken
from rich.progress import track
from run import SIGNALS, STEPS, Fault, start, wait
from scenario import ARGUMENTS, SEED, Scenario, prepared, results, run

KINDS = ("at a moment", "at a moment", "while writing", "full", "full disk", "nobody", "twice")


class Faults:
    """Scenarios in a folder of their own, and what came of the faults so far."""

    def __init__(self, folder: Path, commands: list[str]) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.scenarios = [prepared(name, folder) for name in commands]
        self.root = os.geteuid() == 0
        self.disk = _tmpfs(folder / "disk") if self.root else None
        self.counts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.broken: dict[str, list[str]] = {}

    def one(self, number: int, rng: random.Random) -> None:
        """Run a command with a fault, judge, and run it again without."""
        scenario, kind = rng.choice(self.scenarios), rng.choice(KINDS)
        earlier = rng.random() < 0.5
        if kind == "twice" and scenario.name == "prune":
            self._twice(scenario, number, earlier)
            return
        if (kind == "nobody" and not self.root) or (kind == "full disk" and self.disk is None):
            return
        fault = _fault(kind, scenario, rng)
        where = self.disk if kind == "full disk" and self.disk else self.folder
        folder = where / f"run{number}"
        scenario.copy(folder, earlier)
        filling = _filled(folder, rng) if kind == "full disk" else None
        ended = run(folder, scenario.argv(earlier), fault)
        title = f"{scenario.name}: {fault.name}"
        if filling is not None:
            filling.unlink()
        self._note(number, title, broken(scenario, folder, fault, ended, earlier))
        self.ends[f"{title}: exit {ended.code}"] += 1
        done = {p: p.stat().st_mtime_ns for p in folder.glob("out/models/*.onnx")}
        finished = {p.stem for p in folder.glob("out/runs/*.json")}
        again = run(folder, scenario.argv(earlier=True), Fault("none"))
        if again.code or results(folder, scenario.name) != scenario.expected:
            self._note(number, title, [f"run again: exit {again.code} {again.said}"], again=True)
        twice = [
            p.name for p, t in done.items() if p.stem in finished and p.stat().st_mtime_ns != t
        ]
        self._note(number, title, [f"made again: {name}" for name in twice], again=True)
        shutil.rmtree(folder)

    def _twice(self, scenario: Scenario, number: int, earlier: bool) -> None:
        """Two runs that differ write the same OUT at once."""
        fault = Fault("none")
        folder = self.folder / f"run{number}"
        other = self.folder / "other"
        if not other.exists():
            scenario.copy(other, False)
            run(other, [*scenario.argv(False), *SEED], fault)
        scenario.copy(folder, earlier)
        lines = [scenario.argv(earlier), [*scenario.argv(earlier), *SEED]]
        children = [start(folder, argv, fault) for argv in lines]
        ended = [wait(child, fault) for child in children]
        now = results(folder, scenario.name)
        problems = [] if now in (scenario.expected, results(other, "prune")) else ["a mixed pair"]
        codes = sorted(e.code for e in ended)
        if codes not in ([0, 0], [0, 1]) or (earlier and codes != [0, 0]):
            problems.append(f"exit codes {codes}: {ended}")
        problems += [f"left behind: {p.name}" for p in folder.glob(".*")]
        self._note(number, "prune: two at once", problems)
        self.ends[f"prune: two at once: exits {codes}"] += 1
        shutil.rmtree(folder)

    def _note(self, number: int, title: str, problems: list[str], again: bool = False) -> None:
        if not again:
            self.counts[title] += 1
        if problems:
            self.broken.setdefault(f"{number} {title}", []).extend(problems)
            print(f"{number} {title}: {problems}"[:600], file=sys.stderr)


def _fault(kind: str, scenario: Scenario, rng: random.Random) -> Fault:
    name, number = rng.choice(list(SIGNALS.items()))
    if kind == "while writing":
        step = (rng.choice(STEPS), rng.choice((1, 2) if scenario.name != "sweep" else range(1, 14)))
        return Fault(f"{name} while writing", signal=number, step=step)
    if kind == "full":
        return Fault("full", size=rng.choice((0, 1, 1000, 8000)))
    if kind in ("full disk", "nobody"):
        return Fault("full" if kind == "full disk" else "nobody", nobody=kind == "nobody")
    seconds = rng.uniform(0, 1.1 * scenario.seconds)
    return Fault(f"{name} at a moment", signal=number, seconds=seconds)


def _filled(folder: Path, rng: random.Random) -> Path:
    """Fill the disk but for a few bytes, less than any model."""
    path = folder.parent / "filling"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    path.write_bytes(bytes(max(0, free - rng.choice((0, 4096, 8192)))))
    return path


def _tmpfs(path: Path) -> Path | None:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    return path if done.returncode == 0 else None


@contextlib.contextmanager
def faults(commands: list[str]) -> Iterator[Faults]:
    """Faults in a temporary folder, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="faults") as name:
        session = Faults(Path(name), commands)
        try:
            yield session
        finally:
            if session.disk is not None:
                subprocess.run(["umount", str(session.disk)], check=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(ARGUMENTS), help="only these")
    parser.add_argument("-o", "--out", type=Path, default=Path("faults.json"))
    args = parser.parse_args(argv)
    trained = find_spec("torch") and find_spec("lightning_fabric")
    commands = args.command or [c for c in ARGUMENTS if c != "finetune" or trained]
    with faults(commands) as session:
        for number in track(range(args.runs), "faults"):
            session.one(number, random.Random(f"{args.seed}:{number}"))
        facts = {
            "seed": args.seed,
            "commands": {s.name: round(s.seconds, 2) for s in session.scenarios},
            "tmpfs": session.disk is not None,
            "another user": session.root,
            "faults": sum(session.counts.values()),
            "by kind": dict(sorted(session.counts.items())),
            "ends": dict(sorted(session.ends.items())),
            "broken": session.broken,
        }
    args.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{facts['faults']} faults, {len(session.broken)} broken promises; {args.out}")
    return 1 if session.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
