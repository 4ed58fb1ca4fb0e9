"""A linear map of one token: how deep the rings of linear_q8_one.cu and linear_half_one.cu are.

Each of a block's eight warps has a ring of stages in shared memory, and the token lies beside them.
Blocks ask for so much that a multiprocessor has room for one.  Then every multiprocessor gets one,
even where a launch begins before the last has ended, and fills its rings meanwhile.
"""

from backends.cupy.compile import capability
from backends.cupy.tiles import TILE_BYTES, Tiles

WARPS = 8  # of a block
GROUP, GROUP_HALF = 8, 4  # tiles of a stage: of quantised weights, of half precision
ROOM = 132 * 1024  # bytes of shared memory for a block: leaves some to one of attend_few.cu
ROOM_SMALL = 72 * 1024  # ... on a GPU that has less shared memory than these:
ROOMY = (90, 100, 103)
BESIDE_RINGS = 12 * 1024  # bytes of shared memory at most, that the kernel itself declares
MOST_OWN_BLOCKS = 256  # of 32 columns, of a token that each thread block prepares for itself


def unit(kind: str) -> int:
    """How many times four columns a thread of prepare.cu has of a block of 32, or of 256."""
    return 2 if kind == "Q8_K" else 1


def prepares_itself(w: Tiles, kind: str, tokens: int) -> bool:
    """Do the kernels for one token take it as it is?"""
    few = tokens == 1 and w.blocks <= MOST_OWN_BLOCKS and w.blocks % 8 == 0
    return few and kind in ("Q8_0", "Q8_K")


def own_pieces(w: Tiles, kind: str) -> int:
    """How many times four columns a thread then has of the whole token."""
    return -(-w.blocks // (32 * unit(kind))) * unit(kind)


def room_of_token(w: Tiles) -> int:
    """Bytes of shared memory for a prepared token: its bytes, scales and sums, or its halves."""
    return (w.blocks + 15) // 8 * 8 * 44 if w.quantised else (w.blocks + GROUP_HALF) * 64


def room_here(room: int) -> int:
    return room if capability() in ROOMY else ROOM_SMALL


def ring_of_row(w: Tiles, room: int) -> tuple[int, int]:
    """Stages of each warp's ring, and bytes to ask for.

    >>> from backends.cupy.tiles import Planes
    >>> ring_of_row(Tiles(format="Q8_0", rows=16, columns=4096, planes=Planes(None)), ROOM)
    (3, 135168)
    """
    tile, supers = TILE_BYTES[w.format]
    tiles = GROUP if w.quantised else GROUP_HALF
    token, stage = room_of_token(w), WARPS * (tiles * tile + 2 * supers)
    stages = min(8, max(1, (room - token) // stage))
    return stages, max(room, stages * stage + token)
