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
from jaxtyping import Float64, Int32, UInt8
from numpy import ndarray

from refimpl.errors import InputError, RefimplError
from refimpl.sampling import Draw, Sampled, uniform
from refimpl.sampling.beyond import PLAIN, asked_beyond
from refimpl.sampling.draws import attempt
from refimpl.sampling.mask import Mask
from refimpl.sampling.params import SamplingParams
from refimpl.sampling.penalties import History, recent
from refimpl.sampling.philox import uniforms

SETTINGS = "temperature top_p min_p chance repetition frequency presence"
PLACES = "row vocab top_k mask mask_words banned n_banned biased n_biased seen n_seen amount"
OUTCOME = "logit peak total left left_total"


def record(numbers: str, integers: str) -> "np.dtype[Any]":
    return np.dtype([(n, "f8") for n in numbers.split()] + [(n, "i4") for n in integers.split()])


DRAW, DRAWN = record(SETTINGS, PLACES), record(OUTCOME, "token decided")
"""The records of kernels/sample.cuh."""
TOKEN, UNDECIDED = 2 * len(OUTCOME.split()), 0
"""Its place among a record's integers, and what stands there where nothing was decided."""
TILE, PIECE_BYTES, WORK_BYTES = 1024, 40, 26632  # as sample.cuh has them
MOST_DRAWS = 128
"""At a time: each has a row of float64 to itself."""
MOST_TOKENS = 512 * TILE  # of a vocabulary (sample_pick.cu)
FEW_DRAWS = 16
"""So many random numbers take as long one by one as together."""
LEAST_MIN_P = 1e-300  # weights below it are not good to a few ulps


class Asked(NamedTuple):
    """Draws as the kernel reads them."""

    draws: ndarray  # DRAW
    amounts: Float64[ndarray, " amounts"]
    words: Int32[ndarray, " words"]


def choose(launcher: Any, logits: Any, draws: Sequence[Draw]) -> list[Sampled | RefimplError]:
    """A token for each draw, or why there is none."""
    import cupy

    logits = checked(logits, draws)
    results: list[Sampled | RefimplError | None] = [None] * len(draws)
    mine = [i for i, draw in enumerate(draws) if on_device(draw, logits.shape[1])]
    if mine:
        records = start(launcher, logits, [draws[i] for i in mine])
        for i, one in zip(mine, outcomes(cupy.asnumpy(records)), strict=True):
            results[i] = one
    return [*finished(logits, draws, results)]


class Begun:
    """Draws that the device has begun (`refimpl.backend.Choosing`).

    Their records are copied as soon as they are there: whoever reads them waits for that, and not
    for what was launched after it.
    """

    copied: Any = None

    def __init__(self, launcher: Any, logits: Any, draws: Sequence[Draw]) -> None:
        import cupy

        self.logits, self.draws, self.misled = checked(logits, draws), draws, False
        records = start(launcher, self.logits, draws)
        self.tokens = records.view(np.int32).reshape(len(draws), -1)[:, TOKEN]
        pinned = cupy.cuda.alloc_pinned_memory(records.nbytes)
        self.records = np.frombuffer(pinned, np.uint8, records.nbytes)
        cupy.asnumpy(records, out=self.records, blocking=False)
        self.copied = cupy.cuda.get_current_stream().record()

    def results(self) -> list[Sampled | RefimplError]:
        self.copied.synchronize()
        found = outcomes(self.records)
        results = finished(self.logits, self.draws, [*found])
        self.misled = any(
            one is None and isinstance(result, Sampled) and result.token != UNDECIDED
            for one, result in zip(found, results, strict=True)
        )
        return results

    def __del__(self) -> None:
        if self.copied is not None:
            self.copied.synchronize()  # before somebody else is given the memory


def checked(logits: Any, draws: Sequence[Draw]) -> Any:
    """The logits as the kernels read them; every draw has a row."""
    import cupy

    for draw in draws:
        if not 0 <= draw.row < len(logits):
            raise InputError(f"a draw is from row {draw.row}, of 0 .. {len(logits) - 1}")
    return cupy.ascontiguousarray(cupy.asarray(logits, dtype=np.float32))


