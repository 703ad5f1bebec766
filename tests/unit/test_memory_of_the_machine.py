"""What is free is what the system says, or what a container leaves."""

from pathlib import Path

import pytest

from reprune_onnx import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:     500 kB\n")
    return tmp_path


def test_what_the_system_calls_available(system: Path) -> None:
    assert memory.available_memory() == 500 * 1024


@pytest.mark.parametrize(("limit", "left"), [("300000", 100_000), ("max", 512_000), ("150000", 0)])
def test_a_container_may_leave_less(system: Path, limit: str, left: int) -> None:
    (system / "memory.max").write_text(limit + "\n")
    (system / "memory.current").write_text("200000\n")
    assert memory.available_memory() == left


def test_a_system_that_does_not_tell(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "meminfo").write_text("nothing\n")

    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(memory.os, "sysconf", refuse, raising=False)
    assert memory.available_memory() == 2 << 30
