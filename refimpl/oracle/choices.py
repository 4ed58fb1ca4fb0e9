"""The tokens of a step: the same as the reference draws, wherever arithmetic leaves no doubt.

A backend may choose in float32 where the logits are.  Near a boundary, between two tokens' slices
of [0, 1) or at a filter's line, the last bits decide, and then another token is no failure.
Whether a case is decidable is found out by asking the reference again `RUNS` times with the logits
moved by a few float32 roundings: if it ever changes its mind, nothing is claimed.

Log-probabilities must lie within the bound of a float32 log-softmax.
"""

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.errors import RefimplError
from refimpl.ops.approx import approx
from refimpl.ops.bounds import powers
from refimpl.ops.numerics import F32
from refimpl.oracle.comparison import ContractError
from refimpl.sampling import Draw, Sampled, SamplingParams, choose

RUNS = 16
MOVED = 16 * F32.unit_roundoff
"""Relative: penalties, temperature, exp and the sums before a filter's line."""


def chooses(backend: Backend, *, logits: ndarray, draws: list[Mapping[str, Any]]) -> float:
    """The largest fraction of the bound that a log-probability uses; tokens must be equal."""
    asked = [draw_of(one, logits.shape[1]) for one in draws]
    expected = choose(logits, asked)
    before = logits.tobytes()
    given = backend.put(logits)
    actual = backend.choose(given, asked)
    if logits.tobytes() != before or np.asarray(backend.host(given)).tobytes() != before:
        raise ContractError("choose changed the logits")
    if len(actual) != len(asked):
        raise ContractError(f"{len(asked)} draws gave {len(actual)} tokens")
    return max(
        (compare(logits, *three) for three in zip(asked, expected, actual, strict=True)),
        default=0.0,
    )


def compare(
    logits: ndarray, draw: Draw, wanted: Sampled | RefimplError, got: Sampled | RefimplError
) -> float:
    if isinstance(wanted, RefimplError) or isinstance(got, RefimplError):
        if type(wanted) is not type(got):
            raise ContractError(f"a draw gave {got!r}, and should give {wanted!r}")
        return 0.0
    if wanted.token != got.token:
        if decidable(logits, draw, wanted.token):
            raise ContractError(
                f"token {got.token} was drawn from row {draw.row}, and should be {wanted.token}"
            )
        return 0.0
    bound = logprob_bound(logits[draw.row].astype(np.float64), draw.params)
    gaps = [abs(got.logprob - wanted.logprob)]
    if decidable(logits, draw, wanted.token):  # else the set it was drawn from may be another
        gaps.append(abs(got.drawn_logprob - wanted.drawn_logprob))
    if (got.mu is None) != (wanted.mu is None):
        raise ContractError(f"mirostat's next state is {got.mu}, and should be {wanted.mu}")
    if got.mu is not None and wanted.mu is not None and len(gaps) == 2:
        gaps.append(abs(got.mu - wanted.mu) * log(2) / draw.params.mirostat_eta)
    if len(got.top) != len(wanted.top):
        raise ContractError(f"{len(wanted.top)} alternatives asked for, {len(got.top)} listed")
    used = max(gaps) / bound
    if not used <= 1:
        raise ContractError(
            f"a log-probability is off by {max(gaps):.3g}, the bound is {bound:.3g}"
        )
    return used


def decidable(logits: ndarray, draw: Draw, token: int) -> bool:
    """Does the reference draw this token however the last bits fall?"""
    rng = np.random.default_rng(0)
    spread = MOVED * (1 + np.abs(logits.astype(np.float64)))
    for _ in range(RUNS):
        moved = logits.astype(np.float64) + rng.uniform(-1, 1, logits.shape) * spread
        again = choose(moved, [draw])[0]
        if isinstance(again, RefimplError) or again.token != token:
            return False
    return True


def logprob_bound(row: ndarray, params: SamplingParams) -> float:
    """x - max - log(sum): a few roundings of x, and the relative error of the sum."""
    hot = row / params.temperature if 0 < params.temperature < 1 else row
    a = approx(hot, F32).rounded(16)
    total = powers(a).sum()
    log = float(total.error[..., 0] / (total.value - total.error)[..., 0])
    below = np.abs(hot - hot.max()).max() * F32.unit_roundoff
    return float(2 * a.error.max() + log + 4 * below + 4 * F32.unit_roundoff)


def draw_of(one: Mapping[str, Any], vocab: int) -> Draw:
    """The `Draw` that plain data stands for."""
    return Draw(
        row=one["row"],
        params=SamplingParams(**one["params"]),
        history=tuple(one["history"]),
        sample=one["sample"],
        mu=one["mu"],
        vocab_size=one["vocab_size"],
        banned=frozenset(one["banned"]),
        mask=None if one["allowed"] is None else mask_of(one["allowed"], vocab),
    )


def mask_of(allowed: list[int], vocab: int) -> ndarray:
    """Bit i of the words says whether token i is allowed."""
    bits = np.zeros(-(-vocab // 32) * 32, np.uint8)
    bits[allowed] = 1
    words: ndarray = np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)
    return words
