"""Write docs/ops.md and the README's list of ops from the table of op rules.

``--check`` writes nothing and fails where they are out of date.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reprune_onnx.analyzer.rules import TABLE

TARGET = ROOT / "docs" / "ops.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- ops: made by tools/ops_table.py -->", "<!-- end of ops -->"
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


def readme() -> str:
    """Return the README with the names of all ops that have a rule between its two marks."""
    domains: dict[str, list[str]] = {}
    for names, _ in TABLE:
        for name in names.split():
            domain, _, kind = name.rpartition("::")
            domains.setdefault(domain, []).append(kind)
    text = "\n\n".join(
        textwrap.fill((f"Of `{d}`: " if d else "") + ", ".join(sorted(kinds)) + ".", width=100)
        for d, kinds in domains.items()
    )
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main() -> int:
    pages = {TARGET: table(), README: readme()}
    if "--check" in sys.argv:
        return int(any(page.read_text(encoding="utf-8") != text for page, text in pages.items()))
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
