"""The files of `constraints/` say what `pyproject.toml` says."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]


def pinned(name: str) -> dict[str, str]:
    """``{package: version}`` of a file in which every line that is no comment is one version."""
    lines = (ROOT / "constraints" / name).read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if line[:1] != "#"]
    assert matches
    assert all(matches)
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=lambda r: r.name)
def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed(
    dependency: Requirement,
) -> None:
    (bound,) = dependency.specifier
    assert bound.operator == ">="
    tested = pinned("lowest.txt")[canonicalize_name(dependency.name)]
    assert Version(tested) == Version(bound.version)


@pytest.mark.parametrize(
    "dependency",
    [r for r in DEPENDENCIES if r.marker is None or r.marker.evaluate({"python_version": "3.11"})],
    ids=lambda r: r.name,
)
def test_the_locked_versions_are_allowed(dependency: Requirement) -> None:
    locked = pinned("locked.txt")[canonicalize_name(dependency.name)]
    assert dependency.specifier.contains(locked)
