"""Launching the kernels: which variant for how many tokens, and the arguments in C's types."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.cupy.compile import Kernels, capability
from backends.cupy.driver import launch_early
from backends.cupy.occupancy import most_shared, multiprocessors
from backends.cupy.row import (
    BESIDE_RINGS,
    ROOM,
    ROOM_OF_TWO,
    ROOMY,
    own_pieces,
    ring_of_row,
    room_here,
    room_of_token,
    sides_of_row,
    unit,
)
from backends.cupy.sharing import blocks_for
from backends.cupy.tiles import FORMATS, TILE_BYTES, Tiles

SPLIT = 256
"""Keys of a split: the fixed length that makes attention the same in any batch."""
RING_STAGES = 3
"""Of 16 keys and values each, in attend_ring.cu."""
WALK_TOGETHER = True
"""Prompts' attention by attend_together.cu, where they are long; else all by attend_walk.cu."""
ACTIVATIONS = {"silu": 0, "gelu": 1, "gelu_tanh": 2}
EARLY_KEYS = True
"""Attention of single tokens asks for old keys before the kernel before it has ended."""
KINDS = {"F32": 0, "Q8_0": 1, "Q8_K": 2, "F16": 3, "BF16": 4}
HALVES = {"F16": '"f16"', "BF16": '"bf16"'}  # as PTX names them
FEW_Q8 = ((8, 1, 1, 2), (16, 1, 2, 1), (32, 1, 4, 1), (64, 2, 4, 1))
FEW_HALF = ((8, 1, 1, 4), (16, 1, 2, 2), (32, 1, 4, 2), (64, 2, 8, 1))
"""Up to so many tokens: row and token tiles of a block, and blocks that a warp asks for ahead."""
MOST_FEW = 64
MOST_FEW_HALF = 16
"""The same for float16 and bfloat16 on Hopper: more, to 64, go to linear_half_batch.cu.  With
MOST_FEW here linear_half.cu keeps them."""
GATED = True
"""Gates are applied, and the result prepared, where gate and up are multiplied, if a kernel can."""
HALF_ONE = True
"""Products of one token with float16 and bfloat16 by linear_half_one.cu, where its rings and the
token fit; else by linear_half.cu."""
FEW_ROWS = 6144
"""A matrix of so few rows makes few blocks: then each asks for more, or is smaller."""
GROUP = 4  # blocks of a stage (ring.cuh)
MOST_PIECES = 8  # times four columns that a thread of prepare.cu keeps
RING = 76 * 1024  # bytes of shared memory for eight warps; a multiprocessor has three times as many
WIDE = 128  # tokens, and rows, of a block of the many-token kernels
HOPPER_TOKENS = 192  # of a block of linear_half_hopper.cu
HOPPER_THREADS = 384  # four warps that copy, eight that work
Q8_STAGES = 4  # of linear_q8_hopper.cu


def current_stream() -> int:
    import cupy

    return int(cupy.cuda.get_current_stream().ptr)


def for_hopper(kind: str, tokens: int, blocks: int) -> bool:
    """Does a linear map of so many tokens take the kernels of Hopper's own instructions?"""
    few = MOST_FEW_HALF if kind in HALVES else MOST_FEW
    return tokens > few and blocks % GROUP == 0 and capability() == 90


