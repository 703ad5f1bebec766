"""docs/ops.md is what the rule table says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reprune_onnx.analyzer import rules

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "tools/ops_table.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run python tools/ops_table.py"


def test_two_rules_for_an_op_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules for op Relu"):
        rules._read([("Relu", rules.unary), ("Add Relu", rules.elementwise)])
