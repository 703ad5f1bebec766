"""Files changed at random: the short form of `tools/fuzz`, which goes on as long as it is let."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "fuzz"))

from promise import TARGETS, BrokenPromiseError, kept, mutated

FILES = {"model": 120, "selection": 40, "report": 40, "data": 60, "target": 40}


def flipped(data: bytes, most: int) -> bytes:
    """Change one to four bytes, as libFuzzer would."""
    rng = random.Random(data)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[:most])


@pytest.mark.parametrize("name", FILES)
def test_the_command_keeps_its_promises(name):
    target = TARGETS[name]
    for seed in range(FILES[name]):
        kept(target, mutated(target.seeds[seed % len(target.seeds)], seed, target, flipped))


def test_a_broken_promise_is_seen(monkeypatch):
    """Whatever the command does wrong reaches the fuzzer as an exception."""
    target = TARGETS["model"]
    kept(target, target.seeds[0])
    monkeypatch.setattr("promise.run", lambda app, argv: 3)
    with pytest.raises(BrokenPromiseError, match="exit code 3"):
        kept(target, target.seeds[0])
    monkeypatch.setattr("promise.run", lambda app, argv: 0)
    with pytest.raises(BrokenPromiseError, match="left"):
        kept(target, target.seeds[0])
