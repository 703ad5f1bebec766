"""Advice in sentences and tables was run as written, like that in blocks.

Advice is code in a sentence that names an option. It counts as run where a command of a block that
is run gives the same options the same values, or where a test does. What `RECORDS` names tells how
figures were made, on networks that are not here: the parser that ran it reads it.
"""

import re
import shlex
from pathlib import Path

import pytest
from documents import (
    ROOT,
    Command,
    Given,
    advice,
    commands,
    documents,
    given,
    options,
    program_options,
    why_not,
)

TEXTS = documents(ROOT)
RUN = [given(c.line) for n, t in TEXTS.items() for c in commands(n, t) if why_not(c) is None]
ADVICE = [(n, head, span) for n, text in TEXTS.items() for head, span in advice(text)]

FILLED = {"MODEL": "model.onnx", "ORIGINAL": "model.onnx", "PRUNED": "model-pruned.onnx"}
"""The files that blocks have for words that leave a choice."""

ANY = re.compile(r"[A-Z]+(:[A-Z]+)?|GLOB=N|…")
"""Values of options that leave any choice."""

APART = {("README.md", "reprune-onnx"): "test_the_stated_accuracies_are_the_measured_ones"}
"""Advice that a test takes from the document itself and runs, by document and heading."""

RECORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("docs/flops.md", "docs/coverage.md", "docs/hybrids.md"), ()),
    **dict.fromkeys(("docs/paper.md", "docs/reliability.md", "docs/speed.md"), ()),
    "models/README.md": (),
    "docs/accuracy.md": (
        *("Recovery", "Measured", "ResNet-56 (CIFAR-10, 92.60 % before)"),
        *("Compact ImageNet networks", "Norms kept or locked", "Measured without images"),
        *("Detectors", "Pruning and int8"),
    ),
    "docs/bench.md": ("What was measured",),
    "docs/training.md": ("What was measured", "The paper's tables"),
}
"""Documents that tell how figures were made: all of them, or under these headings."""

MADE_UP = {"R": "0.5", "S": "0.5", "WAY": "kept", "FILE": "model.onnx", "…": "DATA"}
"""Values for the words of records that leave a choice."""


def is_record(name: str, head: str) -> bool:
    return name in RECORDS and (not RECORDS[name] or head in RECORDS[name])


def filled(span: str, values: dict[str, str]) -> str:
    return " ".join(values.get(word, word) for word in span.split())


def agrees(value: str | None, asked: str | None) -> bool:
    return asked in (None, value) or ANY.fullmatch(asked) is not None


def shows(run: Given, asked: Given) -> bool:
    """Whether a command that is run gives all that is asked for."""
    return set(asked.words) <= set(run.words) and all(
        any(option == o and agrees(v, value) for o, v in run.values)
        for option, value in asked.values
    )


def gives(source: str, asked: Given) -> bool:
    """Whether the source of a test gives these options these values, as words or as settings."""
    for option, value in asked.values:
        field = option.strip("-").replace("-", "_")
        if option not in source and field not in source:
            return False
        if value is None or ANY.fullmatch(value):
            ways = [rf'"{option}"']
        else:
            text = re.escape(value)
            ways = [rf'"{option}", "{text}"', rf"{option} {text}\b", rf'\b{field}="?{text}\b']
            ways += [rf'"{field}": "?{text}\b', rf'[";]{text}[";]'] if "=" in value else []
        if not re.search("|".join(ways), source):
            return False
    return True


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """The tests that run the tool; what is written one word a line counts as one line."""
    these = {Path(__file__).name, "test_documents.py", "documents.py"}
    files = [p for p in sorted((ROOT / "tests").rglob("*.py")) if p.name not in these]
    return [re.sub(r'",\s+', '", ', p.read_text(encoding="utf-8")) for p in files]


@pytest.fixture(scope="module")
def defaults(command_line) -> set[tuple[str, str]]:
    """What commands do where an option is not given: all that are run without it do that."""
    params = [p for sub in command_line.commands.values() for p in sub.params]
    return {(o, str(p.default)) for p in params for o in p.opts}


def test_advice_was_run_as_written(sources, defaults):
    left, seen = [], 0
    for name, head, span in ADVICE:
        line = filled(span, FILLED)
        asked = given(line)
        asked = Given(asked.words, asked.values - defaults)
        if is_record(name, head) or (name, head) in APART or why_not(Command(name, line, ())):
            continue
        seen += 1
        if not any(shows(run, asked) for run in RUN) and not any(gives(s, asked) for s in sources):
            left.append((name, span))
    assert not left, f"run {left} in a block or a test, or leave it out"
    assert seen > 150


@pytest.mark.parametrize(
    "line", ["--lr 0.0137", "prune model.onnx --macs-reduction 0.123", "--batch-norm fold"]
)
def test_what_nothing_runs_is_seen(sources, line):
    """The control of the above, with the same options and other values."""
    asked = given(line)
    assert not any(shows(run, asked) for run in RUN)
    assert not any(gives(source, asked) for source in sources)
    right = {"0.0137": "0.005", "0.123": "0.5", "fold": "insert"}
    asked = given(" ".join(right.get(word, word) for word in line.split()))
    assert any(shows(run, asked) for run in RUN) or any(gives(s, asked) for s in sources)


def test_python_of_documents_is_run_by_a_test(sources):
    """By one that reads the document and executes what it finds."""
    shown = [name for name, text in TEXTS.items() if "\n```python\n" in text]
    assert len(shown) >= 6
    for name in shown:
        called = f'"{Path(name).name}"', f'"{name}"', f"/{Path(name).name}"
        assert any(
            any(word in source for word in called) and ("exec(" in source or '"-c", code' in source)
            for source in sources
        ), f"execute the Python blocks of {name} in a test"


def test_commands_of_records_are_parsed(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed = 0
    for name, head, span in ADVICE:
        words = filled(span, MADE_UP).removeprefix("reprune-onnx ").split()
        if not is_record(name, head) or len(words) < 3:
            continue
        if words[0] in command_line.commands:
            parsed += 1
            if not any(word.endswith(".onnx") for word in words):
                words.insert(1, "model.onnx")
            for word in words:
                if re.fullmatch(r"[\w-]+\.onnx", word):
                    Path(word).write_bytes(b"")
            command = command_line.commands[words[0]]
            if "-o" not in words and any(p.required and "-o" in p.opts for p in command.params):
                words += ["-o", "out.onnx"]
            command.make_context(words[0], shlex.split(" ".join(words[1:])))
        elif words[0] == "python":
            assert options(span) <= program_options(tuple(words)), span
    assert parsed > 15
    with pytest.raises(Exception, match=r"(?i)no such option"):
        command_line.commands["prune"].make_context("prune", ["model.onnx", "--no-such-option"])
