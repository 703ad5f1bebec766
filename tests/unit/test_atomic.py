"""Files that appear whole, and together or not at all."""

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from reprune_onnx.atomic import Files, write_atomically
from reprune_onnx.errors import OutputError


def test_nothing_is_seen_before_all_is_there(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"old")
    with Files() as files:
        files.add(a, b"new")
        files.add(b, b"new too")
        assert a.read_bytes() == b"old"
        assert not b.exists()
        files.commit()
    assert (a.read_bytes(), b.read_bytes()) == (b"new", b"new too")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_not_put_in_place_is_gone(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error), Files() as files:
        files.add(tmp_path / "a", b"new")
        (files.folder(tmp_path / "b") / "part").write_bytes(b"x")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_second_file_that_cannot_be_written_keeps_the_first_from_its_place(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write '.*/nowhere/b'"), Files() as files:
        files.add(tmp_path / "a", b"new")
        files.add(tmp_path / "nowhere" / "b", b"new")
        files.commit()
    assert list(tmp_path.iterdir()) == []


def test_what_another_run_wrote_meanwhile_stays(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    with pytest.raises(OutputError, match="another run"), Files(replace=False) as files:
        files.add(a, b"mine")
        files.add(b, b"mine")
        b.write_bytes(b"theirs")
        files.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert b.read_bytes() == b"theirs"


def test_a_file_has_the_rights_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    a, b = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab")
    assert a == b


def test_moved_files_come_in_order(tmp_path):
    with Files() as files:
        folder = files.folder(tmp_path / "model")
        for name in ("weights", "model"):
            (folder / name).write_bytes(name.encode())
            files.move(folder / name, tmp_path / name)
        files.commit()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "weights"]


def test_a_folder_of_two_names_does_not_wait_for_itself(tmp_path):
    """Such as -o /home/me/small.onnx beside --report small.json: the lock on it is taken once."""
    (tmp_path / "sub").mkdir()

    def give_up(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        with Files() as files:
            files.add(tmp_path / "a", b"")
            files.add(tmp_path / "sub" / ".." / "b", b"")
            files.commit()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


def test_a_pipe_or_a_device_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (lambda: write_atomically(pipe, b"new"), lambda: Files().folder(pipe)):
        with pytest.raises(OutputError, match="no ordinary file"):
            write()
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of a Unix")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_that_is_moved_into_place_is_as_open_as_a_new_one(tmp_path, mask):
    before = os.umask(mask)
    try:
        with Files() as files:
            made = files.folder(tmp_path / "m.onnx") / "m.onnx.data"
            made.write_bytes(b"weights")
            made.chmod(0o600)  # as a library leaves it
            files.move(made, tmp_path / "m.onnx.data")
            files.add(tmp_path / "m.onnx", b"graph")
            files.commit()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


def test_a_signal_waits_until_all_files_are_in_their_places(tmp_path, monkeypatch):
    """Also where another thread takes it, in which it is not blocked."""

    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    replace_, idle = Path.replace, threading.Event()

    def replace(self: Path, target: Path) -> Path:
        os.kill(os.getpid(), signal.SIGTERM)
        return replace_(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    before, other = signal.signal(signal.SIGTERM, stop), threading.Thread(target=idle.wait)
    other.start()
    first, second = tmp_path / "first", tmp_path / "second"
    try:
        with pytest.raises(StoppedError), Files() as files:
            files.add(first, b"1")
            files.add(second, b"2")
            files.commit()
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
        idle.set()
        other.join()
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "second"]
