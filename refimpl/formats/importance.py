"""llama.cpp's importance matrices: how much an error in each column of a weight matters.

`llama-imatrix` runs a text through a model and adds up, for every matrix, the squares of what each
column is multiplied with.  It writes a GGUF file: NAME.in_sum2, the sums [matrices, columns], and
NAME.counts, how many rows went into each [matrices, 1].  A matrix that was never used (an expert
nobody chose) counts every column alike.

Source: llama.cpp, tools/imatrix and tools/quantize (load_imatrix).
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from refimpl.errors import FormatError
from refimpl.formats.gguf import GGUF

SUMS, COUNTS = ".in_sum2", ".counts"


def read_importance(path: Path) -> dict[str, Float32[ndarray, "matrices columns"]]:
    """Tensor name -> mean square of each column's input."""
    file = GGUF.open(path)
    names = [name.removesuffix(SUMS) for name in file.tensors if name.endswith(SUMS)]
    if not names:
        raise FormatError(f"{path} holds no importance matrices: make one with llama-imatrix")
    return {name: mean_squares(file, name) for name in names}


def mean_squares(file: GGUF, name: str) -> Float32[ndarray, "matrices columns"]:
    if name + COUNTS not in file.tensors:
        raise FormatError(f"{file.path}: {name!r} has sums and no counts")
    sums = np.atleast_2d(np.asarray(file.tensor(name + SUMS)[...], np.float32))
    counts = np.asarray(file.tensor(name + COUNTS)[...], np.float32).reshape(-1, 1)
    if sums.ndim != 2 or len(counts) != len(sums):
        raise FormatError(f"{file.path}: {name!r} has {len(sums)} sums and {len(counts)} counts")
    used = counts > 0
    return np.where(used, sums / np.where(used, counts, 1), 1).astype(np.float32)
