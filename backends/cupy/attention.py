"""Attention on the device: which kernel for which sequences, and their scratch memory.

Sequences with one new token go to `attend_split`, a warp for each split of the context.  A long
context's go to `attend_ring`, where all warps are at work at once and only their own loads fill the
time.  Many sequences go to `attend_whole`, whose blocks stay, and take sequence after sequence.
Sequences with more tokens go to `attend_walk`, or to `attend_together` where they have many.
All give a query the same bits, so it does not matter which of them it meets.  Formats and head
sizes that the tensor cores' kernels don't take go to `attend_plain`, whatever the sequences.
"""

from dataclasses import dataclass, field
from typing import Any

import cupy
import numpy as np
from numpy import ndarray

from backends.cupy import launch
from backends.cupy.batch import Batch, Shape, runs_of
from backends.cupy.cache import CACHES, piece_of, row_bytes
from backends.cupy.compile import capability
from backends.cupy.launch import RING_STAGES, SPLIT, Launcher, Prepared, half_order
from backends.cupy.occupancy import multiprocessors
from backends.cupy.tile_map import tile_map
from refimpl.errors import UnsupportedError
from refimpl.kv.plan import Plan

FEW_SPLITS = 528
"""Up to so many splits of all sequences and heads: then a split has eight warps."""
ONE_WAVE = 9
"""Warps of attend_ring.cu that a multiprocessor has room for."""
WHOLE_STAGES = 2
"""Of 16 keys and values in a warp's ring of attend_whole.cu."""
WHOLE_LONG = 8
"""From so many splits on, a multiprocessor has one block of eight warps: a unit that others have no
part in is sooner done.  For shorter contexts it has two of four, which wait less for each other."""
WHOLE_SPLITS = 20
"""The longest context whose splits follow each other in one block: it may be the only long one."""
MANY_SPLITS = 64
"""From more splits on, attend_combine.cu asks for so many of them at once."""
ROUNDINGS = {"F16": "to_f16", "BF16": "to_bf16"}
TOGETHER = 128
"""Columns of a block of attend_together.cu: sixteen for each of eight warps."""
MOST_DIM = 512
"""Of a head, for attend_plain.cu."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Where attention's result goes, and what its kernels are then compiled for (half_row.cuh)."""

    out: Any
    padded: int = 0
    defines: dict[str, Any] = field(default_factory=dict)


def rounded_result(into: Prepared, columns: int) -> Result:
    defines = {"OUT": ROUNDINGS[into.kind], **half_order(into.kind, into.tokens, columns)}
    return Result(out=into.packed, padded=into.padded, defines=defines)


