"""How many blocks of a kernel run at once, and what follows for its launch."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

REGISTERS, THREADS = 65536, 2048  # of a multiprocessor
SHARED, OF_SYSTEM = 228 * 1024, 1024  # bytes of a multiprocessor; and those a block takes besides


@cache
def multiprocessors() -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"])


def resident(kernel: Any, threads: int, work: int, most: int) -> int:
    """Blocks of a kernel that walks over its work: as many as run at once, if there is enough.

    `kernel` is CuPy's; a block takes at most `most` pieces of work.
    """
    registers = threads * (-(-kernel.num_regs // 8) * 8)
    at_once = multiprocessors() * min(THREADS // threads, REGISTERS // registers)
    return max(min(work, at_once), -(-work // most))


def spread(kernel: Any, grid: Sequence[int]) -> int:
    """Shared memory to ask for, so that no multiprocessor takes more than its share of blocks.

    Where launches may begin early, a block goes wherever one of the launch before has just ended:
    some multiprocessors would get three and others one, and all would wait for the three.
    """
    return shared_for_share(-(-math.prod(grid) // multiprocessors()), kernel.shared_size_bytes)


def shared_for_share(share: int, static: int) -> int:
    """
    >>> shared = shared_for_share(2, 4096)
    >>> (2 * (shared + 4096 + OF_SYSTEM) <= SHARED, 3 * (shared + 4096 + OF_SYSTEM) <= SHARED)
    (True, False)
    >>> shared_for_share(5, 4096)  # so many come out even
    0
    """
    return 0 if share > 4 else max(0, SHARED // (share + 1) - static - OF_SYSTEM + 512)
