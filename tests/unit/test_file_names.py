"""pytest imports test files by their names alone, so no two may have one name."""

from collections import Counter
from pathlib import Path


def test_no_two_test_files_have_one_name() -> None:
    files = (Path(__file__).parents[1]).rglob("*.py")
    names = Counter(f.name for f in files if f.name not in ("conftest.py", "__init__.py"))
    assert len(names) > 100
    assert [name for name, n in names.items() if n > 1] == []
