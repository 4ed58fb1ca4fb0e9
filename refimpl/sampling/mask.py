"""Which tokens a constraint allows, as one bit each: token i is bit i % 32 of word i // 32.

The packing is the one that constrained decoders share (`refimpl.grammar.masks` makes them).

>>> masked(np.zeros(3), np.array([0b101], np.uint32)).tolist()
[0.0, -inf, 0.0]
"""

import numpy as np
from jaxtyping import UInt32
from numpy import ndarray

from refimpl.sampling.probability import Logits

Mask = UInt32[ndarray, " words"]


def masked(logits: Logits, mask: Mask) -> Logits:
    """The logits of allowed tokens; a token beyond the mask is not allowed."""
    bits = np.unpackbits(mask.astype("<u4", copy=False).view(np.uint8), bitorder="little")
    allowed = np.zeros(len(logits), dtype=bool)
    allowed[: len(bits)] = bits[: len(logits)]
    return np.where(allowed, logits, -np.inf)
