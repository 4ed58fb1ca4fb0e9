"""What compiled code reads: plain structs of addresses and sizes.

Python fills one `STEP` for each step, and one `MODEL` with its `LAYER`s when a model is loaded.
Every field is a 64-bit integer (an address, a size, a flag) or a float64; an address of 0 means
"there is none".  `MATRIX` holds the addresses of its own kernels, so that a step never asks what
format a weight has.
"""

from typing import Any

import numpy as np
from numba import carray, from_dtype, types
from numba.extending import intrinsic

from backends.numba.compile import jit
from backends.numba.layout import Matrix

TAKEN_BYTES = 1 << 16
"""Weights that a thread takes at a time when few are left: a few microseconds' reading."""


def struct(words: str, **others: Any) -> np.dtype:
    """Integers by name, then other fields."""
    fields = [(name, np.int64) for name in words.split()]
    return np.dtype([*fields, *others.items()], align=True)


MATRIX = struct("data rows columns groups blocks group_bytes packing multiply bias taken least")
"""`multiply` is the entry point of its format, and `packing` what that reads; `taken` a word that
counts the groups of rows that threads have taken in this step, `least` or more at a time."""


def fill_matrix(record: Any, matrix: Matrix, act: str, bias: int, taken: int) -> None:
    """A matrix as compiled code sees it."""
    f = matrix.format
    record["data"], record["bias"], record["taken"] = matrix.address, bias, taken
    record["rows"], record["columns"] = matrix.shape
    record["groups"], record["blocks"] = matrix.groups, matrix.blocks
    record["packing"] = f.packing_for(act)
    record["multiply"] = f.multiplier(act).address
    record["group_bytes"] = matrix.blocks * f.group_bytes
    record["least"] = max(1, TAKEN_BYTES // (matrix.blocks * f.group_bytes))


LAYER = struct(
    "attn_norm q_norm k_norm post_attn_norm ffn_norm post_ffw_norm window sinks"
    " cos sin pairs interleaved",
    q=MATRIX, k=MATRIX, v=MATRIX, o=MATRIX, gate=MATRIX, up=MATRIX, down=MATRIX,
)  # fmt: skip
"""Norms are addresses of float32; `cos` and `sin` of the rotation's table, a row per position."""

CACHE = struct("store attend keys values layer_bytes head_bytes page_bytes width")
"""`store` and `attend` are the entry points for the cache's number type."""

PLAN = struct(
    "n n_sequences n_rows tokens positions slots starts tables table_width block_size rows"
    " wrong last"
)
"""`refimpl.kv.plan.Plan`: addresses of int32, and how many; `wrong` and `last` are what `plans`
finds out about it."""

PACKED = struct("codes scales sums")
"""Quantised activations (`activations`)."""

BUFFERS = struct(
    "x h q k v a gate up floats halves pairs scratch"
    " dim_bytes q_bytes kv_bytes ffn_bytes scratch_bytes",
    small=PACKED, large=PACKED,
)  # fmt: skip
"""Rows of float32 for each token, and their bytes; activations packed for a product: as floats, as
halves and pairs of 16 bits, in small blocks (q8_0) and in large ones (q8_k); scratch memory for
each thread."""

MODEL = struct(
    "layers n_layers dim heads kv_heads head_dim ffn vocab activation output_norm"
    " read_row taken n_taken",
    embedding=MATRIX, output=MATRIX, eps=np.float64, embed_scale=np.float64,
    attn_scale=np.float64, attn_cap=np.float64, logit_cap=np.float64,
)  # fmt: skip
"""Of a part of a model, `embedding` or `output` may be missing: their `data` is 0."""

STEP = struct(
    "model layer barrier logits logits_bytes n_steps vocab chosen",
    cache=CACHE, plan=PLAN, buffers=BUFFERS,
)  # fmt: skip
"""`layer` is for a job that is one layer's attention alone; the three after the logits are for one
that is several steps: how many, the ids that may be chosen, and where to write them (int32)."""

PRODUCT = struct("barrier n x x_bytes y y_bytes", matrix=MATRIX, buffers=BUFFERS)
"""One matrix times n rows."""


def pointer_to(dtype: np.dtype) -> Any:
    record = from_dtype(dtype)

    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(record)(types.intp), generate

    return pointer


_step, _plan, _model, _layer, _product = map(pointer_to, (STEP, PLAN, MODEL, LAYER, PRODUCT))


@jit
def step_at(address: int) -> Any:
    return carray(_step(address), 1)[0]


@jit
def plan_at(address: int) -> Any:
    return carray(_plan(address), 1)[0]


@jit
def model_at(address: int) -> Any:
    return carray(_model(address), 1)[0]


@jit
def layers_at(address: int, n: int) -> Any:
    return carray(_layer(address), n)


@jit
def product_at(address: int) -> Any:
    return carray(_product(address), 1)[0]
