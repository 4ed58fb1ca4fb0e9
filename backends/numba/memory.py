"""Memory for weights: huge pages.

A processor keeps a few thousand translations of addresses at hand.  With pages of 4 KiB, reading a
gigabyte needs 262144 of them; with huge pages of 2 MiB, 512.  On the machine this was written on,
two threads read weights half again as fast.  A mapped file cannot have huge pages (on Linux), so
weights are copied, interleaved on the way (`layout`), and the file's own pages are given back
(`refimpl.formats.files.forget`).

>>> block = huge(1 << 20)
>>> block.nbytes, int(block.max())
(1048576, 0)
"""

import mmap
import sys
from contextlib import suppress

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

HUGE_PAGE = 1 << 21


def huge(size: int) -> UInt8[ndarray, " bytes"]:
    """`size` zero bytes, in huge pages where the system has them."""
    if size < 4 * HUGE_PAGE:  # a page is zeroed whole, and most of it would not be used
        return np.zeros(size, np.uint8)
    memory = private(size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8, size)


def private(size: int) -> mmap.mmap:
    """Fresh memory of our own.  (Python's default is shared memory, which gets no huge pages.)"""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
