"""An option is declared once, as a field of `Settings`: commands have its choices and its help."""

from __future__ import annotations

import pkgutil
import re
from dataclasses import MISSING, fields
from importlib import import_module
from inspect import signature
from operator import not_
from typing import Literal, get_args, get_origin

import numpy as np
import pytest

import reprune_onnx as rp
from reprune_onnx import cli
from reprune_onnx.cli.declared import first
from reprune_onnx.cli.training import TaskOptions
from reprune_onnx.options import choices, options
from reprune_onnx.training.settings import TrainSettings

FIELDS = options(rp.Settings)
OWN = {
    *((command, "precision") for command in ("finetune", "train")),  # of the arithmetic
    *((command, "task") for command in ("evaluate", "finetune", "train")),  # of what they measure
}
"""Options of other commands that have the name of a field, and other choices."""


DECLARED = [
    ("prune", rp.Settings, {}),
    ("bench", rp.BenchSettings, {}),
    ("finetune", TrainSettings, {}),
    ("train", TrainSettings, {"epochs": 160, "batch_size": 256, "lr": "0.1"}),
    ("finetune", TaskOptions, {}),
    ("train", TaskOptions, {}),
]
"""Commands that have all fields of a dataclass, and the defaults that are the command's own."""


@pytest.mark.parametrize("declared", dict.fromkeys(declared for _, declared, _ in DECLARED))
def test_every_field_is_documented_where_it_is_declared(declared):
    assert list(options(declared)) == [f.name for f in fields(declared)]
    for name, (_, option) in options(declared).items():
        assert len(option.help) > 10 and option.help.endswith("."), name


@pytest.mark.parametrize(("command", "declared", "defaults"), DECLARED)
def test_a_command_has_every_field_with_its_help_and_default(
    command_line, command, declared, defaults
):
    params = {p.name: p for p in command_line.commands[command].params}
    for f in fields(declared):
        param, (_, option) = params[f.name], options(declared)[f.name]
        assert param.help == option.help
        names = option.names or (f"--{f.name.replace('_', '-')}",)
        assert tuple(param.opts) == names
        if f.name in defaults:
            assert param.default == defaults[f.name]
        elif option.read is not_:  # a flag that turns off
            assert param.default is False
        elif f.default is MISSING:
            assert param.required
        else:
            assert param.default in (f.default, None, (), option.shown)


def test_what_the_command_line_reads_is_what_settings_hold(command_line):
    words = ["m.onnx", "--sparsity", "0.5", "--layer", "a=3", "--input-shape", "x=1,3", "-j", "2"]
    words += ["--include", "b", "--include", "c", "--no-verify", "--keep", "r.json"]
    context = command_line.commands["prune"].make_context("prune", words)
    given = {name: context.params[name] for name in FIELDS}
    read = {k: o.read(given[k]) if o.read else given[k] for k, (_, o) in FIELDS.items()}
    del read["keep"]
    how = rp.Settings(**{k: v for k, v in read.items() if v is not None})
    assert (how.layer, how.input_shapes) == ((("a", 3),), (("x", (1, 3)),))
    assert (how.include, how.verify, how.jobs) == (("b", "c"), False, 2)


def test_choices_are_the_same_in_every_command():
    seen = set()
    for module in pkgutil.iter_modules(cli.__path__):
        command = getattr(import_module(f"{cli.__name__}.{module.name}"), "command", None)
        for name, parameter in (
            signature(command, eval_str=True).parameters.items() if command else ()
        ):
            words = literal(parameter.annotation)
            if name in FIELDS and words and (module.name, name) not in OWN:
                assert words == choices(rp.Settings, name), (module.name, name)
                seen.add((module.name, name))
    assert {("recover", "recover"), ("analyze", "residual"), ("train", "residual")} <= seen
    assert {name for command, name in seen if command == "prune"} == {
        name for name in FIELDS if choices(rp.Settings, name)
    }


