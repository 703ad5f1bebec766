"""The made pages of the documentation site hold every command and every public name."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

import reprune_onnx as rp

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "site"))
    yield import_module("pages")
    sys.modules.pop("pages")


def test_the_reference_has_every_command(pages, command_line):
    text = pages.commands_page()
    for name in command_line.commands:
        assert f"## `reprune-onnx {name}`" in text
    assert "][" not in text  # Markdown would look for a link


def test_the_reference_has_every_public_name(pages):
    homes = pages.public_names()
    assert set(rp.__all__) <= homes.keys()
    for name in rp.__all__:
        assert hasattr(import_module(homes[name]), name)
        assert f"::: {homes[name]}.{name}" in pages.python_page()


def test_a_link_out_of_the_documentation_becomes_text(pages):
    page = "See [SECURITY.md](../SECURITY.md) and [data](data.md), [up](../reprune_onnx/x.py)."
    assert pages.inward(page, "speed.md") == "See SECURITY.md and [data](data.md), up."


def test_a_link_from_a_guide_to_a_page_stays(pages):
    page = "[data](../data.md) and [SECURITY.md](../../SECURITY.md)"
    assert pages.inward(page, "guides/images.md") == "[data](../data.md) and SECURITY.md"


def test_a_line_that_links_to_a_script_becomes_it(pages):
    page = "Before.\n\n[detector.py](detector.py)\n\nSee [detector.py](detector.py)."
    code = (ROOT / "docs" / "examples" / "detector.py").read_text(encoding="utf-8")
    shown = (
        f'Before.\n\n```python title="detector.py"\n{code}```\n\nSee [detector.py](detector.py).'
    )
    assert pages.with_scripts(page, "examples/index.md") == shown


def test_examples_are_code():
    pytest.importorskip("griffe")
    sys.path.insert(0, str(ROOT / "tools" / "site"))
    try:
        examples = import_module("examples")
    finally:
        sys.path.pop(0)
    docstring = "Do it.\n\n>>> f(1)\n[2, 2]\n\nMore."
    assert examples.fenced(docstring) == "Do it.\n\n```pycon\n>>> f(1)\n[2, 2]\n```\n\nMore."
    assert examples.fenced("Do it.") == "Do it."
