"""A map of a layer's values, by which Hopper's copy engine finds a tile and turns its rows.

One copy is 16 rows of 128 numbers, as two tiles of 64: side by side in the cache, one after the
other in shared memory, where the place of a row's 16-byte chunks depends on the row (`ask_tiles` in
kernels/key_ring.cuh says why).  So the map has three dimensions: 64 numbers, the rows, two halves.

Source: the CUDA driver API, section 6.30 (tensor map objects).
"""

import ctypes
from typing import Any

from backends.cupy.driver import Large, driver
from refimpl.errors import UnsupportedError

DIM = 128
ROWS = 16
HALF_TYPE = 6  # CU_TENSOR_MAP_DATA_TYPE_FLOAT16; bfloat16 is copied as well
TURNED = 3  # CU_TENSOR_MAP_SWIZZLE_128B
WORDS = 16  # of 8 bytes, of a CUtensorMap


def tile_map(values: Any) -> Large:
    """values: a layer's, rows of 128 numbers of two bytes, one after the other."""
    half, row = DIM // 2, 2 * DIM
    found = Large.of_words(WORDS)
    failed = driver().cuTensorMapEncodeTiled(
        ctypes.c_void_p(found.address),
        HALF_TYPE,
        3,
        ctypes.c_void_p(values.data.ptr),
        (ctypes.c_uint64 * 3)(half, values.nbytes // row, 2),
        (ctypes.c_uint64 * 2)(row, row // 2),
        (ctypes.c_uint32 * 3)(half, ROWS, 2),
        (ctypes.c_uint32 * 3)(1, 1, 1),
        0,  # not interleaved
        TURNED,
        0,  # nothing beyond a tile goes to the L2 cache
        0,  # what lies outside is 0
    )
    if failed:
        raise UnsupportedError(f"CUDA's driver refused a map of values: error {failed}")
    return found
