"""The promises that hold after a fault, as a check that lists the broken ones."""

from __future__ import annotations

import signal
from pathlib import Path

from run import Ended, Fault
from scenario import EARLIER, PAIR, Scenario, results

REFUSED = {"full", "nobody"}
CODES = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}


def broken(
    scenario: Scenario, folder: Path, fault: Fault, ended: Ended, earlier: bool
) -> list[str]:
    """The promises that were broken."""
    problems = _ending(fault, ended, scenario)
    for path in scenario.template.iterdir():
        if (folder / path.name).read_bytes() != path.read_bytes():
            problems.append(f"the source {path.name} was changed")
    now = results(folder, scenario.name)
    old = dict.fromkeys(PAIR, EARLIER) if earlier and scenario.name != "sweep" else {}
    problems += [
        f"{name} is neither old nor new"
        for name, data in now.items()
        if data not in (scenario.expected.get(name), old.get(name))
    ]
    if scenario.name != "sweep" and now not in (old, scenario.expected):
        problems += ["the model is of one run and its report of another"] * (not _between(fault))
    if ended.code == 0 and now != scenario.expected:
        problems.append("exit code 0 without the result")
    problems += _left(scenario, folder, fault)
    return problems


def _ending(fault: Fault, ended: Ended, scenario: Scenario) -> list[str]:
    problems = []
    expected = {0, CODES.get(fault.signal, 1)}  # 0 where it had ended by then
    before = fault.step is not None and fault.step[0] != "replace"  # and not the signal is held up
    if fault.signal and before and scenario.name != "sweep":  # which may write fewer files
        expected = {CODES[fault.signal]}
    if fault.name in REFUSED:
        expected = {1}
    if ended.code not in expected:
        problems.append(f"exit code {ended.code}, not {sorted(expected)}: {ended.said}")
    if fault.signal != signal.SIGKILL and ended.code:
        lines = ended.said.strip().splitlines()
        if len(lines) != 1 or not lines[0].startswith("reprune-onnx: "):
            problems.append(f"not one line: {ended.said}")
    return problems


def _between(fault: Fault) -> bool:
    """Killed between the two renames: the one moment at which the pair is not of one run."""
    return fault.signal == signal.SIGKILL and fault.step is not None and fault.step[0] == "replace"


def _left(scenario: Scenario, folder: Path, fault: Fault) -> list[str]:
    """Temporary files; only a process that is killed cannot remove them."""
    expected = {p.name for p in scenario.template.iterdir()} | {*PAIR, "out", "out.training.json"}
    hidden = [p.name for p in folder.rglob("*") if p.name.startswith(".")]
    hidden += [p.name for p in folder.iterdir() if p.name not in expected and p.name[0] != "."]
    checkpoint = [n for n in hidden if n == "out.checkpoint.pt"]  # to go on from
    if fault.signal == signal.SIGKILL:
        hidden = [n for n in hidden if not n.startswith(".")]
    return [f"left behind: {name}" for name in sorted({*hidden} - {*checkpoint})]
