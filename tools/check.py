"""The one check command: format, lint, strict types, documentation, tests.

CI and a developer run the same.

    python tools/check.py            everything
    python tools/check.py -k cut     everything, but only the tests that match

Further arguments go to pytest.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "site": ["mkdocs", "build", "--strict", "--quiet"],
    "tests": ["pytest", "-q", "-n", "auto", "--doctest-modules", "reprune_onnx", "tests"],
}


def main(arguments: list[str]) -> int:
    """Run every step, also after a failure, and name those that failed."""
    failed = []
    for name, command in STEPS.items():
        extra = arguments if name == "tests" else []
        print(f"── {name}: {' '.join([*command, *extra])}", flush=True)
        start = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-m", *command, *extra], cwd=ROOT, check=False
        ).returncode
        print(f"   {'ok' if code == 0 else 'FAILED'} in {time.perf_counter() - start:.1f} s")
        if code:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
