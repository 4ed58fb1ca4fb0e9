"""Vectors as values: sixteen floats, sixteen ints or 64 bytes, added and multiplied like numbers.

Numba compiles numbers; LLVM, underneath, also has vectors.  Three vector types are made known to
Numba here, all 64 bytes long, whatever the width of the machine (LLVM cuts them to size: one
register with AVX-512, two with AVX2, four with NEON):

    Floats   16 x float32         Ints   16 x int32         Bytes   64 x int8

`+ - * / & | ^ >> <<` work on them lane by lane, also with a number on the right, which is copied
to every lane.  `>>` is arithmetic on Ints and logical on Bytes.  Rounding is IEEE's everywhere:
nothing here may reorder or fuse what a kernel wrote.  How they come from memory and go back is in
`simd_memory`.

What differs between processors is in `processor`, and nothing here is.

Source: LLVM Language Reference ("Vector Type", "Intrinsic Functions"); llvmlite's IR builder.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
i1, i8, i16, i32, i64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
f16, f32 = ir.HalfType(), ir.FloatType()


class Vec(types.Type):
    """A vector as a Numba type; `ll` is LLVM's name for it."""

    def __init__(self, name: str, element: Any, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=name)

    @property
    def ll(self) -> Any:
        return ir.VectorType(self.element, self.lanes)


@register_model(Vec)
class VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vec) -> None:
        super().__init__(manager, kind, kind.ll)


Floats = Vec("Floats", f32, LANES)
Ints = Vec("Ints", i32, LANES)
Bytes = Vec("Bytes", i8, 4 * LANES)


# --- small helpers for writing LLVM ---


def call(b: Any, name: str, result: Any, args: list[Any]) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), args)


def constant_lanes(values: list[int]) -> Any:
    return ir.Constant(ir.VectorType(i32, len(values)), values)


