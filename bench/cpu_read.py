"""How fast this machine reads memory: the ceiling of decoding."""

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from backends.numba.compile import entry
from backends.numba.simd import as_ints, sum_ints
from backends.numba.simd_memory import load_bytes, load_word, prefetch, store_int


@entry(3)
def read_all(argument: int, thread: int, threads: int) -> None:
    """Argument: address, bytes, and where the sums go (so that nothing can be left out)."""
    start, size, out = load_word(argument), load_word(argument + 8), load_word(argument + 16)
    lines = size // 512
    first, last = lines * thread // threads, lines * (thread + 1) // threads
    a = as_ints(load_bytes(start))
    b, c, d = a, a, a
    for line in range(first, last):
        place = start + 512 * line
        a = a ^ as_ints(load_bytes(place)) ^ as_ints(load_bytes(place + 64))
        b = b ^ as_ints(load_bytes(place + 128)) ^ as_ints(load_bytes(place + 192))
        c = c ^ as_ints(load_bytes(place + 256)) ^ as_ints(load_bytes(place + 320))
        d = d ^ as_ints(load_bytes(place + 384)) ^ as_ints(load_bytes(place + 448))
        prefetch(place + 8192)
        prefetch(place + 8192 + 128)
        prefetch(place + 8192 + 256)
        prefetch(place + 8192 + 384)
    store_int(out + 4 * thread, sum_ints(a ^ b ^ c ^ d))


def read_bandwidth(ours: Any, rounds: int = 3) -> float:
    """GB/s over the very memory that holds the weights, by the very threads: the median."""
    memory = ours.model.layers[0]["ffn_up.weight"].memory.base
    while getattr(memory, "base", None) is not None and isinstance(memory.base, np.ndarray):
        memory = memory.base
    pool, sums = ours.backend.pool, np.zeros(64, np.int32)
    words = np.array([memory.ctypes.data, memory.nbytes, sums.ctypes.data], np.int64)
    times = []
    for _ in range(rounds):
        start = perf_counter()
        pool.run(read_all, words.ctypes.data)
        times.append(perf_counter() - start)
    return float(memory.nbytes / median(times) / 1e9)
