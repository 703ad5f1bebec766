"""The short form of `tools/faults`: real processes, killed, interrupted, out of space."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest

if not hasattr(os, "fork"):
    pytest.skip("faults are given to forked processes", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "faults"))

from judge import broken
from run import STEPS, Ended, Fault
from scenario import EARLIER, PAIR, prepared, results, run

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
NOTHING = Fault("none")


@pytest.fixture(scope="module", params=["prune", "recover", "sweep"])
def scenario(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return prepared(request.param, folder)


def suffered(scenario, fault: Fault, folder: Path, earlier: bool) -> Ended:
    """What came of the command; then it is run again, and nothing is missing."""
    scenario.copy(folder, earlier)
    ended = run(folder, scenario.argv(earlier), fault)
    assert broken(scenario, folder, fault, ended, earlier) == []
    again = run(folder, scenario.argv(earlier=True), NOTHING)
    assert (again.code, again.said) == (0, "")
    assert results(folder, scenario.name) == scenario.expected
    return ended


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_at_any_moment(scenario, kind, tmp_path):
    rng = random.Random(f"{scenario.name} {kind}")
    seconds = rng.uniform(0, scenario.seconds)
    earlier = rng.random() < 0.5
    suffered(scenario, Fault("stop", signal=kind, seconds=seconds), tmp_path / "run", earlier)


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_stopped_while_writing(scenario, step, tmp_path):
    if scenario.name != "prune":
        pytest.skip("all write by the same function")
    for k, kind in enumerate((signal.SIGKILL, signal.SIGTERM)):
        fault = Fault("while writing", signal=kind, step=(step, 1 + k))
        ended = suffered(scenario, fault, tmp_path / str(k), True)
        assert ended.code != 0 or (step, kind) == ("replace", signal.SIGTERM)


def test_the_disk_is_full(scenario, tmp_path):
    ended = suffered(scenario, Fault("full", size=1000), tmp_path / "run", True)
    assert ended.code == 1
    assert "cannot write" in ended.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_the_folder_may_not_be_written_to(scenario, tmp_path):
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o555)
    ended = suffered(scenario, Fault("nobody", nobody=True), tmp_path / "run", False)
    assert ended.code == 1


def test_the_judge_sees_what_is_broken(scenario, tmp_path):
    if scenario.name != "prune":
        pytest.skip("one command is enough to show it")
    folder = tmp_path / "run"
    scenario.copy(folder, True)
    ended = Ended(1, "reprune-onnx: no")
    fault = Fault("full", size=1000)
    assert broken(scenario, folder, fault, ended, True) == []
    (folder / PAIR[0]).write_bytes(EARLIER[:-1])
    assert f"{PAIR[0]} is neither old nor new" in broken(scenario, folder, fault, ended, True)
    (folder / PAIR[0]).write_bytes(scenario.expected[PAIR[0]])
    assert "of another" in str(broken(scenario, folder, fault, ended, True))
    (folder / PAIR[0]).write_bytes(EARLIER)
    (folder / ".out.onnx.x1").write_bytes(b"")
    assert broken(scenario, folder, fault, ended, True) == ["left behind: .out.onnx.x1"]
    (folder / ".out.onnx.x1").unlink()
    assert "exit code 0" in str(broken(scenario, folder, fault, Ended(0, ""), True))
    (folder / "model.onnx").write_bytes(b"")
    assert "source model.onnx" in str(broken(scenario, folder, fault, ended, True))
