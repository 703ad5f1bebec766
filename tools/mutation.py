"""Mutation testing of the parts where a silent mistake costs most: does a test notice each change?

    python tools/mutation.py quantile
    python tools/mutation.py plan --folder /tmp/plan --jobs 2

Mutants are made and run by mutmut (`pip install 'mutmut>=3.8'`; not on Windows), in a copy of the
repository, with the tests named below. It changes operators, numbers, strings, arguments and
assigned values inside functions, not constants of a module. Called again with the same folder it
goes on where it stopped; what was tried is not tried again. The lines of what survives are printed;
docs/reliability.md says why none of them matters.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SURGEON = ("tests/unit/test_surgeon.py", "tests/unit/surgeon")
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "quantile": (
        "reprune_onnx/pruner/allocate/quantile.py",
        ("tests/unit/pruner/allocate/test_quantile.py",),
    ),
    "coverage": ("reprune_onnx/pruner/select/coverage.py", ("tests/unit/pruner/test_coverage.py",)),
    "groups": ("reprune_onnx/analyzer/groups.py", ("tests/unit/analyzer/test_groups.py",)),
    "plan": ("reprune_onnx/surgeon/plan.py", SURGEON),
    "edit": ("reprune_onnx/surgeon/edit.py", SURGEON),
    "surgeon": ("reprune_onnx/surgeon/__init__.py", SURGEON),
}


def prepare(folder: Path, module: str) -> None:
    """Copy what the tests read to ``folder``, and tell mutmut what to change and what to run."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("reprune_onnx", "tests"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=ignored)
    for file in (ROOT / "pyproject.toml", ROOT / "conftest.py"):
        shutil.copy2(file, folder)
    source, tests = MODULES[module]
    options = {
        "source_paths": ["reprune_onnx"],
        "only_mutate": [source],
        "also_copy": ["conftest.py"],
        "pytest_add_cli_args_test_selection": list(tests),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-seed=0"],
        "timeout_constant": ["5"],  # seconds beyond what the tests take
        "timeout_multiplier": ["4"],
        "use_git_change_detection": ["false"],
    }
    lines = [f"{key} =\n    " + "\n    ".join(values) for key, values in options.items()]
    (folder / "setup.cfg").write_text("[mutmut]\n" + "\n".join(lines) + "\n")


def mutmut(folder: Path, *arguments: str) -> str:
    """Run mutmut in ``folder`` and return what it printed; its progress goes to the terminal."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    run = arguments[0] == "run"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mutmut")), *arguments],
        cwd=folder,
        env=environment,
        check=True,
        text=True,
        stdout=None if run else subprocess.PIPE,
    )
    return done.stdout or ""


def report(folder: Path, module: str) -> None:
    """Print the changed lines of each survivor, then the counts."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    mutmut(folder, "export-cicd-stats")
    counts = json.loads((folder / "mutants/mutmut-cicd-stats.json").read_text())
    lines = mutmut(folder, "results").splitlines()
    os.chdir(folder)  # where mutmut looks for its files
    for line in lines:
        name, _, _ = line.strip().partition(": ")
        diff = get_diff_for_mutant(name, path=MODULES[module][0]).splitlines()[2:]
        print(f"── {line.strip()}", *(d for d in diff if d[:1] in "+-"), sep="\n")
    left = counts["survived"] + counts["no_tests"] + counts["suspicious"]
    killed = counts["killed"] + counts["segfault"]
    print(
        f"{module}: {counts['total']} mutants, {killed} killed, {left} survived, "
        f"{counts['timeout']} timeouts"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", choices=sorted(MODULES))
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once (default: 1)")
    given = parser.parse_args()
    if importlib.util.find_spec("mutmut") is None:
        parser.error("mutmut is not installed here: pip install 'mutmut>=3.8'")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, given.module)
        mutmut(folder, "run", "--max-children", str(given.jobs))
        report(folder, given.module)


if __name__ == "__main__":
    main()