def half_order(kind: str, tokens: int, columns: int) -> dict[str, None]:
    """What defines a kernel that writes half precision in the order of Hopper's (half_row.cuh)."""
    hopper = kind in HALVES and for_hopper(kind, tokens, columns // 32)
    return {"HOPPER": None} if hopper else {}


def c_type(x: Any) -> Any:
    """Arrays as they are; Python's numbers as C's int and float; None as a null pointer."""
    if x is None:
        return np.uintp(0)
    if type(x) in (bool, int):
        return np.int32(x)
    return np.float32(x) if type(x) is float else x


def ring(w: Tiles, warps: int, x_bytes: int) -> tuple[int, int]:
    """Stages of each warp's ring, and the bytes of all: as many as let several blocks in."""
    tile, shared = TILE_BYTES[w.format]
    stage = warps * (GROUP * tile + shared + x_bytes)
    stages = min(6, max(2, RING * warps // 8 // stage))
    return stages, max(stages * stage, warps * 512)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Rows of activations as a linear map reads them (prepare.cu)."""

    kind: str
    tokens: int
    padded: int  # to whole tiles of 8, or of a many-token kernel's 128; a token alone stays alone
    packed: Any  # float32 rows themselves, where kind is F32
    scales: Any = None
    sums: Any = None


@dataclass(kw_only=True)
class Launcher:
    """Kernels with their launch shapes.  Outputs are given, or allocated."""

    kernels: Kernels = field(default_factory=Kernels)

    def run(
        self,
        function: Any,
        grid: tuple[int, ...],
        threads: int,
        *args: Any,
        shared: int = 0,
        side_by_side: bool = False,
    ) -> None:
        """`side_by_side`: a multiprocessor's memory is divided as linear_q8_one.cu wants it."""
        if side_by_side:
            function.kernel.preferred_shared_memory_carveout = 100
        if shared:
            function.kernel.max_dynamic_shared_size_bytes = shared
        values = tuple(c_type(a) for a in args)
        if function.waits:
            stream = current_stream()
            launch_early(function.kernel.kernel.ptr, grid, threads, shared, stream, values)
        else:
            function.kernel(grid, (threads,), values, shared_mem=shared)

    def beside_rings(self, tokens: int) -> dict[str, None]:
        """What defines a kernel that runs between those of one token; nothing in a batch.

        To divide a multiprocessor's memory anew, between shared memory and cache, it must be empty:
        kernels that are to begin early have to agree.  CUDA keeps this for a kernel, wherever it is
        launched, and one that a batch needs wants a cache: so it is compiled twice.
        """
        return {"BESIDE_RINGS": None} if tokens == 1 else {}

    @property
    def early_keys(self) -> bool:
        """EARLY_KEYS as it is now, for attention."""
        return EARLY_KEYS

    # Linear maps

    def room(self, kind: str, tokens: int, columns: int) -> Prepared:
        """Memory for prepared activations."""
        import cupy

        blocks, padded = -(-columns // 32), padded_tokens(tokens)
        beyond = 8 * padded  # tokens of blocks that a group of loads may touch
        width = {"F32": 4, "Q8_0": 1, "Q8_K": 1, "F16": 2, "BF16": 2}[kind]
        packed = cupy.zeros((blocks * padded + beyond) * 32 * width, np.uint8)
        if kind not in ("Q8_0", "Q8_K"):
            return Prepared(kind=kind, tokens=tokens, padded=padded, packed=packed)
        scales = cupy.zeros(blocks * padded + beyond, np.float32)
        sums = cupy.zeros((blocks * padded + beyond) * 2, np.float32)
        return Prepared(
            kind=kind, tokens=tokens, padded=padded, packed=packed, scales=scales, sums=sums
        )

    def prepare(
        self,
        x: Any,
        columns: int,
        into: Prepared,
        *,
        norm: Any = None,
        eps: float = 0.0,
        activation: str | None = None,
        plain: Any = None,
    ) -> None:
        """x [tokens, columns] (with an activation [tokens, 2 * columns]) as `into.kind`."""
        defines: dict[str, Any] = {"KIND": KINDS[into.kind]}
        defines |= half_order(into.kind, into.tokens, columns)
        if norm is not None:
            defines["NORM"] = None
        if activation is not None:
            defines |= {"GLU": None, "ACTIVATION": ACTIVATIONS[activation]}
        if into.kind == "F32":
            plain = into.packed
        quarter = columns // 4
        threads = min(256, max(64, -(-quarter // 64) * 64)) if norm is not None else 128
        of_block = threads * unit(into.kind)
        if norm is not None and plain is None and unit(into.kind) == 1:
            pieces = -(-quarter // threads)
            defines |= {"PIECES": pieces} if pieces <= MOST_PIECES else {}
        grid = (into.tokens, 1 if norm is not None else -(-quarter // of_block))
        beside = self.beside_rings(into.tokens) if into.kind != "F32" else {}
        self.run(
            self.kernels("prepare", **defines, **beside),
            grid,
            threads,
            x,
            norm,
            float(eps),
            plain,
            into.packed,
            into.scales,
            into.sums,
            columns,
            into.padded,
            side_by_side=bool(beside),
        )

    def linear_row(
        self,
        y: Any,
        x: Any,
        w: Tiles,
        kind: str,
        norm: Any,
        eps: float,
        bias: Any,
        residual: Any,
    ) -> None:
        """y = f(x) @ w.T of one token that nobody prepared, f being a norm or nothing."""
        own: dict[str, Any] = {"KIND": KINDS[kind]}
        if norm is not None:
            own["NORM"] = None
        args = (y, bias, residual, *w.planes, x, norm, float(eps))
        self.run_one(w, own, kind, *args)

    def run_one(self, w: Tiles, own: dict[str, Any], kind: str, *args: Any) -> None:
        """A product with one token; `own` says how its blocks prepare it, if they do."""
        defines = {"FORMAT": FORMATS[w.format], **own}
        sides = sides_of_row(w, multiprocessors()) if capability() in ROOMY else 1
        stages, shared = ring_of_row(w, ROOM_OF_TWO if sides == 2 else room_here(ROOM), sides)
        if shared + BESIDE_RINGS > most_shared():
            defines["FAR"] = None
            shared -= room_of_token(w)
        defines |= {"PIECES": own_pieces(w, kind, sides)} if own else {}
        defines |= {"SIDES": sides} if sides > 1 else {}
        kernel = self.kernels("linear_q8_one", **defines, STAGES=stages)
        blocks = min(-(-w.rows // 16), multiprocessors())
        args = (*args, w.rows, w.blocks)
        self.run(kernel, (blocks,), 256 * sides, *args, shared=shared, side_by_side=True)

    def linear(self, y: Any, x: Prepared, w: Tiles, bias: Any = None, residual: Any = None) -> None:
        """y [tokens, rows] = x @ w.T (+ bias) (+ residual); y may be columns of a wider one."""
        shape = (w.rows, y.strides[0] // 4, w.blocks, x.tokens)
        if x.kind == "F32":
            self.linear_exact(y, x, w, bias, residual, shape)
        elif w.quantised:
            self.linear_q8(y, x, w, bias, residual, shape)
        else:
            self.linear_half(y, x, w, bias, residual, shape)

    def linear_exact(
        self, y: Any, x: Prepared, w: Tiles, bias: Any, residual: Any, shape: Any
    ) -> None:
        few = next((n for n in (1, 2, 4) if x.tokens <= n), 8)
        stages, shared = ring(w, 8, few * GROUP * 128)
        kernel = self.kernels("linear_exact", FORMAT=FORMATS[w.format], TOKENS=few, STAGES=stages)
        grid = (-(-w.rows // 16), -(-x.tokens // few))
        self.run(kernel, grid, 256, y, bias, residual, *w.planes, x.packed, *shape, shared=shared)

    def linear_q8(
        self, y: Any, x: Prepared, w: Tiles, bias: Any, residual: Any, shape: Any
    ) -> None:
        if for_hopper(x.kind, x.tokens, w.blocks):
            self.linear_q8_hopper(x, w, (y, bias, residual), shape, {})
            return
        args = (y, bias, residual, *w.planes, x.packed, x.scales, x.sums, *shape, x.padded)
        if x.tokens > MOST_FEW:
            kernel = self.kernels("linear_q8_wide", FORMAT=FORMATS[w.format])
            self.run(kernel, (-(-x.tokens // 64), -(-w.rows // WIDE)), 256, *args)
            return
        if x.tokens == 1:
            self.run_one(w, {}, x.kind, *args[:10])
            return
        _, rows, tiles, ahead = next(few for few in FEW_Q8 if x.tokens <= few[0])
        if tiles == 1 and w.rows <= FEW_ROWS:
            ahead = 4
        kernel = self.kernels(
            "linear_q8",
            FORMAT=FORMATS[w.format],
            ROW_TILES=rows,
            TOKEN_TILES=tiles,
            AHEAD=ahead,
        )
        grid = (-(-w.rows // (16 * rows)), -(-x.tokens // (8 * tiles)))
        self.run(kernel, grid, 256, *args)

    def linear_q8_hopper(
        self, x: Prepared, w: Tiles, results: tuple[Any, ...], shape: Any, defines: dict[str, Any]
    ) -> None:
        tile, once = TILE_BYTES[w.format]
        of_x = WIDE * (36 + 8 * (w.format in ("Q4_K", "Q5_K", "PARTS_MIN")))
        stage = WIDE // 16 * (GROUP * tile + once) + GROUP * of_x
        defines = {"FORMAT": FORMATS[w.format], "STAGES": Q8_STAGES, **defines}
        kernel = self.kernels("linear_q8_hopper", **defines)
        grid = hopper_grid(x.tokens, WIDE, w.rows)
        args = (*results, *w.planes, x.packed, x.scales, x.sums, *shape, x.padded)
        self.run(kernel, grid, HOPPER_THREADS, *args, shared=Q8_STAGES * stage)

    def gates(self, w: Tiles, kind: str, tokens: int) -> bool:
        """Can `linear_gated` multiply w, read as `kind`, with so many tokens?"""
        if not (GATED and for_hopper(kind, tokens, w.blocks)):
            return False
        if kind in HALVES:
            alone = blocks_for(w.rows, multiprocessors(), 2).cluster == 1
            after = w.rows % (64 * GROUP) == 0  # or the next product reads it in another order
            return after and tokens <= MOST_FEW and alone
        return kind in ("Q8_0", "Q8_K") and w.quantised

    def linear_gated(self, into: Prepared, x: Prepared, w: Tiles, activation: str) -> None:
        """into = activation(x @ gate.T) * (x @ up.T), prepared; w is [gate, up], and `gates` it."""
        defines, shape = {"ACTIVATION": ACTIVATIONS[activation]}, (w.rows, 0, w.blocks, x.tokens)
        if x.kind in HALVES:
            args = (into.packed, w.planes.low, x.packed, *shape, x.padded)
            self.linear_half_batch(x, w, args, defines)
            return
        results = into.packed, into.scales, into.sums
        self.linear_q8_hopper(x, w, results, shape, defines)

    def linear_half(
        self, y: Any, x: Prepared, w: Tiles, bias: Any, residual: Any, shape: Any
    ) -> None:
        args = (y, bias, residual, w.planes.low, x.packed, *shape, x.padded)
        mma = "mma_f16" if w.format == "F16" else "mma_bf16"
        if for_hopper(x.kind, x.tokens, w.blocks):
            self.linear_hopper(x, w, args)
            return
        if x.tokens == 1 and HALF_ONE:
            stages, shared = ring_of_row(w, room_here(ROOM))
            if shared + BESIDE_RINGS <= most_shared():
                kernel = self.kernels(
                    "linear_half_one", FORMAT=FORMATS[w.format], MMA=mma, STAGES=stages
                )
                blocks = min(-(-w.rows // 16), multiprocessors())
                one = (*args[:5], w.rows, w.blocks)
                self.run(kernel, (blocks,), 256, *one, shared=shared, side_by_side=True)
                return
        if x.tokens > MOST_FEW:
            kernel = self.kernels("linear_half_wide", MMA=mma)
            grid = (-(-x.tokens // WIDE), -(-w.rows // WIDE))
            self.run(kernel, grid, 256, *args, shared=5 * 16384)
            return
        _, rows, tiles, ahead = next(few for few in FEW_HALF if x.tokens <= few[0])
        if tiles == 8 and w.rows <= FEW_ROWS:
            rows, tiles = 1, 4
        kernel = self.kernels(
            "linear_half", MMA=mma, ROW_TILES=rows, TOKEN_TILES=tiles, AHEAD=ahead
        )
        grid = (-(-w.rows // (16 * rows)), -(-x.tokens // (8 * tiles)))
        self.run(kernel, grid, 256, *args)

    def linear_hopper(self, x: Prepared, w: Tiles, args: tuple[Any, ...]) -> None:
        if x.tokens <= MOST_FEW:
            self.linear_half_batch(x, w, args, {})
            return
        kernel = self.kernels("linear_half_hopper", HALF_TYPE=HALVES[x.kind])
        stage = 2 * (WIDE + HOPPER_TOKENS) * 64
        grid = hopper_grid(x.tokens, HOPPER_TOKENS, w.rows)
        self.run(kernel, grid, HOPPER_THREADS, *args, shared=5 * stage)

    def linear_half_batch(
        self, x: Prepared, w: Tiles, args: tuple[Any, ...], defines: dict[str, Any]
    ) -> None:
        """`defines`: of gates, if w is [gate, up]."""
        blocks = blocks_for(w.rows, multiprocessors(), 2 if defines else 1)
        kernel = self.kernels(
            "linear_half_batch", HALF_TYPE=HALVES[x.kind], **blocks.defines, **defines
        )
        self.run(kernel, blocks.grid(w.rows), blocks.threads, *args, shared=blocks.shared)

    def embed(self, x: Any, w: Tiles, ids: Any, scale: float = 1.0) -> None:
        kernel = self.kernels("embed", FORMAT=FORMATS[w.format])
        grid = (-(-w.blocks // 32), len(ids))
        self.run(kernel, grid, 128, x, *w.planes, ids, float(scale), w.blocks, w.columns)


def hopper_grid(tokens: int, per_block: int, rows: int) -> tuple[int, ...]:
    """One block on each multiprocessor, which walks over pieces of the result."""
    return (min(-(-tokens // per_block) * -(-rows // WIDE), multiprocessors()),)


def padded_tokens(tokens: int) -> int:
    """
    >>> [padded_tokens(n) for n in (1, 2, 9, 64, 65)]
    [1, 8, 16, 64, 128]
    """
    if tokens == 1:
        return 1
    tile = 8 if tokens <= MOST_FEW else WIDE
    return -(-tokens // tile) * tile
