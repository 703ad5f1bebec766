"""Files that appear whole, and several of them together or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reprune_onnx.errors import OutputError


class Files:
    """Files in the making: written beside their places, and put there by `commit`.

    Whatever ends the ``with`` block before that leaves no trace. With ``replace=False`` a file that
    somebody else made in the meantime stays, and OutputError is raised; so it is where something
    cannot be written.
    """

    def __init__(self, *, replace: bool = True) -> None:
        self._replace = replace
        self._staged: list[tuple[Path, Path]] = []
        self._folders: list[Path] = []

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *raised: object) -> None:
        with _uninterrupted():
            for partial, _ in self._staged:
                partial.unlink(missing_ok=True)
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)

    def add(self, path: Path, data: bytes) -> None:
        """Write ``data``, which becomes the file ``path``."""
        check_kind(path)
        with told(path):
            with _uninterrupted():  # what is made is known, or it would be left behind
                descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
                partial = Path(name)
                self._staged.append((partial, path))
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(0o666 & ~_umask())

    def folder(self, path: Path) -> Path:
        """Return a folder beside ``path`` for files that `move` takes from there."""
        check_kind(path)
        with told(path), _uninterrupted():
            made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            self._folders.append(made)
        return made

    def move(self, partial: Path, path: Path) -> None:
        """Let a file that is written already become the file ``path``, as open as a new one is."""
        with told(path):
            partial.chmod(0o666 & ~_umask())
        self._staged.append((partial, path))

    def commit(self) -> None:
        """Put all files in their places, in the order in which they were added."""
        with _alone({path.parent for _, path in self._staged}):
            for _, path in self._staged:
                if not self._replace and path.exists():
                    raise OutputError(f"'{path}' exists by now: another run wrote it")
            for partial, path in self._staged:
                with told(path):
                    partial.replace(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half-written; OutputError where it cannot be."""
    with Files() as files:
        files.add(path, data)
        files.commit()


def check_kind(path: Path) -> None:
    """Raise OutputError where ``path`` is a device, a pipe or a folder: these are not replaced."""
    with told(path):
        if path.exists() and not path.is_file():
            raise OutputError(f"'{path}' is no ordinary file; give the name of one")


def check_folder(path: Path) -> None:
    """Raise OutputError where there is no folder to write ``path`` to, or no permission in it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"cannot write '{path}': there is no folder '{path.parent}'; make it")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write '{path}': no permission in '{path.parent}'")


def check_out(path: Path, read: Iterable[Path] = (), *, force: bool) -> None:
    """Raise OutputError where ``path`` is one of the files ``read``, exists, or cannot be written.

    With ``force`` a file that exists may be replaced.
    """
    if path.exists() and any(each.exists() and path.samefile(each) for each in read):
        raise OutputError(f"'{path}' is read, so it is never written to")
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder; give the name of a file")
    check_kind(path)
    if path.exists() and not force:
        raise OutputError(f"'{path}' exists; give another name, or --force to replace it")
    check_folder(path)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell a failure of the file system as one of writing ``path``."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            check_folder(path)
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error


@contextmanager
def _alone(folders: set[Path]) -> Iterator[None]:
    """Keep other runs from these folders meanwhile, where the system can, and signals away.

    A folder under two names is locked once: a second time it would wait for itself.
    """
    locked: list[int] = []
    folders = {folder.resolve() for folder in folders}
    with _uninterrupted():
        try:
            for folder in sorted(folders):
                if (descriptor := _lock(folder)) is not None:
                    locked.append(descriptor)
            yield
        finally:
            for descriptor in locked:
                os.close(descriptor)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the end, where their handlers are called.

    Blocking them in this thread would not do: the system gives a signal to any other thread that
    takes it, as those of ONNX Runtime do, and Python calls its handler in the main thread. Other
    threads than that one are never interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for n in before:
        signal.signal(n, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, signal.SIG_DFL if handler is None else handler)
        for number in waiting:
            signal.raise_signal(number)


def _lock(folder: Path) -> int | None:
    try:
        import fcntl
    except ImportError:  # not a Unix
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system that has no locks
        os.close(descriptor)
        return None
    return descriptor


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
