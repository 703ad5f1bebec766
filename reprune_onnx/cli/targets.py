"""`reprune-onnx targets`."""

from __future__ import annotations

from reprune_onnx.cli.options import JsonFile, emit_json


def command(json: JsonFile = None) -> None:
    """List the devices that --target takes: precisions, suitable widths, limits and builder."""
    from dataclasses import asdict

    from reprune_onnx.report.devices import print_targets
    from reprune_onnx.targets import read_target, target_names

    devices = [read_target(name) for name in target_names()]
    emit_json([asdict(target) for target in devices], json)
    if json != "-":
        print_targets(devices)
