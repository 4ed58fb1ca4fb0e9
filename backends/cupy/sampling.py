"""Choosing tokens where the logits are: four kernels for a step's draws, and a few bytes back.

Masks (bit sets, as they come), bans, biases, penalties, temperature, top_k, top_p, min_p and greedy
draws are the kernels' (`kernels/sample.cuh`).  Whatever else a request asks for, the definition
chooses, and so it does where a sum lies too close to a line: only the rows of such draws are copied
to the host.

A draw's token is the definition's; its log-probabilities are good to vocabulary**2 / 2**62 (4e-9 of
128,256 tokens) and a few float64 roundings.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32
from numpy import ndarray

from refimpl.errors import InputError, RefimplError
from refimpl.sampling import Draw, Sampled, uniform
from refimpl.sampling.beyond import PLAIN, asked_beyond
from refimpl.sampling.draws import attempt
from refimpl.sampling.mask import Mask
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.penalties import History, recent

SETTINGS = "temperature top_p min_p chance repetition frequency presence"
PLACES = "row vocab top_k mask mask_words banned n_banned biased n_biased seen n_seen amount"
OUTCOME = "logit peak total left left_total"


def record(numbers: str, integers: str) -> "np.dtype[Any]":
    return np.dtype([(n, "f8") for n in numbers.split()] + [(n, "i4") for n in integers.split()])


DRAW, DRAWN = record(SETTINGS, PLACES), record(OUTCOME, "token decided")
"""The records of kernels/sample.cuh."""
TILE, PIECE_BYTES, WORK_BYTES = 1024, 40, 26632  # as sample.cuh has them
MOST_DRAWS = 128
"""At a time: each has a row of float64 to itself."""
MOST_TOKENS = 512 * TILE  # of a vocabulary (sample_pick.cu)
LEAST_MIN_P = 1e-300  # weights below it are not good to a few ulps
MOST_MIN_P = 1 - 2.0**-40  # above it a weight that rounds to 1 decides


class Asked(NamedTuple):
    """Draws as the kernel reads them."""

    draws: ndarray  # DRAW
    amounts: Float64[ndarray, " amounts"]
    words: Int32[ndarray, " words"]


def choose(launcher: Any, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
    """A token for each draw, or why there is none."""
    import cupy

    logits = cupy.ascontiguousarray(cupy.asarray(logits, dtype=np.float32))
    for draw in draws:
        if not 0 <= draw.row < len(logits):
            raise InputError(f"a draw is from row {draw.row}, of 0 .. {len(logits) - 1}")
    results: list[Sampled | RefimplError | None] = [None] * len(draws)
    mine = [i for i, draw in enumerate(draws) if on_device(draw, logits.shape[1])]
    if mine:
        asked = pack([draws[i] for i in mine], logits.shape[1])
        for i, drawn in zip(mine, run(launcher, logits, asked).tolist(), strict=True):
            results[i] = sampled(drawn)
    return [*finished(logits, draws, results)]


def finished(logits: Any, draws: Sequence[Draw], results: list[Any]) -> list[Any]:
    """With what the device left open, by the definition; each of its rows is copied once."""
    left = [i for i, result in enumerate(results) if result is None]
    if not left:
        return results
    import cupy

    rows = sorted({draws[i].row for i in left})
    copied = cupy.asnumpy(logits[rows])
    for i in left:
        results[i] = attempt(copied, replace(draws[i], row=rows.index(draws[i].row)))
    return results


def run(launcher: Any, logits: Any, asked: Asked) -> ndarray:
    """What became of each draw."""
    import cupy

    draws, amounts, words = upload(asked)
    out = cupy.empty(len(asked.draws) * DRAWN.itemsize, np.uint8)
    for first in range(0, len(asked.draws), MOST_DRAWS):
        n = min(MOST_DRAWS, len(asked.draws) - first)
        some, cut = draws[first * DRAW.itemsize :], any_cut(asked.draws)
        run_some(launcher, out[first * DRAWN.itemsize :], logits, some, amounts, words, n, cut)
    return np.asarray(cupy.asnumpy(out)).view(DRAWN)


def any_cut(draws: ndarray) -> bool:
    return bool(((draws["top_k"] > 0) | (draws["top_p"] < 1)).any())


def upload(asked: Asked) -> list[Any]:
    """Its three arrays on the device, in one copy."""
    import cupy

    parts = [np.ascontiguousarray(part).view(np.uint8) for part in asked]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    memory = cupy.asarray(np.concatenate(parts))
    return [memory[end - len(part) :] for part, end in zip(parts, ends, strict=True)]


def run_some(
    launcher: Any, out: Any, logits: Any, draws: Any, amounts: Any, words: Any, n: int, cut: bool
) -> None:
    """The kernels for n draws; `cut`: top_k or top_p may draw a line."""
    import cupy

    columns = logits.shape[1]
    tiles, one = -(-columns // TILE), np.float64(unit(columns))
    x = cupy.empty((n, columns), np.float64)
    pieces = cupy.empty((n, tiles, PIECE_BYTES), np.uint8)
    works = cupy.empty((n, WORK_BYTES), np.uint8)

    def launch(name: str, grid: tuple[int, ...], threads: int, *args: Any) -> None:
        launcher.run(launcher.kernels(name), grid, threads, *args)

    by_tiles, state = (tiles, n), (x, pieces, works)
    launch("sample_allow", by_tiles, 256, *state, logits, draws, amounts, words, columns)
    launch("sample_weigh", by_tiles, 256, *state, logits, draws, words, one, columns)
    if cut:
        launch("sample_front", by_tiles, 256, *state, draws, columns)
    launch("sample_pick", (n,), 1024, out, *state, logits, draws, one, tiles, columns)


def unit(vocab: int) -> float:
    """What a weight of 1 is as an integer: sums of so many fit 63 bits.

    >>> unit(300) == 2.0**52, unit(128256) == 2.0**45
    (True, True)
    """
    return 2.0 ** min(52, 62 - (vocab - 1).bit_length())


def on_device(draw: Draw, columns: int) -> bool:
    """Does it ask for nothing that the kernel lacks, and name no token that is none?"""
    vocab = min(columns, columns if draw.vocab_size is None else draw.vocab_size)
    return (
        0 < vocab <= MOST_TOKENS
        and is_plain(draw.params)
        and are_ids(tuple(draw.params.logit_bias), vocab)
        and are_ids(seen_by(draw), vocab)
    )


def is_plain(params: SamplingParams) -> bool:
    odd = params.min_p and not LEAST_MIN_P <= params.min_p <= MOST_MIN_P
    return not odd and asked_beyond(params) == PLAIN


def are_ids(tokens: History, vocab: int) -> bool:
    return not len(tokens) or (min(tokens) >= 0 and max(tokens) < vocab)


def seen_by(draw: Draw) -> History:
    """The tokens that penalties lower, if there are any."""
    p = draw.params
    penalises = p.repetition_penalty != 1 or p.frequency_penalty or p.presence_penalty
    return recent(draw.history, p.penalty_last_n) if penalises else ()


def pack(draws: Sequence[Draw], columns: int) -> Asked:
    """The draws' records, and the lists that they point into.

    >>> params = SamplingParams(temperature=0.5, top_k=2, logit_bias={4: 1.5}, presence_penalty=1)
    >>> mask = np.array([0b10111], np.uint32)
    >>> asked = pack([Draw(row=3, params=params, history=[7, 1, 7], mask=mask)], 9)
    >>> asked.words.tolist(), asked.amounts.tolist()       # mask; biased; seen, and how often
    ([23, 4, 7, 1, 2, 1], [1.5])
    >>> asked.draws[["row", "vocab", "top_k", "mask", "mask_words", "seen", "n_seen"]].tolist()
    [(3, 9, 2, 0, 1, 2, 2)]
    """
    lists = Lists()
    records = np.array([lists.record(draw, columns) for draw in draws], DRAW)
    return Asked(records, np.array(lists.amounts, np.float64), np.array(lists.words, np.int32))


@dataclass(kw_only=True, eq=False)
class Lists:
    """What draws point into, while it is being made."""

    words: list[int] = field(default_factory=list)
    amounts: list[float] = field(default_factory=list)

    def put(self, values: Sequence[int]) -> tuple[int, int]:
        """Where these words will be, and how many they are."""
        self.words.extend(values)
        return len(self.words) - len(values), len(values)

    def record(self, draw: Draw, columns: int) -> tuple[float | int, ...]:
        """A draw, in the order of DRAW."""
        p, vocab = draw.params, min(columns, draw.vocab_size or columns)
        chance = uniform(p.seed, draw.sample, len(draw.history)) if p.temperature else 0.0
        mask = (0, -1) if draw.mask is None else self.put(signed(draw.mask))
        banned = self.put([token for token in sorted(draw.banned) if token < vocab])
        biased, first_amount = self.put([*p.logit_bias]), len(self.amounts)
        self.amounts.extend(p.logit_bias.values())
        times = Counter(seen_by(draw))
        seen = self.put([*times])
        self.put([*times.values()])
        return (
            *(p.temperature, p.top_p, p.min_p, chance),
            *(p.repetition_penalty, p.frequency_penalty, p.presence_penalty),
            *(draw.row, vocab, p.top_k if p.top_k < vocab else 0),
            *(*mask, *banned, *biased, *seen, first_amount),
        )


def signed(mask: Mask) -> list[int]:
    words: list[int] = mask.astype(np.uint32, copy=False).view(np.int32).tolist()
    return words


def sampled(drawn: tuple[Any, ...]) -> Sampled | None:
    """A record as the engine reads it, None where nothing was decided."""
    logit, peak, total, left, left_total, token, decided = drawn
    if not decided:
        return None
    return Sampled(
        token=token,
        logprob=logit - peak - log(total),
        drawn_logprob=left - log(left_total),
    )