def finished(
    logits: Any, draws: Sequence[Draw], found: list[Sampled | RefimplError | None]
) -> list[Any]:
    """With what the device left open, by the definition; each of its rows is copied once."""
    results: list[Any] = [*found]
    left = [i for i, result in enumerate(results) if result is None]
    if not left:
        return results
    import cupy

    rows = sorted({draws[i].row for i in left})
    copied = cupy.asnumpy(logits[rows])
    for i in left:
        results[i] = attempt(copied, replace(draws[i], row=rows.index(draws[i].row)))
    return results


def start(launcher: Any, logits: Any, asked_for: Sequence[Draw]) -> Any:
    """Launch what chooses; the bytes of a record (DRAWN) for each draw, on the device."""
    import cupy

    asked = pack(asked_for, logits.shape[1])
    draws, amounts, words = upload(asked)
    out = cupy.empty(len(asked.draws) * DRAWN.itemsize, np.uint8)
    cut = bool(((asked.draws["top_k"] > 0) | (asked.draws["top_p"] < 1)).any())
    for first in range(0, len(asked.draws), MOST_DRAWS):
        n = min(MOST_DRAWS, len(asked.draws) - first)
        some = draws[first * DRAW.itemsize :]
        run_some(launcher, out[first * DRAWN.itemsize :], logits, some, amounts, words, n, cut)
    return out


def outcomes(records: UInt8[ndarray, " bytes"]) -> list[Sampled | None]:
    """The records as the engine reads them."""
    return [sampled(one) for one in records.view(DRAWN).tolist()]


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
    odd = params.min_p and params.min_p < LEAST_MIN_P
    return not odd and asked_beyond(params) == PLAIN


def are_ids(tokens: History, vocab: int) -> bool:
    return not len(tokens) or (min(tokens) >= 0 and max(tokens) < vocab)


def seen_by(draw: Draw) -> History:
    """The tokens that penalties lower, if there are any."""
    p = draw.params
    return recent(draw.history, p.penalty_last_n) if p.penalises else ()


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
    records["chance"] = chances(draws)
    words = np.concatenate([np.zeros(0, np.int32), *lists.words])
    return Asked(records, np.array(lists.amounts, np.float64), words)


def chances(draws: Sequence[Draw]) -> Sequence[float] | Float64[ndarray, " draws"]:
    """Each draw's random number."""
    of = [(draw.params.seed, draw.sample, len(draw.history)) for draw in draws]
    return (
        uniforms(*zip(*of, strict=True)) if len(of) > FEW_DRAWS else [uniform(*one) for one in of]
    )


@dataclass(kw_only=True, eq=False)
class Lists:
    """What draws point into, while it is being made."""

    words: list[Int32[ndarray, " words"]] = field(default_factory=list)
    n_words: int = 0
    amounts: list[float] = field(default_factory=list)

    def put(self, values: Sequence[int] | Int32[ndarray, " words"]) -> tuple[int, int]:
        """Where these words will be, and how many they are."""
        first, n = self.n_words, len(values)
        if n:
            self.words.append(np.asarray(values, np.int32))
            self.n_words += n
        return first, n

    def record(self, draw: Draw, columns: int) -> tuple[float | int, ...]:
        """A draw, in the order of DRAW; its chance is still open."""
        p, vocab = draw.params, min(columns, draw.vocab_size or columns)
        mask = (0, -1) if draw.mask is None else self.put(signed(draw.mask))
        banned = self.put([token for token in sorted(draw.banned) if token < vocab])
        biased, first_amount = self.put([*p.logit_bias]), len(self.amounts)
        self.amounts.extend(p.logit_bias.values())
        times = Counter(seen_by(draw)) if p.penalises else {}
        seen = self.put([*times])
        self.put([*times.values()])
        return (
            *(p.temperature, p.top_p, p.min_p, 0.0),
            *(p.repetition_penalty, p.frequency_penalty, p.presence_penalty),
            *(draw.row, vocab, p.top_k if p.top_k < vocab else 0),
            *(*mask, *banned, *biased, *seen, first_amount),
        )


def signed(mask: Mask) -> Int32[ndarray, " words"]:
    return np.ascontiguousarray(mask, np.uint32).view(np.int32)


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