class Attention:
    """`attend`, for one step."""

    def __init__(
        self,
        launcher: Launcher,
        shape: Shape,
        batch: Batch,
        work: Any = None,
        *,
        alone: bool = False,
    ) -> None:
        """`alone`: no query of the step sees another's new key (in a tree of guesses they do)."""
        self.launcher, self.shape, self.batch = launcher, shape, batch
        few = batch.splits * shape.kv_heads * batch.sequences <= FEW_SPLITS
        self.few = shape.on_tensor_cores and batch.decode and shape.group <= 8 and few
        self.turns = self.few and alone
        self.rounds = shape.on_tensor_cores and batch.decode
        self.alone = alone
        self.parts: Any = None
        self.tops: Any = None
        self.work: Any = None
        self.dealt: Any = None
        if shape.dim > MOST_DIM:
            raise UnsupportedError(
                f"attention with heads of {shape.dim}; up to {MOST_DIM} is there"
            )
        if shape.on_tensor_cores and batch.decode and stays_in_blocks(shape, batch):
            self.dealt = cupy.zeros(1, np.uint32)
        if batch.decode:
            rows = batch.tokens * shape.heads * batch.splits
            self.parts = cupy.empty(rows * shape.dim, np.float32)
            self.tops = cupy.empty(rows * 2, np.float32)
        else:
            self.work = cupy.asarray(work)

    def __call__(
        self,
        out: Any,
        q: Any,
        keys: Any,
        values: Any,
        *,
        scale: float,
        window: int | None = None,
        soft_cap: float | None = None,
        sinks: Any = None,
        rope: tuple[Any, ...] | None = None,
        rounded: Prepared | None = None,
    ) -> None:
        """out, q: [tokens, heads, dim] float32; keys, values: a layer of the cache.

        Where `rounds`, the result can go to `rounded` instead, in half precision and in place for
        the next product.

        Where `turns`, q can be queries, keys and values side by side, and `rope` the last arguments
        of attend_few.cu: then it does what rope_store.cu does as well.
        """
        s, b = self.shape, self.batch
        tensor_cores = {"HALF": s.half, "DIM": s.dim, "SPLIT": SPLIT, **page_shift(s, b)}
        width, window, cap = b.tables.shape[1], window or 0, float(soft_cap or 0.0)
        result = Result(out=out) if rounded is None else rounded_result(rounded, s.heads * s.dim)
        if not s.on_tensor_cores:
            self.plain(result, q, keys, values, sinks, (window, float(scale), cap))
        elif self.few:
            one = b.splits == 1
            asked = {"ONE_SPLIT": one, "ROPE": rope, "EARLY": rope and self.launcher.early_keys}
            defines = tensor_cores | {name: None for name, is_so in asked.items() if is_so}
            defines |= result.defines if one else {}
            beside = self.launcher.beside_rings(b.tokens)
            self.launcher.run(
                self.launcher.kernels("attend_few", **defines, **beside),
                (b.splits, s.kv_heads, b.sequences),
                256,
                result.out if one else self.parts,
                self.tops,
                q,
                keys,
                values,
                b.tables,
                b.context_lens,
                b.seq_starts,
                sinks,
                width,
                b.table_block,
                s.block_size,
                s.group,
                b.splits,
                window,
                float(scale),
                cap,
                result.padded,
                *(rope or ()),
                shared=SPLIT * (2 * s.dim + 16),
                side_by_side=bool(beside),
            )
            if not one:
                self.combine(result, sinks, window)
        elif b.decode and stays_in_blocks(s, b):
            self.whole(result, q, keys, values, tensor_cores, sinks, (window, float(scale), cap))
        elif b.decode:
            self.split(q, keys, values, tensor_cores, (window, float(scale), cap))
            self.combine(result, sinks, window)
        else:
            self.walk(out, q, keys, values, tensor_cores, sinks, (window, float(scale), cap))

    def plain(
        self, result: Result, q: Any, keys: Any, values: Any, sinks: Any, numbers: Any
    ) -> None:
        s, b = self.shape, self.batch
        in_parts, columns = b.decode and b.splits > 1, plain_columns(s, single=b.decode)
        tiles = b.sequences * -(-s.group // columns) if b.decode else len(self.work)
        n_bytes, piece = row_bytes(s.cache, s.dim), piece_of(s.cache, s.dim)
        kind = {"CACHE": CACHES[s.cache], "MOST_DIM": next_power(s.dim), "COLUMNS": columns}
        parts = {"PARTS": None} if in_parts else {}
        stride = (-(-n_bytes // max(4, piece)) | 1) * max(4, piece)
        self.launcher.run(
            self.launcher.kernels("attend_plain", **kind, PIECE=piece, **parts, SPLIT=SPLIT),
            (tiles, s.kv_heads, b.splits if in_parts else 1),
            32,
            self.parts if in_parts else result.out,
            self.tops,
            q,
            keys,
            values,
            b.tables,
            b.positions,
            b.seq_starts,
            self.work,
            sinks,
            b.tables.shape[1],
            b.table_block,
            s.block_size,
            s.group,
            s.dim,
            b.splits,
            *numbers,
            shared=2 * 32 * stride + 4 * (s.dim + 32) * columns,
        )
        if in_parts:
            self.combine(result, sinks, numbers[0])

    def whole(
        self, result: Result, q: Any, keys: Any, values: Any, defines: Any, sinks: Any, numbers: Any
    ) -> None:
        s, b = self.shape, self.batch
        block, units = whole_block(b.splits), s.kv_heads * b.sequences
        early = {"EARLY": None} if self.alone and self.launcher.early_keys else {}
        self.launcher.run(
            self.launcher.kernels("attend_whole", **block, **early, **defines, **result.defines),
            (min(units, block["BLOCKS"] * multiprocessors()),),
            32 * block["WARPS"],
            result.out,
            q,
            keys,
            values,
            b.tables,
            b.context_lens,
            b.seq_starts,
            sinks,
            b.tables.shape[1],
            b.table_block,
            s.block_size,
            s.group,
            *numbers,
            s.kv_heads,
            units,
            self.dealt,
            result.padded,
            tile_map(values),
            shared=block["WARPS"] * block["STAGES"] * 64 * s.dim,
            side_by_side=True,
        )

    def split(self, q: Any, keys: Any, values: Any, defines: Any, numbers: Any) -> None:
        s, b = self.shape, self.batch
        if runs_at_once(s, b):
            stages, name = RING_STAGES, "attend_ring"
            defines = {**defines, "STAGES": stages}
        else:
            stages, name = 0, "attend_split"
            defines = {**defines, "TILES": -(-s.group // 8), "AHEAD": 1}
        self.launcher.run(
            self.launcher.kernels(name, **defines),
            (b.splits, s.kv_heads, b.sequences),
            32,
            self.parts,
            self.tops,
            q,
            keys,
            values,
            b.tables,
            b.context_lens,
            b.seq_starts,
            b.tables.shape[1],
            b.table_block,
            s.block_size,
            s.group,
            b.splits,
            *numbers,
            shared=stages * 64 * s.dim,
            side_by_side=bool(stages),
        )

    def walk(
        self, out: Any, q: Any, keys: Any, values: Any, defines: Any, sinks: Any, numbers: Any
    ) -> None:
        s, b, n = self.shape, self.batch, len(self.work)
        plan = (b.tables, b.context_lens, b.seq_starts, self.work, sinks)
        sizes = (b.tables.shape[1], b.table_block, s.block_size, s.group, *numbers)
        if not walks_together(b.tokens, b.sequences, s):
            kernel = self.launcher.kernels("attend_walk", TILES=walk_tiles(s), AHEAD=0, **defines)
            grid = (-(-n // 4), s.kv_heads)
            self.launcher.run(kernel, grid, 128, out, q, keys, values, *plan, n, *sizes)
            return
        capped = {"CAPPED": None} if numbers[-1] else {}
        kernel = self.launcher.kernels("attend_together", **capped, **defines)
        by_wgmma = capability() == 90 and s.half == 16  # its stages are four, of shorter rows
        stages = 4 * 64 * (4 * s.dim + 64) if by_wgmma else 3 * 64 * (4 * s.dim + 80)
        shared = stages + 512 * s.dim  # and what earlier splits came to
        self.launcher.run(
            kernel,
            (s.kv_heads, n),
            256,
            out,
            q,
            keys,
            values,
            *plan,
            *sizes,
            shared=shared,
        )

    def combine(self, result: Result, sinks: Any, window: int) -> None:
        s, b = self.shape, self.batch
        many = {"MANY": None} if b.splits > MANY_SPLITS else {}
        self.launcher.run(
            self.launcher.kernels("attend_combine", SPLIT=SPLIT, **many, **result.defines),
            (s.heads, b.sequences),
            -(-s.dim // 32) * 32,
            result.out,
            self.parts,
            self.tops,
            b.context_lens,
            b.seq_starts,
            sinks,
            s.dim,
            b.splits,
            window,
            result.padded,
        )


def page_shift(shape: Shape, batch: Batch) -> dict[str, int]:
    """The logarithm of the block size, where it is whole and tables are of blocks."""
    size = shape.block_size
    whole = batch.table_block == size and size & (size - 1) == 0
    return {"PAGE_SHIFT": size.bit_length() - 1} if whole else {}


def whole_block(splits: int) -> dict[str, int]:
    """What attend_whole.cu is compiled for: of a block, and of a multiprocessor.

    >>> whole_block(4), whole_block(16)
    ({'STAGES': 2, 'WARPS': 4, 'BLOCKS': 2}, {'STAGES': 2, 'WARPS': 8, 'BLOCKS': 1})
    """
    warps, blocks = (8, 1) if splits >= WHOLE_LONG else (4, 2)
    return {"STAGES": WHOLE_STAGES, "WARPS": warps, "BLOCKS": blocks}


def has_rings(shape: Shape, batch: Batch) -> bool:
    """Are attend_ring.cu and attend_whole.cu made for this?"""
    pages = batch.table_block == shape.block_size and shape.block_size % 16 == 0
    return capability() == 90 and pages and shape.dim == 128 and shape.group <= 8


def runs_at_once(shape: Shape, batch: Batch) -> bool:
    """Do the splits of long contexts fit the device at once?

    Before the other attend_combine.cu, which few splits take, a ring was 3 % slower.
    """
    warps = batch.splits * shape.kv_heads * batch.sequences
    long = batch.splits > MANY_SPLITS and has_rings(shape, batch)
    return long and warps <= ONE_WAVE * multiprocessors()


def stays_in_blocks(shape: Shape, batch: Batch) -> bool:
    """Are there sequences enough, and none too long, to stay in blocks?"""
    short = has_rings(shape, batch) and batch.splits <= WHOLE_SPLITS
    return short and batch.sequences * shape.kv_heads >= 2 * multiprocessors()


def walk_tiles(shape: Shape) -> int:
    """How many tiles of columns fit a warp's registers."""
    return 2 if shape.dim <= 128 else 1


def walks_together(tokens: int, sequences: int, shape: Shape) -> bool:
    """Do sequences have so many columns that eight warps may walk side by side?"""
    many = tokens * shape.group >= TOGETHER * sequences and shape.dim <= 128
    return launch.WALK_TOGETHER and many and capability() in (80, 90)  # which have shared memory


def next_power(dim: int) -> int:
    """attend_plain.cu is compiled for heads of up to 32, 64, ... coordinates.

    >>> [next_power(dim) for dim in (8, 64, 80, 512)]
    [32, 64, 128, 512]
    """
    return max(32, 1 << (dim - 1).bit_length())


def plain_columns(shape: Shape, *, single: bool) -> int:
    """Of a warp of attend_plain.cu: what its registers hold; of a `single` token no more heads
    than there are."""
    most = max(1, min(8, 1024 // next_power(shape.dim)))
    return min(most, 1 << (shape.group - 1).bit_length()) if single else most


def walk_work(plan: Plan, shape: Shape) -> ndarray:
    """(sequence, first column) for every warp of `attend_walk` or `attend_plain`, or every block of
    `attend_together`; the longest walks first.

    >>> shape = Shape(heads=8, kv_heads=2, dim=64, cache="float16", block_size=16)
    >>> none = np.zeros(0, np.int32)
    >>> plan = Plan(tokens=none, positions=none, slots=none, block_tables=none.reshape(0, 0),
    ...     context_lens=np.array([5, 9], np.int32), seq_starts=np.array([0, 5, 6], np.int32),
    ...     rows=none, block_size=16)
    >>> walk_work(plan, shape).tolist()
    [[1, 0], [0, 16], [0, 0]]
    """
    starts, lens, _, _ = runs_of(plan)
    if not shape.on_tensor_cores:
        columns = plain_columns(shape, single=False)
    else:
        together = walks_together(len(plan.tokens), len(lens), shape)
        columns = TOGETHER if together else 8 * walk_tiles(shape)
    return work_of(np.diff(starts), lens, shape.group, columns)


def work_of(counts: ndarray, lens: ndarray, group: int, columns: int) -> ndarray:
    """The same of sequences with so many new tokens, at the ends of contexts of these lengths."""
    items = []
    for s, count in enumerate(counts.tolist()):
        past = int(lens[s]) - count
        firsts = range(0, count * group, columns)
        items += [(past + first // group, s, first) for first in firsts]
    items.sort(key=lambda item: -item[0])
    return np.array([item[1:] for item in items], np.int32).reshape(-1, 2)
