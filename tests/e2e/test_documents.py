"""No advice in the documents that was not run as written: every command of every one of them.

What cannot run here stands in a table with its reason, and is at least parsed by the parser that
would run it. Options that sentences name exist.
"""

import functools
import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from documents import (
    NOT_RUN,
    ROOT,
    commands,
    documents,
    options,
    options_of,
    program_options,
    spans,
    why_not,
)
from PIL import Image
from steady_machine import SteadyMachine, of_work

import reprune_onnx as rp
from reprune_onnx.data.generated.generate import Recipe
from reprune_onnx.report.files import report_path
from reprune_onnx.search import drop, without_images

TEXTS = documents(ROOT)
COMMANDS = [c for name, text in TEXTS.items() for c in commands(name, text)]
FEW, MORE = 40, 150  # images: that commands work is tested, not how well; a drop needs the more
BENT = {"bench": ("--seconds", "0.05"), "sweep": ("--method", "l1")}
"""Options of commands that last long by default, where the document gives no others."""

DRAWN = functools.cache(Recipe.image)
"""Images by formula: those of one recipe are the same in every command."""

WIDE = ("rtx-a6000",)
"""Words of commands for which half of the demo is too narrow; it is quicker for all others."""

BLOCKS = ("/stage1/block2", "/stage2/block2", "/stage3/block2")
"""Parts of the demo that are left out: to look at every layer takes the time."""

HALF = rp.Settings(sparsity=0.5, allocation="uniform", recover="data-free")

WRITTEN = ("-o", "--plot", "--json", "--report", "--tensorboard")
"""Options behind which stands a file or folder that the command makes."""

EXTERNAL = {
    *("--nproc-per-node", "--no-python", "--standalone", "--nnodes"),  # torchrun's
    *("--timingCacheFile", "--dumpProfile"),  # trtexec's
    *("--gpus", "--rm"),  # docker's
    "--collect-only",  # pytest's
}
"""Options of other programs that sentences name."""


def put_images(place: Path, n: int) -> None:
    """A folder of the first ``n`` digits, by class."""
    shutil.rmtree(place / "images", ignore_errors=True)
    with np.load(ROOT / "models" / "digits.npz") as data:
        for k in range(n):
            folder = place / "images" / str(data["y"][k])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data["x"][k, 0] * 16).save(folder / f"{k}.png")


@pytest.fixture(scope="session")
def speak_of(tmp_path_factory) -> Path:
    """The files that documents speak of, in two folders: of the demo, and of half its channels.

    They are a model, one pruned from it, images and measured times.
    """
    places = tmp_path_factory.mktemp("documents")
    full, half = places / "whole", places / "half"
    for place in (full, half):
        place.mkdir()
        put_images(place, FEW)
    demo = onnx.load(ROOT / "models" / "digits_resnet.onnx")
    rp.save(rp.Model(shortened(demo)), full / "model.onnx")
    half_of(full / "model.onnx", full / "model-pruned.onnx")
    shutil.copy(full / "model-pruned.onnx", half / "model.onnx")
    half_of(half / "model.onnx", half / "model-pruned.onnx")
    for place, rows, columns in ((full, 48, 32), (half, 24, 16)):
        layer = {"layer": "/stage3/block1/conv1/Conv", "rows": rows, "columns": columns, "ms": 1.0}
        (place / "results.json").write_text(json.dumps({"layers": [layer]}))
    return places


