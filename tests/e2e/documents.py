"""What documents show: their commands, the code in their sentences, and the options they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = ("sh", "bash", "console")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
ROOT = Path(__file__).resolve().parents[2]

NOT_RUN = {
    "python3 -m venv": "run in a checkout of its own by test_readme.py",
    ".venv/bin/": "run in a checkout of its own by test_readme.py",
    "pip install": "downloads",
    "scp": "another machine",
    "sudo": "a Jetson; its scripts run on a stand-in in test_bundle.py",
    "cd tx2": "a Jetson; its scripts run on a stand-in in test_bundle.py",
    "sh run.sh": "a Jetson; its scripts run on a stand-in in test_bundle.py",
    "torchrun": "several devices; test_two_processes_give_what_one_gives runs two",
    "reprune-onnx build": "TensorRT and a GPU; test_build.py runs it with a stand-in",
    "reprune-onnx prune resnet56_cifar10_folded.onnx": "real images, and minutes",
    "reprune-onnx evaluate r56.onnx": "real images, and minutes",
    "reprune-onnx finetune hybrid0.onnx": "real images, and a quarter of an hour",
    "python docs/examples/": "test_examples.py runs each, and looks at what it draws",
    "python tools/": "minutes to hours; each tool has a test of its own, or its figures",
    "python -m models": "torchvision, and networks of 500 MB; test_paper_networks.py exports",
}
"""How commands begin that are not run here, and why."""


@dataclass(frozen=True)
class Command:
    """One command of a document: ``words`` as a shell would split them."""

    document: str
    line: str
    words: tuple[str, ...]


def why_not(command: Command) -> str | None:
    """Why a command is not run here; None where it is."""
    return next((why for start, why in NOT_RUN.items() if command.line.startswith(start)), None)


def documents(root: Path) -> dict[str, str]:
    """The texts that users read, by their paths."""
    paths = [root / "README.md", *sorted((root / "docs").rglob("*.md")), root / "models/README.md"]
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in paths}


def commands(name: str, text: str) -> list[Command]:
    """Every command of the shell blocks, in order; those that && joins are several."""
    collected = []
    for language, block in _BLOCK.findall(text):
        if language in _SHELL:
            for line in block.replace("\\\n", " ").splitlines():
                for words in _parts(line.strip().removeprefix("$ ")):
                    collected.append(Command(name, shlex.join(words), words))
    return collected


def _parts(line: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if word != "&&":
            words.append(word)
        elif words:
            yield tuple(words)
            words = []


def spans(text: str) -> list[str]:
    """The code within sentences and tables, and the lines of blocks that no shell runs."""
    lines = [
        line
        for language, block in _BLOCK.findall(text)
        if language == "text"
        for line in block.splitlines()
    ]
    prose = _BLOCK.sub("", text)
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def advice(text: str) -> list[tuple[str, str]]:
    """Code in sentences and tables that names an option, with the heading that it stands under."""
    parts = re.split(r"^(#+ .*)$", _BLOCK.sub("", text), flags=re.MULTILINE)
    under = zip(["", *parts[1::2]], parts[::2], strict=True)
    return [(head.strip("# "), s) for head, part in under for s in spans(part) if options(s)]


def options(text: str) -> set[str]:
    """Every option that a text names."""
    return set(_OPTION.findall(text))


@dataclass(frozen=True)
class Given:
    """What a command line gives: words without an option, and the value of every option."""

    words: tuple[str, ...]
    values: frozenset[tuple[str, str | None]]


def given(line: str) -> Given:
    """Take a command line apart; what follows an option is its value, unless it is an option."""
    words, values = [], set()
    rest = shlex.split(line.removeprefix("reprune-onnx "))
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            values.add((word, rest.pop(0) if rest and not rest[0].startswith("-") else None))
        else:
            words.append(word)
    return Given(tuple(words), frozenset(values))


def options_of(command_line) -> dict[str, set[str]]:
    """The options of each command of this tool, as its parser knows them."""
    return {
        name: {o for p in sub.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        for name, sub in command_line.commands.items()
    }


def program_options(words: tuple[str, ...]) -> set[str]:
    """The options that the sources of a tool or recipe of this repository define."""
    at = ROOT / (words[2].split(".")[0] if words[1] == "-m" else words[1])
    files = [at] if at.is_file() else sorted(at.glob("*.py"))
    assert files, words
    text = "".join(f.read_text(encoding="utf-8") for f in files)
    return set(re.findall(r'"(--[a-z][a-z-]*)"', text)) | {"--help"}
