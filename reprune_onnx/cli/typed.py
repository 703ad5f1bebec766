"""The command as it was typed, for the files that it makes."""

from __future__ import annotations

from collections.abc import Iterator

import typer


def typed(context: typer.Context) -> list[str]:
    """Return the command's words: arguments, and every option that was given, by its long name."""
    return ["reprune-onnx", str(context.info_name), *_words(context)]


def _words(context: typer.Context) -> Iterator[str]:
    params = context.command.params
    # help begins with options, and so may the parameters
    for param in sorted(params, key=lambda each: each.param_type_name != "argument"):
        name = str(param.name)
        source = context.get_parameter_source(name)
        value = context.params.get(name)
        if source is None or source.name != "COMMANDLINE" or value is None:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if param.param_type_name == "argument":
                yield str(one)
                continue
            long = max(param.opts, key=len)
            yield from [long] if isinstance(one, bool) else [long, str(one)]