def shortened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network without `BLOCKS`: what reads the end of one reads what stood before it."""
    nodes = [n for n in proto.graph.node if not n.name.startswith(BLOCKS)]
    for node in nodes:
        node.input[:] = [
            name.replace("/block2/", "/block1/") if name.startswith(BLOCKS) else name
            for name in node.input
        ]
    read = {name for node in nodes for name in node.input}
    for field, kept in (
        (proto.graph.node, nodes),
        (proto.graph.initializer, [t for t in proto.graph.initializer if t.name in read]),
        (proto.graph.value_info, []),
    ):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del field[:]
        field.extend(copies)
    onnx.checker.check_model(proto)
    return proto


def half_of(source: Path, out: Path) -> None:
    """Write a file with half of the channels, and its report."""
    result = rp.prune(rp.load(source), HALF)
    rp.save(result.model, out)
    report_path(out).write_text(json.dumps(result.report))


@pytest.fixture
def quickened(monkeypatch) -> Iterator[None]:
    """Searches in coarse steps; threads do not wait for each other's tiny pieces.

    Trials of learning rates take one step, and a drop is searched in eighths of the MACs. By
    formula as few images are made as for a large network, and each is drawn once.
    """
    monkeypatch.setattr(Recipe, "image", DRAWN)
    monkeypatch.setattr(drop, "_LEVELS", 8)
    monkeypatch.setattr(without_images, "_MOST", without_images._FEWEST)
    if not find_spec("lightning_fabric"):
        yield
        return
    import torch

    from reprune_onnx.training import rate

    for name in ("_STEPS", "_TRIALS"):
        monkeypatch.setattr(rate, name, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


RUN_APART = {
    "docs/data.md": "test_data_document.py",
    "docs/yolo.md": "test_yolo_document.py",
}
"""Documents that make their own files; the test named runs their commands and reads the answers."""

FIRST = {c.line: c for c in reversed(COMMANDS) if why_not(c) is None}
"""Commands that several documents show are run where they stand first."""

RUN = sorted({c.document for c in FIRST.values()} - RUN_APART.keys())


@pytest.mark.parametrize("name", RUN)
@pytest.mark.usefixtures("quickened")
def test_every_command_works_as_written(name, call, speak_of, tmp_path, monkeypatch):
    in_document = [c for c in COMMANDS if c.document == name and c is FIRST.get(c.line)]
    wide = any(set(c.words) & set(WIDE) for c in in_document)
    shutil.copytree(speak_of / ("whole" if wide else "half"), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    SteadyMachine(monkeypatch, of_work, of_work)  # --latency-reduction whatever else runs here
    for command in in_document:
        program, *words = command.words
        assert program == "reprune-onnx", (
            f"{command.line}: give it a row in NOT_RUN, or run it here"
        )
        if words[0] in ("finetune", "train") and not find_spec("lightning_fabric"):
            continue
        if words[0] == "prune" and "-o" not in words:  # one way or the other
            for old in tmp_path.glob("model-pruned*"):
                old.unlink()
        if "--max-drop" in words:
            put_images(tmp_path, MORE)
        more = BENT.get(words[0], ())
        result = call(*words, *(() if set(more) & set(words) else more))
        assert result.code == 0, (command.line, result.err)
        if "--max-drop" in words:
            put_images(tmp_path, FEW)
        for k in [k for k, word in enumerate(words) if word in WRITTEN]:
            assert Path(words[k + 1]).stat().st_size, command.line


def test_what_is_not_run_is_parsed(command_line, tmp_path, monkeypatch):
    """By this tool's own parser, which knows every option and its values."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model-pruned.onnx").write_bytes(b"")
    parsed = []
    for command in COMMANDS:
        if why_not(command) and command.words[0] == "reprune-onnx":
            _, name, *words = command.words
            command_line.commands[name].make_context(name, words)
            parsed.append(name)
        elif command.words[0] == "python" and why_not(command):
            assert options(command.line) <= program_options(command.words), command.line
    assert "build" in parsed
    wrong = command_line.commands["build"]
    with pytest.raises(Exception, match=r"(?i)no such option"):
        wrong.make_context("build", ["model.onnx", "--target", "cpu", "--no-such-option"])


def test_documents_that_are_run_apart_are():
    for name, test in RUN_APART.items():
        assert f'"{Path(name).name}"' in (Path(__file__).parent / test).read_text(encoding="utf-8")


def test_every_row_of_the_table_is_of_a_command():
    for start in NOT_RUN.keys() - {"torchrun"}:  # in a sentence until somebody shows it in a block
        assert any(c.line.startswith(start) for c in COMMANDS), start


def test_commands_in_sentences_have_the_options_they_name(command_line):
    by_command = options_of(command_line)
    seen = 0
    for name, text in TEXTS.items():
        for span in spans(text):
            first, *_ = span.removeprefix("reprune-onnx ").split() or [""]
            if first in by_command:
                assert options(span) <= by_command[first], (name, span)
                seen += bool(options(span))
    assert seen > 15


def test_every_option_that_a_document_names_exists(command_line):
    defined = set().union(*options_of(command_line).values()) | EXTERNAL
    for path in [*ROOT.glob("tools/**/*.py"), *ROOT.glob("models/*.py"), *ROOT.glob("deploy/**/*")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            defined |= set(re.findall(r"""["' (](--[a-z][a-z-]*)""", text))
    unknown = {name: options(text) - defined for name, text in TEXTS.items()}
    assert not any(unknown.values()), {k: v for k, v in unknown.items() if v}
    assert options("give `--no-such-option`, or (--sparsity 0.5)") - defined == {"--no-such-option"}


def test_blocks_are_taken_apart_as_a_shell_does():
    """The control of all the above: nothing that a block says is lost."""
    text = "```sh\n# why\na 'b c' --x \\\n    1 && d  # and more\n```\n```python\nnot this\n```\n"
    text += "```console\n$ e\n```\n"
    words = [c.words for c in commands("x", text)]
    assert words == [("a", "b c", "--x", "1"), ("d",), ("e",)]
    assert len(COMMANDS) > 40
    assert {c.document for c in COMMANDS} >= {"README.md", "docs/training.md", "docs/deploy.md"}
