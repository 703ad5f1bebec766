"""Branch coverage of the core by its tests, and every branch that none of them takes.

    python tools/branches.py --folder /tmp/branches --jobs 2

Needs `pip install pytest-cov`; PyTorch is not needed, pycocotools is for COCO's annotations. The
unit and property tests run with NUMBA_DISABLE_JIT=1, so that what numba compiles is seen too, and
the tests of whole commands as users run them; what either takes counts. Exits with 1 where a test
fails, or where less than `--least` percent of the core's branches are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "reprune_onnx"
CORE = ("analyzer", "data", "model.py", "pruner", "surgeon", "verification")
SUITES: dict[str, tuple[list[str], dict[str, str]]] = {
    "unit": (
        ["tests/unit", "tests/property", "--ignore=tests/unit/training"],
        {"NUMBA_DISABLE_JIT": "1"},
    ),
    "commands": (["tests/e2e", "--ignore=tests/e2e/training"], {}),
}


def run(suite: str, folder: Path, jobs: int) -> None:
    """Run the tests of a suite; what they take stands in ``folder``."""
    tests, more = SUITES[suite]
    options = [f"--cov={PACKAGE}", "--cov-branch", "--cov-report=", "-q", "-n", str(jobs)]
    environment = {**os.environ, **more, "COVERAGE_FILE": str(folder / f"{suite}.data")}
    command = [sys.executable, "-m", "pytest", *tests, *options]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        sys.exit(f"not all tests of {', '.join(tests)} pass: what they take says nothing")


def combined(folder: Path) -> dict[str, Any]:
    """The branches that all suites together take, by file."""
    environment = {**os.environ, "COVERAGE_FILE": str(folder / "all.data")}
    coverage = [sys.executable, "-m", "coverage"]
    report = folder / "all.json"
    files = [str(folder / f"{suite}.data") for suite in SUITES]
    for arguments in (["combine", "--keep", *files], ["json", "-q", "-o", str(report)]):
        subprocess.run([*coverage, *arguments], cwd=ROOT, env=environment, check=True)
    files_found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    return {name.split(f"{PACKAGE}/", 1)[1]: counts for name, counts in files_found.items()}


def show(files: dict[str, Any]) -> float:
    """Print the table and what is missing; the percentage of the core's branches."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, counts in sorted(files.items()):
        part = name.split("/")[0]
        if part not in CORE:
            continue
        count = counts["summary"]
        shares = [count[k] for k in ("num_branches", "covered_branches")]
        shares += [count[k] for k in ("num_statements", "covered_lines")]
        totals[part] = [a + b for a, b in zip(totals[part], shares, strict=True)]
        lines = (ROOT / PACKAGE / name).read_text(encoding="utf-8").splitlines()
        for start, end in counts["missing_branches"]:
            there = lines[end - 1].strip() if end > 0 else "the end"
            print(f"{name}:{start}: {lines[start - 1].strip()}  →  {there}")
    print("\n| part | branches | taken, % | with lines, % |\n|---|---|---|---|")
    total = [sum(column) for column in zip(*totals.values(), strict=True)]
    for part, (branches, taken, statements, seen) in [*totals.items(), ("all", total)]:
        both = 100 * (taken + seen) / (branches + statements)
        print(f"| {part} | {branches:,} | {100 * taken / branches:.1f} | {both:.1f} |")
    return 100 * total[1] / total[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=None, help="keep the data here")
    parser.add_argument("--jobs", type=int, default=2, help="processes of pytest")
    parser.add_argument("--least", type=float, default=95.0, help="percent of branches")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="branches-"))
    folder.mkdir(parents=True, exist_ok=True)
    for suite in SUITES:
        run(suite, folder.resolve(), args.jobs)
    return 0 if show(combined(folder.resolve())) >= args.least else 1


if __name__ == "__main__":
    sys.exit(main())
