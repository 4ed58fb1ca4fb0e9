"""Workers: threads that wait for a job, do their share of it, and wait for the next.

A step of a small model takes a quarter of a millisecond, and waking a thread through the operating
system a good part of that.  So a worker waits by looking: first in a tight loop, then giving way to
other processes between looks; after some thousand looks it goes to sleep and must be woken.

A job is compiled code's address and one argument: `job(argument, thread, threads)`.  The caller is
thread 0 and works too.  Threads meet at barriers (`atomics`) inside the job, and at its end.

    board   word 0: arrived   line 1: barriers passed
            line 2: jobs given, job, argument, threads, the core of who gives them
            line 3 + i: worker i sleeps

A thread is often woken on the core of the one that wakes it, and moved only after a while.  Until
then every barrier costs as long as a thread waits before it gives way, a hundred microseconds; so a
worker that wakes up leaves that core by itself (`step_aside`).

>>> with_two = Pool(2)
>>> with_two.threads
2
"""

import ctypes
import os
import sys
import threading
import weakref
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba.atomics import LINE, barrier, fetch_add, read, wait_until_changed, write
from backends.numba.compile import Entry, entry
from backends.numba.simd import i64

PATIENCE = 20000
"""Looks before a worker goes to sleep: a few milliseconds."""
JOBS, JOB, ARGUMENT, THREADS, CORE = (2 * LINE + 8 * i for i in range(5))
SLEEPS = 3 * LINE


@intrinsic
def call3(context: Any, function: Any, a: Any, b: Any, c: Any) -> Any:
    """Call compiled code by its address."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [i64] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@entry(4)
def work(board: int, thread: int, seen: int, report: int) -> None:
    """Wait for a job beyond `seen` and do it, and so on; `report` gets the number of the last."""
    sleeps = board + SLEEPS + LINE * (thread - 1)
    awake = 1
    while awake:
        if wait_until_changed(board + JOBS, seen, PATIENCE):
            seen += 1
            call3(read(board + JOB), read(board + ARGUMENT), thread, read(board + THREADS))
            barrier(board, read(board + THREADS))
        else:
            write(sleeps, 1)
            awake = read(board + JOBS) != seen  # a job may have come just now
    write(report, seen)


@entry(4)
def publish(board: int, job: int, argument: int, threads: int) -> None:
    """Give a job to the workers."""
    write(board + JOB, job)
    write(board + ARGUMENT, argument)
    write(board + THREADS, threads)
    fetch_add(board + JOBS, 1)


@entry(4)
def lead(board: int, job: int, argument: int, threads: int) -> None:
    """Thread 0's share; back when all have done theirs."""
    call3(job, argument, 0, threads)
    barrier(board, threads)


def available() -> int:
    """How many threads can run at once: the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """`threads` - 1 workers, started with the first job."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available()
        words = (SLEEPS + LINE * self.threads) // 8
        self._memory = np.zeros(words + LINE // 8, np.int64)
        start = -self._memory.ctypes.data % LINE // 8
        self._words = self._memory[start : start + words]
        self.board = int(self._words.ctypes.data)
        self._sleeps = self._words[SLEEPS // 8 :: LINE // 8]
        self._awake: list[threading.Lock] = []  # held, until a worker is to wake up
        self._one_at_a_time = threading.Lock()

    def run(self, job: Entry, argument: int) -> None:
        """Do a job with all threads; back when all are done."""
        with self._one_at_a_time:
            if self.threads > 1:
                self._start()
                publish(self.board, job.address, argument, self.threads)
                self._wake()
            lead(self.board, job.address, argument, self.threads)

    def _wake(self) -> None:
        """Whoever fell asleep before the job was published; one too many does no harm."""
        for i, awake in enumerate(self._awake):
            if self._sleeps[i]:
                self._sleeps[i] = 0
                self._words[CORE // 8] = current_core()
                if awake.locked():
                    awake.release()

    def _start(self) -> None:
        if self._awake:
            return
        for thread in range(1, self.threads):
            awake = threading.Lock()
            awake.acquire()
            self._awake.append(awake)
            arguments = (self._words, thread, awake, weakref.ref(self))
            threading.Thread(target=serve, args=arguments, daemon=True).start()


def current_core() -> int:
    """The number of the core this thread runs on; -1 where systems do not say."""
    return int(libc().sched_getcpu()) if sys.platform == "linux" else -1


@cache
def libc() -> Any:
    return ctypes.CDLL(None)


def step_aside(core: int) -> None:
    """Go to another core than this one, if there is another; later it may be used again."""
    if hasattr(os, "sched_setaffinity"):
        mine = os.sched_getaffinity(0)
        with suppress(OSError):  # there is none, or it is forbidden
            os.sched_setaffinity(0, mine - {core})
            os.sched_setaffinity(0, mine)


def serve(words: Any, thread: int, awake: threading.Lock, pool: Any) -> None:
    """A worker's life: it ends, asleep, with its pool."""
    board, seen = int(words.ctypes.data), np.zeros(1, np.int64)
    while True:
        work(board, thread, int(seen[0]), seen.ctypes.data)
        while not awake.acquire(timeout=5.0):
            if pool() is None:
                return
        step_aside(int(words[CORE // 8]))
