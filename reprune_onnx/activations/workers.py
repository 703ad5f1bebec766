"""Threads that share work without changing its result."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_AHEAD = 2  # results per thread that wait for being taken


class Workers:
    """A pool of threads, each of which runs numpy's linear algebra by itself.

    A matrix product that is shared out by the library may be summed in another order with another
    number of threads; whole products that are given to threads are not.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self._ahead = _AHEAD * threads

    def in_order(self, work: Callable[[int], T], n: int) -> Iterator[T]:
        """Yield work(0) … work(n - 1); only a few results wait for being taken."""
        waiting: deque[Future[T]] = deque()
        for k in range(n):
            waiting.append(self._pool.submit(work, k))
            if len(waiting) >= self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def run(self, work: Callable[[int], object], n: int) -> None:
        """Do work(0) … work(n - 1), whatever they return."""
        for _ in self.in_order(work, n):
            pass


@contextmanager
def workers() -> Iterator[Workers]:
    """Threads on all cores, for the time of a ``with`` block."""
    from threadpoolctl import threadpool_limits

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        yield Workers(pool, threads or 1)