def splat(b: Any, x: Any, kind: Any) -> Any:
    """x in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(undefined, x, i32(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, kind.count), None))


def at(b: Any, address: Any, kind: Any) -> Any:
    return b.inttoptr(address, kind.as_pointer())


def convert(b: Any, x: Any, number: Any, element: Any) -> Any:
    """A Numba number as one lane of a vector."""
    if element == f32:
        if isinstance(number, types.Integer):
            return b.sitofp(x, f32)
        return x if x.type == f32 else b.fptrunc(x, f32)
    width: int = x.type.width
    if width == element.width:
        return x
    return b.trunc(x, element) if width > element.width else b.sext(x, element)


# --- arithmetic ---

OPERATIONS: dict[Any, dict[str, str]] = {
    operator.add: {"float": "fadd", "int": "add"},
    operator.sub: {"float": "fsub", "int": "sub"},
    operator.mul: {"float": "fmul", "int": "mul"},
    operator.truediv: {"float": "fdiv"},
    operator.and_: {"int": "and_"},
    operator.or_: {"int": "or_"},
    operator.xor: {"int": "xor"},
    operator.lshift: {"int": "shl"},
    operator.rshift: {"int": "ashr"},
}


def method(op: Any, vec: Vec) -> str:
    if op is operator.rshift and vec is Bytes:
        return "lshr"
    return OPERATIONS[op]["float" if vec is Floats else "int"]


def shift_bytes(b: Any, x: Any, n: Any, way: str) -> Any:
    """Shift words, and mask what came from the neighbouring byte.

    LLVM by itself would choose gf2p8affineqb, which waits for the same ports as products do.
    """
    shifted = getattr(b, way)(b.bitcast(x, Ints.ll), splat(b, b.zext(n, i32), Ints.ll))
    mask = getattr(b, way)(i8(255), n)
    return b.and_(b.bitcast(shifted, Bytes.ll), splat(b, mask, Bytes.ll))


def register_operator(op: Any) -> None:
    """`vector op vector` and `vector op number`."""

    @infer_global(op)
    class Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not isinstance(args[0], Vec):
                return None
            if args[1] is not args[0] and not isinstance(args[1], types.Number):
                return None
            return signature(args[0], *(types.unliteral(a) for a in args))

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, y = args
        if not isinstance(sig.args[1], Vec):
            y = convert(b, y, sig.args[1], sig.args[0].element)
            if sig.args[0] is Bytes and op in (operator.rshift, operator.lshift):
                return shift_bytes(b, x, y, method(op, Bytes))
            y = splat(b, y, sig.args[0].ll)
        return getattr(b, method(op, sig.args[0]))(x, y)

    lower_builtin(op, Vec, Vec)(lower)
    lower_builtin(op, Vec, types.Number)(lower)


for _op in OPERATIONS:
    register_operator(_op)


@intrinsic
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once, in every lane."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return call(b, "llvm.fma.v16f32", Floats.ll, list(args))

    return Floats(Floats, Floats, Floats), generate


def unary(name: str) -> Any:
    """One of LLVM's functions of a float, in every lane."""

    @intrinsic
    def function(context: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return call(b, f"llvm.{name}.v16f32", Floats.ll, [args[0]])

        return Floats(Floats), generate

    return function


magnitude = unary("fabs")
square_root = unary("sqrt")
nearest = unary("roundeven")
round_half_away = unary("round")


@intrinsic
def larger(context: Any, x: Any, y: Any) -> Any:
    """The larger of each two lanes; y where either is NaN."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, y = args
        return b.select(b.fcmp_ordered(">", x, y), x, y)

    return Floats(Floats, Floats), generate


@intrinsic
def where_less(context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """yes where x < y, else no, lane by lane."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, y, yes, no = args
        less = b.fcmp_ordered if sig.args[0] is Floats else b.icmp_signed
        return b.select(less("<", x, y), yes, no)

    return yes(x, y, yes, no), generate


def conversion(source: Vec, target: Vec, build: Any) -> Any:
    @intrinsic
    def function(context: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return build(b, args[0])

        return target(source), generate

    return function


to_floats = conversion(Ints, Floats, lambda b, x: b.sitofp(x, Floats.ll))
to_ints = conversion(Floats, Ints, lambda b, x: b.fptosi(x, Ints.ll))
float_bits = conversion(Ints, Floats, lambda b, x: b.bitcast(x, Floats.ll))
int_bits = conversion(Floats, Ints, lambda b, x: b.bitcast(x, Ints.ll))
as_ints = conversion(Bytes, Ints, lambda b, x: b.bitcast(x, Ints.ll))


# --- whole vectors from numbers and back ---


def make_splat(vec: Vec, scalar: Any) -> Any:
    @intrinsic
    def function(context: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return splat(b, convert(b, args[0], sig.args[0], vec.element), vec.ll)

        return vec(types.unliteral(x)), generate

    return function


floats = make_splat(Floats, types.float32)
ints = make_splat(Ints, types.int32)


@intrinsic
def lane_numbers(context: Any) -> Any:
    """0, 1, 2 ... 15."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return constant_lanes(list(range(LANES)))

    return Ints(), generate


def fold(b: Any, x: Any, join: Any) -> Any:
    """Join lanes i and i + 8, then i and i + 4, ...: always this tree, so always the same bits."""
    n = LANES
    undefined = ir.Constant(x.type, ir.Undefined)
    while n > 1:
        n //= 2
        swap = constant_lanes([(i + n) % LANES for i in range(LANES)])
        x = join(b, x, b.shuffle_vector(x, undefined, swap))
    return b.extract_element(x, i32(0))


def reduction(vec: Vec, result: Any, join: Any) -> Any:
    @intrinsic
    def function(context: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return fold(b, args[0], join)

        return result(vec), generate

    return function


sum_floats = reduction(Floats, types.float32, lambda b, x, y: b.fadd(x, y))
sum_ints = reduction(Ints, types.int32, lambda b, x, y: b.add(x, y))
max_floats = reduction(
    Floats, types.float32, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y)
)


@intrinsic
def through_half(context: Any, x: Any) -> Any:
    """A float32 rounded to float16 and widened again."""

    def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.fpext(b.fptrunc(args[0], f16), f32)

    return types.float32(types.float32), generate
