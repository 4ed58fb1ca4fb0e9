"""Hypothesis strategies for the operations: arguments as any backend may get them.

Every strategy draws `{"args": [...], "options": {...}}`, the arguments of the operation it is named
after, as NumPy arrays, packed weights and plain numbers.  Sizes, kinds of numbers and seeds are
drawn, arrays follow from them (`values`), so that a counterexample shrinks to few, small, simple
arrays.  They serve any test of any engine:

>>> from hypothesis import given
>>> from refimpl.oracle import strategies
>>> @given(strategies.rms_norm())
... def test_mine(arguments):
...     x, weight, eps = arguments["args"]
...     assert x.shape[-1] == weight.shape[0]
>>> test_mine()

Sizes go past the places where kernels change their way: odd tails, 1, and just below, at and above
multiples of vector and tile widths.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy import ndarray

from refimpl.formats.quants import BLOCK_TYPES, block_type
from refimpl.formats.quants.block import BlockType, Tensor
from refimpl.ops.activation import ACTIVATIONS
from refimpl.ops.rope import frequencies
from refimpl.oracle.values import KINDS, TAME, plain_packed, random_blocks, values

Drawn = dict[str, Any]
DrawFn = Callable[..., Any]

SEEDS = st.integers(0, 2**16 - 1)
ROWS = st.sampled_from([*range(1, 6), 8, 9, 16, 17, 33])
WIDTHS = st.sampled_from([*range(1, 21), 31, 32, 33, 64, 65, 127, 128, 255, 256, 257, 500])
EPSILONS = st.sampled_from([1e-5, 1e-6, 1e-2])
ANY = st.sampled_from(sorted(KINDS, key=list(KINDS).index))
CALM = st.sampled_from(TAME)

PACKED = tuple(t for t in BLOCK_TYPES.values() if t.block_size > 1)
"""Every block format of ggml."""
PLAIN = ("float32", "float64", "float16", "F16", "BF16")
"""Plain matrices: NumPy's dtypes, and files' own (packed with a block of one)."""
WEIGHTS = (*PLAIN, *(t.name for t in PACKED))


def arguments(*args: Any, **options: Any) -> Drawn:
    return {"args": list(args), "options": options}


@st.composite
def arrays(draw: DrawFn, *shape: int, kinds: SearchStrategy[str] = ANY) -> ndarray:
    """A float32 array of this shape."""
    return values(draw(kinds), shape, draw(SEEDS))


@st.composite
def weights(draw: DrawFn, outer: int, inner: int, form: str) -> Tensor:
    """A matrix in one of the forms of `WEIGHTS`; `inner` is a whole number of its blocks."""
    seed, shape = draw(SEEDS), (outer, inner)
    if form in ("F16", "BF16"):
        return plain_packed(block_type(form), shape, seed)
    if form in PLAIN:
        kind = draw(CALM) if form == "float16" else draw(ANY)
        return values(kind, shape, seed).astype(form)
    return random_blocks(block_type(form), shape, seed)


@st.composite
def inner_sizes(draw: DrawFn, form: str) -> int:
    kind: BlockType | None = None if form in PLAIN else block_type(form)
    if kind is None:
        return int(draw(WIDTHS))
    most = 2 if kind.block_size >= 128 else 6
    return int(kind.block_size * draw(st.integers(1, most)))


@st.composite
def embed(draw: DrawFn, form: str = "float32") -> Drawn:
    inner = draw(inner_sizes(form))
    vocab = draw(st.integers(1, 20))
    table = draw(weights(vocab, inner, form))
    tokens = np.array(draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=9)), np.int32)
    return arguments(table, tokens, draw(st.sampled_from([1.0, float(np.sqrt(inner))])))


@st.composite
def linear(draw: DrawFn, form: str = "float32") -> Drawn:
    inner, outer = draw(inner_sizes(form)), draw(st.sampled_from([1, 2, 3, 5, 8, 17, 40, 64, 65]))
    x = draw(arrays(draw(ROWS), inner))
    bias = draw(st.none() | arrays(outer))
    return arguments(x, draw(weights(outer, inner, form)), bias)


@st.composite
def add(draw: DrawFn) -> Drawn:
    rows, width = draw(ROWS), draw(WIDTHS)
    return arguments(draw(arrays(rows, width)), draw(arrays(rows, width)))


@st.composite
def rms_norm(draw: DrawFn) -> Drawn:
    """Rows, or heads of rows as q-norms have them."""
    width = draw(WIDTHS)
    shape = (draw(ROWS), 3, width) if draw(st.booleans()) else (draw(ROWS), width)
    return arguments(draw(arrays(*shape)), draw(arrays(width)), draw(EPSILONS))


@st.composite
def layer_norm(draw: DrawFn) -> Drawn:
    rows, width = draw(ROWS), draw(WIDTHS)
    bias = draw(st.none() | arrays(width))
    return arguments(draw(arrays(rows, width)), draw(arrays(width)), bias, draw(EPSILONS))


@st.composite
def rope(draw: DrawFn) -> Drawn:
    """Both layouts, heads that rotate in part, far positions, stretched frequencies."""
    pairs = draw(st.sampled_from([*range(1, 9), 16, 32]))
    rest = draw(st.sampled_from([0, 1, 4]))
    rows, heads = draw(ROWS), draw(st.integers(1, 4))
    turning = frequencies(2 * pairs, draw(st.sampled_from([10000.0, 1e6])))
    turning = turning / draw(st.sampled_from([1.0, 8.0]))
    start = draw(st.integers(0, 40) | st.sampled_from([1000, 100_000]))
    order = np.random.default_rng(draw(SEEDS)).permutation(rows)
    return arguments(
        draw(arrays(rows, heads, 2 * pairs + rest)),
        (start + order).astype(np.int32),
        turning,
        draw(st.sampled_from(["interleaved", "half"])),
        draw(st.sampled_from([1.0, 1.19])),
    )


HEADS = st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2), (6, 2), (8, 1), (9, 3), (32, 4)])
"""Query heads and key/value heads: MHA, GQA of several ratios, MQA."""
HEAD_DIMS = st.sampled_from([1, 2, 3, 8, 16, 33, 64])
SOFT_CAPS = st.none() | st.sampled_from([50.0, 2.5])


@st.composite
def attend(draw: DrawFn) -> Drawn:
    """Queries at the end of a context or scattered in it; windows, soft-caps, sinks."""
    (heads, kv_heads), dim = draw(HEADS), draw(HEAD_DIMS)
    context = draw(st.sampled_from([*range(1, 13), 16, 17, 31, 33, 64, 70]))
    n = draw(st.integers(1, min(context, 9)))
    scattered = np.random.default_rng(draw(SEEDS)).choice(context, n, replace=False)
    positions = np.sort(scattered) if draw(st.booleans()) else np.arange(context - n, context)
    options: Drawn = {"scale": draw(st.sampled_from([float(dim**-0.5), 1.0, 0.1]))}
    options["window"] = draw(st.none() | st.integers(1, context + 1))
    options["soft_cap"] = draw(SOFT_CAPS)
    if draw(st.booleans()):
        options["sinks"] = draw(arrays(heads, kinds=CALM))
    return arguments(
        draw(arrays(n, heads, dim, kinds=CALM)),
        draw(arrays(context, kv_heads, dim, kinds=CALM)),
        draw(arrays(context, kv_heads, dim)),
        positions.astype(np.int32),
        **options,
    )


@st.composite
def activate(draw: DrawFn) -> Drawn:
    kind = draw(st.sampled_from(sorted(ACTIVATIONS)))
    return arguments(draw(arrays(draw(ROWS), draw(WIDTHS))), kind)


@st.composite
def glu(draw: DrawFn) -> Drawn:
    kind, rows, width = draw(st.sampled_from(sorted(ACTIVATIONS))), draw(ROWS), draw(WIDTHS)
    return arguments(draw(arrays(rows, width)), draw(arrays(rows, width)), kind)


@st.composite
def soft_cap(draw: DrawFn) -> Drawn:
    x = draw(arrays(draw(ROWS), draw(WIDTHS)))
    return arguments(x, draw(st.sampled_from([30.0, 50.0, 0.7])))


@st.composite
def moe(draw: DrawFn) -> Drawn:
    """Expert e multiplies with the e-th matrix of the third argument."""
    experts, dim = draw(st.integers(1, 9)), draw(st.integers(1, 17))
    rows = draw(ROWS)
    return arguments(
        draw(arrays(rows, dim)),
        draw(arrays(rows, experts, kinds=CALM)),
        draw(arrays(experts, dim, dim, kinds=CALM)),
        draw(st.integers(1, experts)),
        draw(st.booleans()),
    )


OPERATIONS = {
    "add": add,
    "rms_norm": rms_norm,
    "layer_norm": layer_norm,
    "rope": rope,
    "attend": attend,
    "activate": activate,
    "glu": glu,
    "soft_cap": soft_cap,
    "moe": moe,
}
"""Those without a weight; `embed` and `linear` take its form."""
