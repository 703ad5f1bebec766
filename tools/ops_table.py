"""Write docs/ops.md from the table of op rules; ``--check`` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reprune_onnx.analyzer.rules import TABLE

TARGET = ROOT / "docs" / "ops.md"
HEAD = """# What every op does to channels

Made by `python tools/ops_table.py` from the table in `reprune_onnx/analyzer/rules/`. An op that is
not listed locks the channels that reach it, and `reprune-onnx analyze` names the node.

| ops | rule |
|---|---|
"""


def table() -> str:
    """Return the page: one row per line of the rule table, described by the rule's docstring."""
    rows = []
    for names, rule in TABLE:
        promise = " ".join((rule.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| {', '.join(f'`{n}`' for n in names.split())} | {promise} |")
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    if "--check" in sys.argv:
        return int(TARGET.read_text(encoding="utf-8") != table())
    TARGET.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
