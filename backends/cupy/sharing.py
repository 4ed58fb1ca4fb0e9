"""Products of a batch in half precision: how linear_half_batch.cu deals rows to multiprocessors.

A multiprocessor copies 34 GB/s of weights at most, whether one block asks or two.  So what counts
is that each gets the same share of them: a block stands alone on its multiprocessor, and takes as
many row tiles as give each of them something to do, once.

Of few rows, two blocks in a cluster share the columns.  (A larger cluster would not reach every
multiprocessor: it lies inside a part of the GPU, and the parts are no multiples of four.)
"""

from dataclasses import dataclass

MOST_TILES = 16
FEW_TILES = 2
"""Where a block would have so few of all columns, two share twice as many."""
COPIERS = 2  # warps of a block that copy
ROOM, MOST_STAGES = 224 * 1024, 8  # bytes of shared memory for a block
TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Of a launch: how many share columns, and row tiles of each."""

    cluster: int
    tiles: int
    sides: int = 1
    """Two where a block takes as many tiles of the gate as of what it lets through."""

    @property
    def stages(self) -> int:
        return min(MOST_STAGES, ROOM // self.stage)

    @property
    def blocks(self) -> int:
        """Of 32 columns, in a stage: of few rows more, or stages come and go too often."""
        return 4 if self.tiles <= 3 else 2

    @property
    def stage(self) -> int:
        """Its bytes."""
        return self.blocks * (self.tiles * 1024 + TOKENS * 64)

    @property
    def shared(self) -> int:
        return self.stages * self.stage

    @property
    def threads(self) -> int:
        """Warps work by fours, of a side each."""
        return 32 * (self.sides * -(-self.tiles // self.sides // 4) * 4 + COPIERS)

    def grid(self, rows: int) -> tuple[int]:
        return (-(-rows // (16 * self.tiles)) * self.cluster,)

    @property
    def defines(self) -> dict[str, int]:
        own = {"CLUSTER": self.cluster, "TILES": self.tiles}
        return own | {"BLOCKS": self.blocks, "STAGES": self.stages}


def deal(row_tiles: int, at_once: int, most: int) -> int:
    """Row tiles of each: in as few rounds as can be, and alike in all of them.

    >>> deal(256, 66, 16), deal(2000, 132, 16), deal(2500, 132, 16)
    (4, 16, 10)
    """
    rounds = -(-row_tiles // (at_once * most))
    return -(-row_tiles // (at_once * rounds))


def blocks_for(rows: int, multiprocessors: int, sides: int = 1) -> Blocks:
    """How a matrix of so many rows is dealt; `sides`: as Blocks says.

    >>> blocks_for(4096, 132)
    Blocks(cluster=2, tiles=4, sides=1)
    >>> blocks_for(2 * 14336, 132, sides=2)
    Blocks(cluster=1, tiles=14, sides=2)
    """
    row_tiles = -(-rows // 16) // sides
    tiles = sides * deal(row_tiles, multiprocessors, MOST_TILES // sides)
    if tiles > FEW_TILES:
        return Blocks(cluster=1, tiles=tiles, sides=sides)
    return Blocks(cluster=2, tiles=deal(row_tiles, multiprocessors // 2, MOST_TILES))
