"""How many blocks of a kernel run at once, and what follows for its launch."""

from functools import cache
from typing import Any

REGISTERS, THREADS = 65536, 2048  # of a multiprocessor


@cache
def multiprocessors() -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"])


@cache
def most_shared() -> int:
    """Bytes of shared memory that a block can ask for."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(0)["sharedMemPerBlockOptin"])


def resident(kernel: Any, threads: int, work: int, most: int) -> int:
    """Blocks of a kernel that walks over its work: as many as run at once, if there is enough.

    `kernel` is CuPy's; a block takes at most `most` pieces of work.
    """
    registers = threads * (-(-kernel.num_regs // 8) * 8)
    at_once = multiprocessors() * min(THREADS // threads, REGISTERS // registers)
    return max(min(work, at_once), -(-work // most))