def literal(annotation: object) -> tuple[str, ...]:
    """The words of a Literal in an annotation; () without."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(literal, get_args(annotation))), ())


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"batch_sizes": 8}, "batch_sizes takes whole numbers, as (1, 8, 32), not 8"),
        ({"batch_sizes": (1, 2.5)}, "batch_sizes takes whole numbers, as (1, 8, 32), not 2.5"),
        ({"batch_sizes": "1,8"}, "batch_sizes takes whole numbers"),
        ({"threads": "all"}, "threads takes a whole number, not "),
        ({"seconds": None}, "seconds takes a number, not "),
    ],
)
def test_a_wrong_type_of_bench_gets_the_sentence_of_python(field, sentence):
    with pytest.raises(rp.ArgumentError, match=re.escape(sentence)):
        rp.BenchSettings(**field)


def test_what_bench_takes_is_held_in_one_form():
    how = rp.BenchSettings(batch_sizes=[1, np.int64(8)], input_shapes={"x": [1, 3, 8, 8]})
    assert (how.batch_sizes, how.input_shapes) == ((1, 8), (("x", (1, 3, 8, 8)),))
    with pytest.raises(rp.UsageError, match="--backend 'abacus' is not one of ort, "):
        rp.BenchSettings(backend="abacus")


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"epochs": "all"}, "epochs takes a whole number, not 'all'"),
        ({"epochs": 2.5}, "epochs takes a whole number, not 2.5"),
        ({"momentum": "0.9"}, "momentum takes a number, not '0.9'"),
        ({"milestones": 0.5}, "milestones takes numbers, as (0.5, 0.75), not 0.5"),
        ({"milestones": "0.5,0.75"}, "milestones takes numbers"),
        ({"freeze": 3}, "freeze takes a glob over node names, or several, not 3"),
        ({"freeze_bn": "yes"}, "freeze_bn takes True or False, not 'yes'"),
    ],
)
def test_a_wrong_type_of_training_gets_the_sentence_of_python(field, sentence):
    with pytest.raises(rp.ArgumentError, match=re.escape(sentence)):
        TrainSettings(**field)


def test_what_training_takes_is_held_in_one_form():
    how = TrainSettings(epochs=np.int64(2), lr=np.float64(0.5), milestones=[0.25], freeze="conv*")
    assert (how.epochs, how.lr, how.milestones, how.freeze) == (2, 0.5, (0.25,), ("conv*",))
    assert how.as_report()["milestones"] == [0.25]
    with pytest.raises(rp.UsageError, match="--augment 'twist' is not one of none, flip, "):
        TrainSettings(augment="twist")


def test_words_of_training_are_what_its_settings_hold(command_line):
    words = ["m.onnx", "--data", "d", "--out", "o", "--sparsity", "0.5", "--lr", "auto"]
    words += ["--milestones", "0.3,0.6", "--no-sync-batch-norm", "--freeze", "a", "--freeze", "b"]
    context = command_line.commands["train"].make_context("train", words)
    declared = options(TrainSettings)
    given = {name: context.params[name] for name in declared}
    read = {k: o.read(given[k]) if o.read else given[k] for k, (_, o) in declared.items()}
    how = TrainSettings(**read)
    assert (how.lr, how.milestones, how.freeze) == ("auto", (0.3, 0.6), ("a", "b"))
    assert (how.sync_batch_norm, how.epochs, how.batch_size) == (False, 160, 256)


@pytest.mark.parametrize("name", ["method", "coverage", "allocation", "recover"])
def test_a_sweep_refuses_and_lists_what_prune_does(call, demo, tmp_path, name):
    done = call("sweep", demo, "--macs-reduction", "0.3", f"--{name}", "best", "-o", tmp_path)
    assert done.code == 2
    assert f"--{name} 'best' is not one of {', '.join(choices(rp.Settings, name))}" in done.err


@pytest.mark.parametrize(
    ("command", "leading"),
    [
        ("prune", ["--sparsity", "--macs-reduction", "--params-reduction", "--latency-reduction"]),
        ("finetune", ["--data", "--epochs", "--lr", "--out"]),
        ("train", ["--data", "--sparsity", "--epochs", "--lr"]),
    ],
)
def test_help_begins_with_what_most_users_need(call, command, leading):
    text = call(command, "--help").out.partition("Options:")[2]
    listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
    assert listed[: len(leading)] == leading


def test_no_word_of_help_is_too_long_for_a_terminal_of_80_columns(command_line):
    """A longer one is broken where no break means anything, as a row of ``key=…`` was."""
    for name, command in command_line.commands.items():
        for param in command.params:
            for word in (getattr(param, "help", None) or "").split():
                assert len(word) <= 44, (name, word)


def test_an_option_that_a_command_lacks_cannot_come_first():
    def command(*, quiet: bool = False) -> None: ...

    with pytest.raises(KeyError, match="sparsity"):
        first("sparsity")(command)
