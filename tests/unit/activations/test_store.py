"""Activations in memory and, beyond a limit, in files that leave nothing behind."""

import errno
import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from reprune_onnx.activations.room import Room, parse_size
from reprune_onnx.activations.store import Store
from reprune_onnx.errors import DataError, UsageError

ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(24, dtype=np.float64).reshape(4, 6).T,
    np.arange(7, dtype=np.float16)[::2],
    np.arange(7).astype(ml_dtypes.bfloat16),
    np.array([True, False, True]),
    np.array(3, dtype=np.int64),
    np.zeros((2, 0, 3), dtype=np.float32),
    np.array([np.nan, -0.0, np.inf], dtype=np.float32),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The temporary files that were opened."""
    files: list[Any] = []
    real: Callable[..., Any] = tempfile.TemporaryFile

    def recorded(*args: Any, **kwargs: Any) -> Any:
        files.append(real(*args, **kwargs))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", recorded)
    return files


def same(read: np.ndarray, array: np.ndarray) -> bool:
    return (read.dtype, read.shape, read.tobytes()) == (
        array.dtype,
        array.shape,
        array.tobytes(),
    )


@pytest.mark.parametrize("limit", [0, 150, 10**6])
def test_what_goes_in_comes_back_bit_for_bit(limit: int, folder: Path) -> None:
    store = Store(Room(limit))
    for name in ("a", "b"):
        for k, array in enumerate(ARRAYS):
            store.put(name, k, array)
    assert store.names() == {"a", "b"}
    for k in reversed(range(len(ARRAYS))):
        assert same(store.get("b", k), ARRAYS[k])
        assert same(store.get("a", k), ARRAYS[k])
    store.keep({"b"}, 2)
    assert store.names() == {"b"}
    assert same(store.get("b", 1), ARRAYS[1])
    store.drop("b", 1)
    store.drop("b", 0)
    assert store.names() == set()


def test_no_more_in_memory_than_the_limit(opened: list[Any]) -> None:
    store = Store(Room(1000))
    arrays = [np.full(100, k, np.float32) for k in range(5)]  # 400 bytes each
    for k, array in enumerate(arrays):
        store.put("x", k, array)
    (file,) = opened
    assert file.seek(0, 2) == 3 * 400
    assert store.get("x", 0) is arrays[0]
    assert store.get("x", 1) is arrays[1]
    assert store.get("x", 2) is not arrays[2]
    store.keep(set(), 0)
    assert file.closed
    store.put("y", 0, np.zeros(250, np.float32))
    assert len(opened) == 1, "what was dropped makes room"


def test_another_value_replaces_the_first(opened: list[Any]) -> None:
    store = Store(Room(1000))
    store.put("x", 0, np.zeros(200, np.float32))
    store.put("x", 0, np.ones(240, np.float32))
    assert not opened, "the first value makes room for the second"
    store.put("x", 0, np.full(300, 2, np.float32))
    assert same(store.get("x", 0), np.full(300, 2, np.float32))
    store.put("y", 0, np.ones(250, np.float32))
    assert len(opened) == 1
    store.put("x", 0, np.full(300, 3, np.float32))
    assert same(store.get("x", 0), np.full(300, 3, np.float32))
    store.keep(set(), 0)


def test_files_have_no_name_and_are_closed(folder: Path, opened: list[Any]) -> None:
    store = Store(Room(0))
    for name in "abc":
        store.put(name, 0, np.zeros(1000))
    assert [p for p in folder.iterdir() if os.name == "posix"] == []
    assert len(opened) == 3
    store.keep({"a", "c"}, 1)
    assert [file.closed for file in opened] == [False, True, False]
    store.keep(set(), 1)
    assert all(file.closed for file in opened)
    assert list(folder.iterdir()) == []


@pytest.fixture
def small_files(folder: Path) -> Iterator[None]:
    """No file may be larger than 10,000 bytes; as on a full disk, writing then fails."""
    resource = pytest.importorskip("resource", reason="this system has no limit on files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100, 2_000, 4_000, 40_000])
def test_a_full_disk_is_said_in_one_line(small_files: None, folder: Path, size: int) -> None:
    store = Store(Room(0))
    with pytest.raises(DataError, match=r"no room for .* --calibration-size, or set TMPDIR") as e:
        for k in range(200):
            store.put("x", k, np.full(size // 4, k, np.float32))
    assert str(folder) in str(e.value)
    assert "File too large" in str(e.value)
    store.keep(set(), 0)
    del store
    gc.collect()
    assert list(folder.iterdir()) == []


def test_no_temporary_file_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        Store(Room(0)).put("x", 0, np.zeros(10))


def test_a_store_that_is_let_go_closes_its_files(opened: list[Any]) -> None:
    store = Store(Room(0))
    store.put("x", 0, np.zeros(10))
    del store
    gc.collect()
    (file,) = opened
    assert file.closed


def test_stores_share_a_room(opened: list[Any]) -> None:
    room = Room(1000)
    a, b = Store(room), Store(room)
    a.put("x", 0, np.zeros(150, np.float32))
    b.put("x", 0, np.zeros(150, np.float32))
    assert (len(opened), room.written) == (1, 600), "the first took what the second lacked"
    a.drop("x", 0)
    b.put("y", 0, np.zeros(150, np.float32))
    assert room.written == 600
    del b
    gc.collect()
    a.put("z", 0, np.zeros(250, np.float32))
    assert room.written == 600, "a store that is let go gives back what it held"


@pytest.mark.parametrize(
    ("text", "n"),
    [("100", 100), ("512M", 512 << 20), ("1.5g", 3 << 29), ("2 GiB", 2 << 30), ("3kb", 3 << 10)],
)
def test_sizes(text: str, n: int) -> None:
    assert parse_size(text) == n


@pytest.mark.parametrize("text", ["", "G", "-1G", "2X", "nan", "1e3", "2GG"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory '.*' is no size such as 512M or 2G"):
        parse_size(text)
