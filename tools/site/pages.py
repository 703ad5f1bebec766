"""The pages of the documentation site that are made, not written: an extension of MkDocs.

`mkdocs build` loads this file, for `mkdocs.yml` names it. It adds the reference of all commands,
that of all public Python names, and the list of changes. A link to a script that is a line of its
own becomes the script. Links from a page to a file that is no page become plain text, because a
site holds only pages.
"""

from __future__ import annotations

import ast
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = re.compile(r"^\[(\w+\.py)\]\(\1\)$", re.MULTILINE)
_UPWARD = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made; MkDocs calls this once per build."""
    from mkdocs.structure.files import File

    made = {
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "]("),
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Return the page with its scripts, and with links out of the documentation as plain text."""
    return with_scripts(inward(markdown, page.file.src_uri), page.file.src_uri)


def with_scripts(markdown: str, path: str) -> str:
    """Return the text of the page at ``path`` with the scripts that its lines link to."""

    def shown(link: re.Match[str]) -> str:
        code = (ROOT / "docs" / path).with_name(link[1]).read_text(encoding="utf-8")
        return f'```python title="{link[1]}"\n{code}```'

    return _SCRIPT.sub(shown, markdown)


def inward(markdown: str, path: str) -> str:
    """Return the text of the page at ``path`` without its links to files that are no pages."""
    folder = posixpath.dirname(path)

    def kept(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        return link[1] if target.startswith("..") else link[0]

    return _UPWARD.sub(kept, markdown)


def commands_page() -> str:
    """Return the help of every command as Markdown, made by Typer.

    What may be left out twice, [a][b], is no link.
    """
    typer = (sys.executable, "-m", "typer", "reprune_onnx.cli.app")
    made = subprocess.run(
        [*typer, "utils", "docs", "--name", "reprune-onnx", "--title", "Commands"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return made.stdout.replace("][", "]\\[")


def python_page() -> str:
    """Return a page that shows every public name where it is defined, by mkdocstrings."""
    lines = ["# Python", "", "Everything here is imported from `reprune_onnx`.", ""]
    for name, home in sorted(public_names().items(), key=lambda item: item[0].lower()):
        lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)


def public_names() -> dict[str, str]:
    """Return the module that defines each public name.

    The package imports its names late. The block that type checkers read lists them all.
    """
    source = (ROOT / "reprune_onnx" / "__init__.py").read_text(encoding="utf-8")
    for_types = next(block for block in ast.parse(source).body if isinstance(block, ast.If))
    homes: dict[str, str] = {}
    for node in for_types.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            homes |= {alias.asname or alias.name: node.module for alias in node.names}
    return homes
