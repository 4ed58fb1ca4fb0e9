"""A linear map of one token: how deep the rings of linear_q8_one.cu and linear_half_one.cu are.

Each of a block's warps has a ring of stages in shared memory, and the token lies beside them.
Blocks ask for so much that a multiprocessor has room for one.  Then every multiprocessor gets one,
even where a launch begins before the last has ended, and fills its rings meanwhile.

A block has eight warps, a run of columns each.  Small tiles come faster than eight warps are done
with them: then it has sixteen, for two row tiles side by side.
"""

from backends.cupy.compile import capability
from backends.cupy.tiles import TILE_BYTES, Tiles

WARPS = 8  # of a block, for each row tile that it has side by side
GROUP, GROUP_HALF = 8, 4  # tiles of a stage: of quantised weights, of half precision
ROOM = 132 * 1024  # bytes of shared memory for a block: leaves some to one of attend_few.cu
ROOM_SMALL = 72 * 1024  # ... on a GPU that has less shared memory than these:
ROOMY = (90, 100, 103)
ROOM_OF_TWO = 136 * 1024  # ... with two row tiles side by side, which never stands beside that one
BESIDE_RINGS = 12 * 1024  # bytes of shared memory at most, that the kernel itself declares
STAGES_OF_TWO = 3  # of its rings, at least
MOST_OWN_BLOCKS = 256  # of 32 columns, of a token that each thread block prepares for itself


def unit(kind: str) -> int:
    """How many times four columns a thread of prepare.cu has of a block of 32, or of 256."""
    return 2 if kind == "Q8_K" else 1


def prepares_itself(w: Tiles, kind: str, tokens: int) -> bool:
    """Do the kernels for one token take it as it is?"""
    few = tokens == 1 and w.blocks <= MOST_OWN_BLOCKS and w.blocks % 8 == 0
    return few and kind in ("Q8_0", "Q8_K")


def own_pieces(w: Tiles, kind: str, sides: int) -> int:
    """How many times four columns a thread then has of the whole token."""
    return -(-w.blocks // (32 * unit(kind) * sides)) * unit(kind)


def room_of_token(w: Tiles) -> int:
    """Bytes of shared memory for a prepared token: its bytes, scales and sums, or its halves."""
    return (w.blocks + 15) // 8 * 8 * 44 if w.quantised else (w.blocks + GROUP_HALF) * 64


def room_here(room: int) -> int:
    return room if capability() in ROOMY else ROOM_SMALL


def sides_of_row(w: Tiles, multiprocessors: int) -> int:
    """Row tiles of a block side by side: two, where tiles are so small that rings stay deep enough.

    But one of a matrix that fits into the rings: it has come before its token, and such matrices
    stand before and after attention, which needs the registers of the other eight warps.

    >>> from backends.cupy.tiles import Planes
    >>> [sides_of_row(Tiles(format="Q4_K", rows=n, columns=4096, planes=Planes(None)), 132)
    ...  for n in (6144, 14336)]
    [1, 2]
    """
    held = w.rows // 16 * w.blocks * TILE_BYTES[w.format][0] <= multiprocessors * ROOM
    deep = w.quantised and ring_of_row(w, ROOM_OF_TWO, 2)[0] >= STAGES_OF_TWO
    return 2 if deep and not held else 1


def ring_of_row(w: Tiles, room: int, sides: int = 1) -> tuple[int, int]:
    """Stages of each warp's ring, and bytes to ask for.

    >>> from backends.cupy.tiles import Planes
    >>> ring_of_row(Tiles(format="Q8_0", rows=16, columns=4096, planes=Planes(None)), ROOM)
    (3, 135168)
    """
    tile, supers = TILE_BYTES[w.format]
    tiles = GROUP if w.quantised else GROUP_HALF
    token, stage = room_of_token(w), sides * WARPS * (tiles * tile + 2 * supers)
    stages = min(8, max(1, (room - token) // stage))
    return stages, max(room, stages * stage + token)
