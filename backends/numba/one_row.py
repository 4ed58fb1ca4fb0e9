"""Reading a row of a matrix back, for the embedding of a token: with the kernels that multiply.

Each format's kernel knows how its weights are unpacked, and tells the tile: "add the products of
this column's weights, one for each of 16 rows, with what lies at this address".  A `OneRow` is a
tile that does something else.  It writes the weight of one row to that address.  When the kernel
has a sum scaled, it scales what it has written since that sum began.  So no format needs code of
its own to be read back, and the numbers are those that the product would have used.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_model

from backends.numba.simd import Floats, Vec, at, f32, i32, i64
from backends.numba.tile import Tile, TileModel


class OneRow(Tile):
    """Three words: the row's lane, and from where to where its weights have been written."""

    def __init__(self) -> None:
        super().__init__(1, Floats)
        self.name = "OneRow"

    @property
    def ll(self) -> Any:
        return ir.ArrayType(i64, 3)

    def of(self, vec: Vec) -> Tile:
        return self

    def begin(self, b: Any, old: Any) -> Any:
        none = ir.Constant(self.ll, None)
        return b.insert_value(none, b.extract_value(old, 0), 0)

    def add_products(self, b: Any, part: Any, weights: Any, address: Any) -> Any:
        lane, first, end = (b.extract_value(part, i) for i in range(3))
        weight = b.extract_element(weights, b.trunc(lane, i32))
        b.store(weight, at(b, address, f32), align=4)
        after = b.add(address, i64(4))
        earlier = b.or_(b.icmp_unsigned("==", first, i64(0)), b.icmp_unsigned("<", address, first))
        part = b.insert_value(part, b.select(earlier, address, first), 1)
        return b.insert_value(part, b.select(b.icmp_unsigned(">", after, end), after, end), 2)

    def add_scaled(self, b: Any, tile: Any, part: Any, scale: Any) -> Any:
        lane, first, end = (b.extract_value(part, i) for i in range(3))
        factor = b.extract_element(scale, b.trunc(lane, i32))
        with cgutils.for_range(b, b.udiv(b.sub(end, first), i64(4))) as loop:
            place = at(b, b.add(first, b.mul(loop.index, i64(4))), f32)
            b.store(b.fmul(b.load(place, align=4), factor), place, align=4)
        return tile

    def add_tiles(self, b: Any, tile: Any, part: Any) -> Any:
        return tile


register_model(OneRow)(TileModel)


@intrinsic
def one_row(context: Any, lane: Any) -> Any:
    """The tile that writes down the weights of row `lane` of 16."""
    kind = OneRow()

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.insert_value(ir.Constant(kind.ll, None), args[0], 0)

    return kind(types.intp), generate
