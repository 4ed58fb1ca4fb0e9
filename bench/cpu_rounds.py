"""Which rounds of a comparison count: those in which the machine was one machine.

A round is a reading of the memory's speed, our turn, a reading, llama.cpp's turn, a reading.  On a
virtual machine two threads read 30 GB/s or 60, depending on which of the host's cores they run on
just then, and half a second later on others; a round across such a change compares two machines.
And where another process takes a core, an engine is compared beside a busy process, which is
measured by itself (`cpu_process`).  So a round counts if in its three readings this process had its
cores to itself, and the fastest is at most a tenth faster than the slowest.  The engines' own times
decide nothing, so the rule favours neither.

>>> steady = [Reading(speed=s, cores=0.99) for s in (55.0, 57.0, 56.0)]
>>> counts(steady), counts([*steady[:2], Reading(speed=33.0, cores=0.99)])
(True, False)
>>> counts([*steady[:2], Reading(speed=56.0, cores=0.6)])
False
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

SAME_SPEED, OWN_CORES = 1.1, 0.9
TRIES = 4
"""Rounds that are tried for each that is wanted."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How fast memory was read, in GB/s, and which part of the threads' time this process had."""

    speed: float
    cores: float


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds of both turns, and the readings before, between and after."""

    ours: float
    theirs: float
    readings: Sequence[Reading]

    @property
    def speed(self) -> float:
        """The memory's speed around our turn."""
        return (self.readings[0].speed + self.readings[1].speed) / 2


def take_reading(read: Callable[[], float], threads: int) -> Reading:
    wall, own = perf_counter(), process_time()
    speed = read()
    wall, own = perf_counter() - wall, process_time() - own
    return Reading(speed=speed, cores=own / (wall * threads))


def counts(readings: Sequence[Reading]) -> bool:
    speeds = [one.speed for one in readings]
    alone = all(one.cores >= OWN_CORES for one in readings)
    return alone and max(speeds) <= SAME_SPEED * min(speeds)


def rounds_that_count(
    ours: Callable[[], float],
    theirs: Callable[[], float],
    reading: Callable[[], Reading],
    wanted: int,
) -> tuple[list[Round], int]:
    """As many, if so many are found, and how many were tried; if none counts, all that were."""
    tried: list[Round] = []
    before = reading()
    while len(tried) < TRIES * wanted and sum(counts(r.readings) for r in tried) < wanted:
        mine, between = ours(), reading()
        other, after = theirs(), reading()
        tried.append(Round(ours=mine, theirs=other, readings=(before, between, after)))
        before = after
    return [r for r in tried if counts(r.readings)] or tried, len(tried)
