"""How ggml makes TQ1_0, TQ2_0, Q1_0 and Q2_0.

Sources: quantize_row_tq1_0_ref, quantize_row_tq2_0_ref, quantize_row_q1_0_ref,
quantize_row_q2_0_ref in ggml-quants.c (0.25).  These are for weights that already are -d, 0 or
+d; of others they keep little.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from refimpl.formats.quants.bits import pack_in_order, pack_striped
from refimpl.formats.quants.encode import Fields, ordered_sum, reciprocal, round_away, truncate

Importance = Float32[ndarray, "n weights"] | None


def rounded_to_scale(
    x: Float32[ndarray, "n weights"],
) -> tuple[Float32[ndarray, "n"], Float32[ndarray, "n weights"]]:
    """The largest magnitude, and the weights rounded to multiples of it: -1, 0 or 1."""
    d = np.abs(x).max(axis=1)
    return d, round_away(x * reciprocal(d)[:, None])


def trits(x: Float32[ndarray, "n 256"]) -> tuple[Float32[ndarray, "n"], UInt8[ndarray, "n 256"]]:
    """Scale, and trits 0, 1, 2.  (lroundf of an infinity or NaN keeps zeros in its low 32 bits.)"""
    d, q = rounded_to_scale(x)
    q = np.where(np.isfinite(q), q, np.float32(0))
    return d, (q + np.float32(1)).astype(np.uint8)


def encode_tq2_0(x: Float32[ndarray, "n 256"], importance: Importance) -> Fields:
    d, q = trits(x)
    return {"d": d, "qs": pack_striped(q, 2, run=32)}


def pack_trits(q: UInt8[ndarray, "n trits"], run: int) -> UInt8[ndarray, "n run"]:
    """The trits as digits after the point in base 3, rounded up to a fraction of 256."""
    stripes = q.reshape(len(q), -1, run)
    number = np.zeros((len(q), run), dtype=np.uint16)
    for i in range(5):
        number *= np.uint16(3)
        if i < stripes.shape[1]:
            number += stripes[:, i]
    packed: ndarray = (number * np.uint16(256) + np.uint16(242)) // np.uint16(243)
    return packed.astype(np.uint8)


def encode_tq1_0(x: Float32[ndarray, "n 256"], importance: Importance) -> Fields:
    d, q = trits(x)
    qs = pack_trits(q[:, :160], 32), pack_trits(q[:, 160:240], 16)
    return {"d": d, "qs": np.concatenate(qs, axis=1), "qh": pack_trits(q[:, 240:], 4)}


def encode_q1_0(x: Float32[ndarray, "n 128"], importance: Importance) -> Fields:
    d = ordered_sum(np.abs(x).T) / np.float32(128)
    return {"d": d, "qs": pack_in_order((x >= 0).view(np.uint8), 1)}


def encode_q2_0(x: Float32[ndarray, "n 64"], importance: Importance) -> Fields:
    d, q = rounded_to_scale(x)
    steps = np.clip(truncate(q) + np.int32(1), 0, 3).astype(np.uint8)
    return {"d": d, "qs": pack_in_order(steps, 2)}
