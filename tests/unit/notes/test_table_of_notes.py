"""One row for every note: how it comes about, and words that it must have.

Every call of `Note` in the package makes a sentence of a row, or one that another test expects; one
that does neither fails the last test but one. That nothing else becomes a note is what mypy checks.
"""

from __future__ import annotations

import inspect

import pytest
from note_sites import Site, sites
from rows_of_notes import ROWS

ELSEWHERE = {
    "the images fit this file better with --preprocess ": (
        "unit/activations/test_fit_of_preprocess.py",
        "with --preprocess cifar10 than",
    ),
    "; --allocation uniform prunes them": (
        "unit/activations/test_branches_on_images.py",
        "--allocation uniform prunes them",
    ),
    "labels are not used: ": ("unit/training/test_tasks_refused.py", "labels are not used"),
    "ONNX Runtime lacks ": ("unit/runtime/test_tail.py", "ONNX Runtime lacks"),
    "the original does not teach: on ": ("e2e/training/test_teacher.py", "does not teach"),
    " no label file, such as": ("unit/data/test_objects.py", "no label file"),
    "the classes are taken in sorted order": ("unit/data/test_objects.py", "sorted order, 0 is"),
    "have new values, rounded": (
        "unit/surgeon/test_quantized_files.py",
        "have new values, rounded again",
    ),
    "became floats: nodes that compute with ": (
        "unit/surgeon/test_quantized_files.py",
        "became floats: nodes that compute with ",
    ),
    " of its ": ("unit/activations/test_classes_seen.py", "gives 2 of its 4 answers"),
    "left out: ": ("unit/data/test_photos.py", "left out"),
    " attempts were made: ": (
        "unit/search/test_search_by_attempts.py",
        "attempts were made",
    ),
    " channels, lost axes of another basis": (
        "unit/streams/test_turned_streams.py",
        "lost axes of another basis",
    ),
    " in the place of ": ("unit/surgeon/test_whole_branches.py", "1 branch went as a whole"),
    ", taken as one for the lack of the axis of the batch": (
        "unit/data/test_data_arrays.py",
        "taken as one for the lack",
    ),
}
"""Words of notes; the test that provokes them, and what stands there."""

BUILT_APART = {
    "data/images.py": ("unit/data/test_class_order.py", "classes, 0 is"),
    "data/named_arrays.py": ("unit/data/test_data_arrays.py", "not read: "),
    "benchmark/candidate.py": ("unit/deployment/test_plugins.py", "ONNX Runtime lacks"),
}
"""Files whose notes without words of their own are put together; where they are provoked."""

SEEN: dict[str, list[str]] = {}


def notes_of(words, provoke, tmp, monkeypatch):
    asked = "monkeypatch" in inspect.signature(provoke).parameters
    SEEN[words] = list(provoke(tmp, monkeypatch) if asked else provoke(tmp))
    return SEEN[words]


@pytest.mark.parametrize(("words", "provoke"), ROWS, ids=[words for words, _ in ROWS])
def test_the_note_has_these_words(words, provoke, tmp_path, monkeypatch):
    notes = notes_of(words, provoke, tmp_path, monkeypatch)
    with_them = [note for note in notes if words in note]
    assert len(with_them) == 1, notes
    assert "\n" not in with_them[0]
    assert any(site.made(with_them[0]) for site in sites()), "no call of Note makes this sentence"


def test_the_words_tell_rows_apart():
    assert len({words for words, _ in ROWS}) == len(ROWS)


def pointed_at(site: Site) -> bool:
    apart = site.path in BUILT_APART and not any(" " in w.strip() for w in site.words)
    return apart or any(words in text for words in ELSEWHERE for text in site.words)


def test_every_note_has_a_row_or_a_test_of_its_own(tmp_path):
    """Of several processes each has run some of the rows: the others are run here."""
    for k, (words, provoke) in enumerate(ROWS):
        if words not in SEEN:
            (tmp_path / str(k)).mkdir()
            with pytest.MonkeyPatch.context() as patch:
                notes_of(words, provoke, tmp_path / str(k), patch)
    notes = [n for words, seen in SEEN.items() for n in seen if words in n]
    left = [s for s in sites() if not (any(map(s.made, notes)) or pointed_at(s))]
    assert not left, "\n".join(map(str, left))


def test_what_is_provoked_elsewhere_is(root):
    for where, words in [*ELSEWHERE.values(), *BUILT_APART.values()]:
        assert words in (root / "tests" / where).read_text(encoding="utf-8"), where
    for words in ELSEWHERE:
        assert any(words in w for site in sites() for w in site.words), words
    for path in BUILT_APART:
        assert any(site.path == path for site in sites()), path


def test_a_note_without_a_row_is_seen():
    """The control: a sentence that no row makes, and one without words of its own."""
    news = Site("nowhere.py", 1, "this is news: .*", ("this is news: ",))
    assert news.made("this is news: 3") and not pointed_at(news)
    assert not any(news.made(note) for notes in SEEN.values() for note in notes)
    assert not Site("nowhere.py", 1, ".*", ()).made("anything")
