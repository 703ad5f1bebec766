"""What several processes measure is what one measures: of every task, with labels and without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tallies_of_tasks import COUNTS, tallies

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

PROGRAM = Path(__file__).parent / "tallies_of_tasks.py"


def test_two_processes_measure_what_one_does(root, tmp_path):
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, tmp_path / "meeting", str(rank), "2", tmp_path / f"{rank}"],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0, 0], ends
    by_one = {name: t.scores() for n in COUNTS for name, t in tallies(n, slice(None))}
    halves = {name: t.scores() for name, t in tallies(COUNTS[0], slice(0, None, 2))}
    for rank in (0, 1):
        together = json.loads((tmp_path / f"{rank}").read_text())
        assert together.keys() == by_one.keys()
        for name, scores in by_one.items():
            for key, value in scores.items():
                seen, wanted = (np.array(v, np.float64) for v in (together[name][key], value))
                np.testing.assert_allclose(seen, wanted, rtol=1e-9, err_msg=f"{name}, {key}")
    # the control: one process alone measures something else
    assert all(scores != by_one[name] for name, scores in halves.items())
