"""docs/architecture.md draws the calls of a pruning: they are made in that order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

import reprune_onnx as rp

PACKAGE = Path(rp.__file__).parent
HOW = rp.Settings(sparsity=0.3, recover="data-free")


@pytest.fixture(scope="module")
def drawn(root) -> list[str]:
    """The lines of the drawing, two spaces for every call that a line is part of."""
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```calls\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.partition(" #")[0].rstrip() for line in block.splitlines()]


def calls(demo: Path, names: set[str]) -> list[str]:
    """The first call of each function of ``names``, as lines of the drawing."""
    lines: list[str] = []
    open_calls: list[FrameType] = []
    seen: set[str] = set()

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and open_calls and open_calls[-1] is frame:
            open_calls.pop()
        if event != "call" or not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return
        path = Path(frame.f_code.co_filename).relative_to(PACKAGE).with_suffix("")
        module = ".".join(path.parts).removesuffix(".__init__")
        name = f"{module}.{frame.f_code.co_name}"
        if name in names and name not in seen:
            seen.add(name)
            lines.append("  " * len(open_calls) + name)
            open_calls.append(frame)

    rp.prune(demo, HOW)  # imports are no calls of a pruning
    sys.setprofile(look)
    try:
        rp.prune(demo, HOW)
    finally:
        sys.setprofile(None)
    return lines


def test_the_drawing_is_what_happens(demo, drawn):
    assert len(drawn) > 10
    assert calls(demo, {line.strip() for line in drawn}) == drawn


def test_another_order_is_seen(drawn):
    """The control: the drawing holds an order, and no function twice."""
    names = [line.strip() for line in drawn]
    assert len(set(names)) == len(names)
    assert names.index("surgeon.cut") < names.index("verification.cut.verify_cut")
