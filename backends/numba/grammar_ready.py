"""What Python calls of the masks' code, compiled all together: once for a machine.

The functions share most of their pieces, so compiling them one by one, as they are met, would take
longer, and in the middle of a request.
"""

from functools import cache
from typing import Any

from numba import types

from backends.numba.compile import MASKS, announce, directory
from backends.numba.grammar_known import hash_masks
from backends.numba.grammar_machine import walk_machine
from backends.numba.grammar_masks import accepts, advance_and_mask, hash_inside
from backends.numba.grammar_rows import hash_rows
from backends.numba.grammar_stacks import advance, hash_nodes
from backends.numba.grammar_unique import hash_pairs
from backends.numba.grammar_words import fill_tries

_ROW, _ROWS = types.int32[::1], types.int32[:, ::1]
_TEXT = types.Array(types.uint32, 1, "C", readonly=True)
_MASK, _FLAGS = types.uint32[::1], types.boolean[::1]


def called_by_python() -> dict[Any, tuple[Any, ...]]:
    """The functions, and the types of their arguments."""
    numbers = {
        advance: 5, advance_and_mask: 5, accepts: 3,
        hash_masks: 1, hash_inside: 1, hash_rows: 1, hash_nodes: 1, hash_pairs: 1,
    }  # fmt: skip
    stacks = (_ROW, _ROW, types.int64, types.int64)
    return {
        **{function: (types.int64,) * n for function, n in numbers.items()},
        fill_tries: (_TEXT, _ROW, _ROW, _ROWS, types.int64),
        walk_machine: (
            _ROWS, _ROWS, _ROWS, _FLAGS, *stacks, _ROWS, _MASK, _ROW, _ROW, _ROW, _ROW, _ROWS,
        ),
    }  # fmt: skip


@cache
def compile_masks() -> None:
    """Compiles what no process on this machine has compiled before, and says so."""
    marker = directory(MASKS) / "masks.compiled"
    if not marker.exists():
        announce("masks", directory(MASKS))
    for function, arguments in called_by_python().items():
        function.compile(arguments)
    marker.touch()
