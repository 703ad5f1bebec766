"""An option is declared once, as a field of `Settings`: commands have its choices and its help."""

from __future__ import annotations

import pkgutil
from dataclasses import fields
from importlib import import_module
from inspect import signature
from typing import Literal, get_args, get_origin

import pytest

import reprune_onnx as rp
from reprune_onnx import cli
from reprune_onnx.options import choices, options

FIELDS = options(rp.Settings)
OF_TRAINING = {(command, "precision") for command in ("finetune", "train")}
"""Options of other commands that have the name of a field, and another meaning."""


def test_every_field_is_documented_where_it_is_declared():
    assert list(FIELDS) == [f.name for f in fields(rp.Settings)]
    for name, (_, option) in FIELDS.items():
        assert len(option.help) > 10 and option.help.endswith("."), name


def test_prune_has_every_field_with_its_help_and_default(command_line):
    params = {p.name: p for p in command_line.commands["prune"].params}
    for f in fields(rp.Settings):
        param, (_, option) = params[f.name], FIELDS[f.name]
        assert param.help == option.help
        names = option.names or (f"--{f.name.replace('_', '-')}",)
        assert tuple(param.opts) == names
        assert param.default in (f.default, None, ()) or f.name == "verify"


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
            if name in FIELDS and words and (module.name, name) not in OF_TRAINING:
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


@pytest.mark.parametrize("name", ["method", "coverage", "allocation", "recover"])
def test_a_sweep_refuses_and_lists_what_prune_does(call, demo, tmp_path, name):
    done = call("sweep", demo, "--macs-reduction", "0.3", f"--{name}", "best", "-o", tmp_path)
    assert done.code == 2
    assert f"--{name} 'best' is not one of {', '.join(choices(rp.Settings, name))}" in done.err
