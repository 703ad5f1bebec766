"""A module imports only from earlier stages: also imports inside functions make no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = "reprune_onnx"


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of every import from the package that happens when the program runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            yield from ((str(node.module), alias.name) for alias in node.names)
        yield from imported(node)


def imports_of(root: Path) -> dict[str, set[str]]:
    """The modules of the package that each one imports; a package stands for its __init__."""
    files = {
        ".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f
        for f in sorted((root / PACKAGE).rglob("*.py"))
    }
    return {
        module: {
            f"{source}.{name}" if f"{source}.{name}" in files else source
            for source, name in imported(ast.parse(file.read_text(encoding="utf-8")))
        }
        for module, file in files.items()
    }


def test_no_module_imports_what_imports_it(root: Path) -> None:
    imports = imports_of(root)
    # the package's own names are read by no module but for its version, which is written there
    assert {m for m, imported in imports.items() if PACKAGE in imported} <= {
        f"{PACKAGE}.{m}" for m in ("cli.app", "sweeps.cases", "tool")
    }
    del imports[PACKAGE]
    order = list(TopologicalSorter(imports).static_order())
    assert len(order) > 80


def test_the_analyzer_is_earlier_than_the_data(root: Path) -> None:
    imports = imports_of(root)
    reached = {m for m in imports if m.startswith(f"{PACKAGE}.analyzer")}
    assert reached
    while more := set().union(*(imports[m] for m in reached)) - reached:
        reached |= more
    assert not {m for m in reached if m.startswith((f"{PACKAGE}.data", f"{PACKAGE}.pruner"))}


def test_json_is_parsed_in_one_place(root: Path) -> None:
    """Which knows of texts that nest too deep, and of NaN."""
    parsers = {
        file.name
        for file in (root / PACKAGE).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.load", "json.loads")
    }
    assert parsers == {"json_text.py"}
