"""One row for every way to be refused: how it comes about, and words that its line must have.

A refusal is a call of an error class anywhere in the package, found in its source. Each is reached
by a row of the tables here; or words of its message stand in another test, which provokes it. A
refusal with neither fails the last test.
"""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import rows_of_data
import rows_of_models
import rows_of_options
import rows_of_results
import rows_of_tasks
import rows_of_training
from elsewhere import ELSEWHERE, MADE_APART, OUT_OF_REACH
from place import Place
from raise_sites import Site, recorded, sites

import reprune_onnx as rp

TABLES = (
    rows_of_results,
    rows_of_tasks,
    rows_of_training,
    rows_of_data,
    rows_of_options,
    rows_of_models,
)
ROWS = [row for table in TABLES for row in table.ROWS]
HERE = Path(__file__).parent
REACHED: dict[str, set[Site]] = {}


@pytest.fixture
def place(tmp_path, demo, digits, command_line) -> Place:
    return Place(tmp_path, Path(shutil.copy(demo, tmp_path)), digits, command_line.main)


@pytest.mark.parametrize(("words", "provoke"), ROWS, ids=[words for words, _ in ROWS])
def test_the_line_has_these_words(words, provoke, place, monkeypatch):
    monkeypatch.chdir(place.tmp)
    with recorded() as reached, pytest.raises(rp.RepruneError) as error:
        provoke(place)
    REACHED[words] = reached
    line = str(error.value)
    assert words in line
    assert "\n" not in line
    assert reached, "no call in the package made this error"


def test_the_words_tell_rows_apart():
    assert len({words for words, _ in ROWS}) == len(ROWS)


@cache
def expected_elsewhere() -> frozenset[str]:
    """Sentences, or parts of them, that other tests expect."""
    sentences = set()
    for path in HERE.parents[1].rglob("*.py"):
        if HERE in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.replace("\\", "")
                if len(text) >= 8 and " " in text.strip():
                    sentences.add(text)
    return frozenset(sentences)


def in_another_test(site: Site) -> bool:
    return any(text in words for words in site.words for text in expected_elsewhere())


def pointed_at(site: Site) -> bool:
    """Whether the table says where it is provoked, or why it cannot be here."""
    return any(
        words in text for words in ELSEWHERE | OUT_OF_REACH for text in site.words or ("",)
    ) or any(path == site.path and not site.words for path in MADE_APART)


def missing() -> Iterator[Site]:
    reached = set().union(*REACHED.values())
    for site in sites():
        if not (site in reached or in_another_test(site) or pointed_at(site)):
            yield site


def test_every_refusal_has_a_row_or_a_test_of_its_own(place, tmp_path, monkeypatch):
    """Of several processes each has run some of the rows: the others are run here."""
    for k, (words, provoke) in enumerate(ROWS):
        if words not in REACHED:
            fresh = replace(place, tmp=tmp_path / str(k), files={})
            fresh.tmp.mkdir()
            test_the_line_has_these_words(words, provoke, fresh, monkeypatch)
    left = list(missing())
    if find_spec("torch") is None:  # without it those of training are not reached
        left = [s for s in left if not s.path.startswith("training/")]
    if find_spec("pycocotools") is None:
        needing = ("without a segmentation", "has an object")
        left = [s for s in left if not any(n in w for n in needing for w in s.words)]
    assert not left, "\n".join(map(str, left))


def test_what_is_provoked_elsewhere_is(root):
    for words, where in (ELSEWHERE | MADE_APART).items():
        path, _, name = where.partition("::")
        text = (root / "tests" / path).read_text(encoding="utf-8")
        assert f"def {name}(" in text, where
        assert words in MADE_APART or any(words in w for site in sites() for w in site.words), words


def test_what_needs_another_machine_is_still_there():
    for words in OUT_OF_REACH:
        assert any(words in w for site in sites() for w in site.words), words


def test_a_refusal_without_a_row_is_seen():
    """The control: words that no test expects."""
    assert not in_another_test(Site("nowhere.py", 1, 1, ("this refusal is news to everyone",)))
    assert any(in_another_test(site) for site in sites())
