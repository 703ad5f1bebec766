"""An option is declared once, as a field of `Settings`: the commands have its choices and its help."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

import reprune_onnx as rp
from reprune_onnx.options import choices, options

FIELDS = options(rp.Settings)


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


def test_choices_are_the_same_in_every_command(command_line):
    seen = set()
    for command in command_line.commands.values():
        for param in command.params:
            if param.name in FIELDS and isinstance(param.type, click.Choice):
                known = choices(rp.Settings, param.name)
                # `build` and `finetune` have options of these names with a default of their own
                assert tuple(param.type.choices) == known, (command.name, param.name)
                seen.add((command.name, param.name))
    assert {("prune", "method"), ("recover", "recover"), ("analyze", "residual")} <= seen
    assert {name for command, name in seen if command == "prune"} == {
        name for name in FIELDS if choices(rp.Settings, name)
    }


@pytest.mark.parametrize("name", ["method", "coverage", "allocation", "recover"])
def test_a_sweep_refuses_and_lists_what_prune_does(call, demo, tmp_path, name):
    done = call("sweep", demo, "--macs-reduction", "0.3", f"--{name}", "best", "-o", tmp_path)
    assert done.code == 2
    assert f"--{name} 'best' is not one of {', '.join(choices(rp.Settings, name))}" in done.err
