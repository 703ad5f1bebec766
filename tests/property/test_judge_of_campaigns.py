"""An error of the judge's own is no wrong report that was seen."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "campaign"))

import judgement


def test_only_a_refusal_of_onnx_runtime_is_one():
    def mistaken() -> int:
        return {}["a name that the judge forgot"]

    with pytest.raises(KeyError):
        judgement._tried(mistaken)
    assert judgement._tried(lambda: 3) == 3
