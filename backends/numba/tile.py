"""A tile: 16 rows of the result for 1, 2, 4 or 8 tokens at once, held in registers.

A matrix is multiplied 16 rows at a time, so a token's share of the result is one vector.  Weights
are the expensive part: once 64 bytes of them are loaded and unpacked, every token of the tile uses
them.  `one()` makes the tile of decoding, where a step is as fast as weights come from memory;
`eight()` that of prefill, where it is as fast as the multipliers are; `two()` and `four()` those of
a few sequences, which cost hardly more than one.

A kernel is written once, for a tile of any width: it is given an empty tile, whose type says how
many tokens it has, and the operations below unroll to that many vectors.  Each token's vector sees
the same operations in the same order whatever the width.  That is why a token's result has the same
bits alone and in any batch, without a kernel doing anything about it.

The numbers of a tile's tokens lie next to each other in memory (`activations`): what each operation
adds to token t comes from `address + 4 * t`.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from backends.numba.compile import jit
from backends.numba.processor import DOT_BF16
from backends.numba.simd import LANES, Floats, Ints, Vec, at, call, f32, i8, i32, i64, splat


class Tile(types.Type):
    """As many vectors as there are tokens."""

    def __init__(self, tokens: int, vec: Vec) -> None:
        self.tokens, self.vec = tokens, vec
        super().__init__(name=f"Tile{tokens}{vec.name}")

    @property
    def ll(self) -> Any:
        return ir.ArrayType(self.vec.ll, self.tokens)

    def of(self, vec: Vec) -> "Tile":
        """A tile of another kind for the same tokens."""
        return Tile(self.tokens, vec)

    # What kernels of exact products do with a tile; `one_row` does something else.

    def begin(self, b: Any, old: Any) -> Any:
        """An empty tile for the tokens (or the row) of `old`."""
        return ir.Constant(self.ll, None)

    def add_products(self, b: Any, tile: Any, weights: Any, address: Any) -> Any:
        def token(t: int) -> Any:
            x = number(b, address, t, f32)
            return call(b, "llvm.fma.v16f32", Floats.ll, [weights, x, b.extract_value(tile, t)])

        return each(b, self, token)

    def add_scaled(self, b: Any, tile: Any, part: Any, scale: Any) -> Any:
        def token(t: int) -> Any:
            x, y = b.extract_value(part, t), b.extract_value(tile, t)
            return call(b, "llvm.fma.v16f32", Floats.ll, [x, scale, y])

        return each(b, self, token)

    def add_tiles(self, b: Any, tile: Any, part: Any) -> Any:
        return each(b, self, lambda t: b.fadd(*(b.extract_value(a, t) for a in (tile, part))))


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Tile) -> None:
        super().__init__(manager, kind, kind.ll)


def each(b: Any, kind: Tile, make: Any) -> Any:
    """A tile, vector by vector."""
    tile = ir.Constant(kind.ll, ir.Undefined)
    for t in range(kind.tokens):
        tile = b.insert_value(tile, make(t), t)
    return tile


def number(b: Any, address: Any, t: int, element: Any) -> Any:
    """Token t's number, in every lane."""
    place = b.add(address, ir.Constant(i64, 4 * t))
    loaded = b.load(at(b, place, element), align=4)
    return splat(b, loaded, ir.VectorType(element, LANES))


def empty(tokens: int) -> Any:
    @intrinsic
    def function(context: Any) -> Any:
        kind = Tile(tokens, Floats)

        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return ir.Constant(kind.ll, None)

        return kind(), generate

    return function


one, two, four, eight = empty(1), empty(2), empty(4), empty(8)


@intrinsic
def width(context: Any, tile: Any) -> Any:
    """How many tokens a tile has."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(i64, tile.tokens)

    return types.intp(tile), generate


@intrinsic
def floats_like(context: Any, tile: Any) -> Any:
    """An empty tile of floats for the same tokens."""
    kind = tile.of(Floats)

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return kind.begin(b, args[0])

    return kind(tile), generate


@intrinsic
def add_products(context: Any, tile: Any, weights: Any, address: Any) -> Any:
    """tile[t] += weights * x[t], fused: one column of a matrix."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return tile.add_products(b, *args)

    return tile(tile, Floats, types.intp), generate


@intrinsic
def add_pairs(context: Any, tile: Any, weights: Any, address: Any) -> Any:
    """tile[t] += two columns' weights times x[t]'s two numbers, all bfloat16."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def token(t: int) -> Any:
            return DOT_BF16(b, b.extract_value(args[0], t), args[1], number(b, args[2], t, i32))

        return each(b, tile, token)

    return tile(tile, Ints, types.intp), generate


@intrinsic
def add_products_apart(context: Any, tile: Any, weights: Any, address: Any, stride: Any) -> Any:
    """The same, with the tokens' numbers `stride` bytes apart."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        place, vectors = args[2], []
        for t in range(tile.tokens):
            x = number(b, place, 0, f32)
            old = b.extract_value(args[0], t)
            vectors.append(call(b, "llvm.fma.v16f32", Floats.ll, [args[1], x, old]))
            place = b.add(place, args[3])
        return each(b, tile, lambda t: vectors[t])

    return tile(tile, Floats, types.intp, types.intp), generate


@intrinsic
def add_tiles(context: Any, tile: Any, other: Any) -> Any:
    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return tile.add_tiles(b, *args)

    return tile(tile, tile), generate


@intrinsic
def add_scaled(context: Any, tile: Any, other: Any, scale: Any) -> Any:
    """tile[t] += other[t] * scale, fused."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return tile.add_scaled(b, *args)

    return tile(tile, tile, Floats), generate


@intrinsic
def store_tile(context: Any, tile: Any, address: Any, stride: Any) -> Any:
    """Token t's 16 floats to `address + t * stride`."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        place = args[1]
        for t in range(tile.tokens):
            b.store(b.extract_value(args[0], t), at(b, place, Floats.ll), align=4)
            place = b.add(place, args[2])
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), generate


@intrinsic
def load_tile(context: Any, tile: Any, address: Any, stride: Any) -> Any:
    """The inverse of `store_tile`; `tile` only says how many tokens."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        places = [args[1]]
        for _ in range(1, tile.tokens):
            places.append(b.add(places[-1], args[2]))
        return each(b, tile, lambda t: b.load(at(b, places[t], Floats.ll), align=4))

    return tile(tile, types.intp, types.intp), generate


AHEAD = 8192


@intrinsic
def prefetch_for(context: Any, tile: Any, address: Any) -> Any:
    """Ask for a line of weights `AHEAD` bytes on, if the tile is wide.

    With one or two tokens the processor itself sees what comes next, and is only disturbed.  With
    more, it computes so long on one load that it does not look far enough ahead.
    """

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if tile.tokens > 2:
            place = at(b, b.add(args[1], i64(AHEAD)), i8)
            kinds = [place.type, i32, i32, i32]
            function = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0"
            )
            b.call(function, [place, i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return types.void(tile, types.intp), generate


@jit
def ask_ahead(tile: Any, w: int, size: int) -> None:
    """The same for `size` bytes; few at a time, since a burst would fill the queues to memory."""
    for line in range(0, size, 64):
        prefetch_for(tile, w + line)
