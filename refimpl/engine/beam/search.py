"""Beam search on block tables: a beam that splits is a fork, one that dies gives its blocks back.

All beams of a prompt begin with the same blocks, and later with most of the same.  After each step:

    beams       A  B  C                 a fork shares every block, also the partial last one;
    continue    A  A  C                 the first to write into it copies it, the last writes in
                |\\    \\                place.  B's blocks that nobody else reads are free.
    leases      A A'   C

so a step costs one block a beam at most, and the memory is that of the tree of all sequences, not
of their sum (`Sharing` counts both).  The beams of all prompts are one batch.

The search has the engine's backend, its pool and its prefix cache to itself, and needs it idle.

>>> from refimpl.engine.llm import LLM
>>> from refimpl.oracle.models import random_model
>>> llm = LLM(random_model("llama", seed=0), block_size=4, n_blocks=32)
>>> [result] = beam_search(llm, [1, 2, 3], BeamParams(width=3, max_tokens=6))
>>> [len(one.tokens) for one in result.hypotheses]
[6, 6, 6]
>>> result.sharing.n_distinct < result.sharing.n_named, llm.engine.scheduler.memory.pool.n_available
(True, 32)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from refimpl.engine.batch import build_plan
from refimpl.engine.beam.scores import RULES, BeamParams, Hypothesis, Rules
from refimpl.engine.core import Engine
from refimpl.engine.faults import (
    BackendError,
    ContextOverflowError,
    EmptyPromptError,
    TooLargeError,
)
from refimpl.engine.llm import LLM, Prompt, as_list
from refimpl.engine.request import Request
from refimpl.engine.step import Share, Step
from refimpl.errors import InputError
from refimpl.kv.blocks import OutOfBlocksError
from refimpl.kv.blocks import Sharing as ForkBy
from refimpl.sampling import SamplingParams, log_softmax

PARAMS = SamplingParams()


@dataclass(kw_only=True)
class Sharing:
    """Blocks, summed over the steps of a search."""

    n_named: int = 0  # by the beams' tables: what separate sequences would take
    n_distinct: int = 0  # what they took
    n_copies: int = 0  # of blocks, on write
    n_peak: int = 0  # distinct blocks, at most

    @property
    def saved(self) -> float:
        """The part of the blocks that sharing saved, as the vLLM paper counts it (figure 15b)."""
        return 1 - self.n_distinct / self.n_named if self.n_named else 0.0


@dataclass(frozen=True, kw_only=True)
class BeamResult:
    """A prompt, its best continuations, and what they shared.  `texts` if there is a tokenizer."""

    prompt: list[int]
    hypotheses: list[Hypothesis]
    sharing: Sharing
    texts: list[str] = field(default_factory=list)


def beam_search(
    llm: LLM, prompts: Prompt | Sequence[Prompt], params: BeamParams
) -> list[BeamResult]:
    """Search for every prompt, with the model, the tokenizer and the memory of an `LLM`."""
    tokenizer = llm.tokenizer
    results = search(
        llm.engine,
        [llm.encode(prompt) for prompt in as_list(prompts)],
        params,
        ends=tokenizer.eog_ids if tokenizer else frozenset(),
        vocab_size=tokenizer.vocab_size if tokenizer else None,
    )
    if tokenizer is None:
        return results
    return [
        replace(result, texts=[told(llm, result.prompt, one) for one in result.hypotheses])
        for result in results
    ]


def told(llm: LLM, prompt: list[int], one: Hypothesis) -> str:
    """The text of a continuation, without its end token."""
    stream = llm.text_stream(prompt, PARAMS)
    assert stream is not None, "there is a tokenizer"
    last = len(one.tokens) - 1
    return "".join(
        stream.push(token, hidden=one.ended and i == last, last=i == last)
        for i, token in enumerate(one.tokens)
    )


def search(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    params: BeamParams,
    *,
    ends: frozenset[int] = frozenset(),
    vocab_size: int | None = None,
) -> list[BeamResult]:
    """Search for every prompt of token ids; `ends` are the tokens that end a sequence."""
    if not engine.is_idle:
        raise InputError("the engine is serving requests: a beam search needs it idle")
    trees = [
        Tree(engine, prompt, params, ends, vocab_size, id=str(i))
        for i, prompt in enumerate(prompts)
    ]
    try:
        for tree in trees:
            tree.read_prompt()
        while going := [tree for tree in trees if not tree.rules.is_done]:
            step_all(engine, going)
    except OutOfBlocksError as error:
        raise TooLargeError(
            f"{params.width} beams for {len(prompts)} prompts do not fit the pool: {error}"
        ) from None
    finally:
        for tree in trees:
            tree.close()
    return [
        BeamResult(prompt=tree.prompt, hypotheses=tree.rules.best(), sharing=tree.sharing)
        for tree in trees
    ]


def step_all(engine: Engine, trees: list["Tree"]) -> None:
    """One token for every beam of every prompt, as one batch."""
    beams = [beam for tree in trees for beam in tree.beams]
    rows = logits_after(engine, [Share(beam, len(beam.tokens) - 1, 1, (beam,)) for beam in beams])
    for tree in trees:
        mine, rows = rows[: len(tree.beams)], rows[len(tree.beams) :]
        tree.grow(mine)


def logits_after(engine: Engine, shares: list[Share]) -> list[ndarray]:
    """The logits after each share's last token; its keys and values are in the cache then."""
    plan = build_plan(Step(budget=0, by_id={share.request.id: share for share in shares}))
    logits = engine.runner.forward(plan)
    arrays = [engine.runner.backend.host(array) for array in logits.arrays]
    rows = []
    for place in logits.places:
        if isinstance(place, BackendError):
            raise place
        array, _, stop = place
        rows.append(arrays[array][stop - 1])
    return rows


class Tree:
    """The live beams of one prompt, each a request with a lease of its own."""

    def __init__(
        self,
        engine: Engine,
        prompt: Sequence[int],
        params: BeamParams,
        ends: frozenset[int],
        vocab_size: int | None,
        *,
        id: str,
    ) -> None:
        config = engine.runner.model.config
        self.engine = engine
        self.id = id
        self.prompt = list(prompt)
        self.vocab_size = vocab_size
        refuse_impossible(self.prompt, config.vocab_size, config.context_length)
        most = min(params.max_tokens, config.context_length - len(prompt))
        self.rules: Rules = RULES[params.rules](
            replace(params, max_tokens=most), ends=ends, n_prompt=len(prompt)
        )
        self.sharing = Sharing()
        self.n_forks = 0
        stem = self.beam(self.prompt)
        stem.lease = engine.scheduler.memory.lease(stem.tokens)
        self.beams = [stem]

    def beam(self, tokens: Sequence[int]) -> Request:
        self.n_forks += 1
        return Request(id=f"{self.id}.{self.n_forks}", prompt=tokens, params=PARAMS)

    def read_prompt(self) -> None:
        """Compute the prompt in chunks, but for its last token, which is the first step's."""
        [stem] = self.beams
        n, hit = len(self.prompt) - 1, stem.lease.match()
        stem.lease.open(hit, 0)
        chunk = self.engine.scheduler.limits.max_batched_tokens
        for start in range(hit.n_tokens, n, chunk):
            size = min(chunk, n - start)
            stem.lease.grow(size)
            logits_after(self.engine, [Share(stem, start, size, (stem,))])
            stem.lease.commit(start + size)
        stem.lease.grow(1)

    def grow(self, rows: list[ndarray]) -> None:
        """The step is computed: choose the next beams, and give each a slot for its last token."""
        self.count()
        for beam in self.beams:
            beam.lease.commit(len(beam.tokens))
        logprobs = np.array([log_softmax(as_float64(row[: self.vocab_size])) for row in rows])
        parents = self.rules.advance(logprobs)
        if self.rules.is_done:
            return
        heirs = [self.fork(self.beams[i]) for i in parents]
        self.close()
        self.beams = heirs
        for heir, chosen in zip(heirs, self.rules.live, strict=True):
            heir.tokens.append(chosen.tokens[-1])
            for copy in heir.lease.grow(1):
                self.engine.runner.move_one(copy)
                self.sharing.n_copies += 1

    def fork(self, parent: Request) -> Request:
        heir = self.beam(parent.tokens)
        heir.lease = parent.lease.fork(
            heir.tokens, ForkBy.COPY_ON_WRITE, n_computed=len(parent.tokens)
        )
        return heir

    def count(self) -> None:
        tables = [beam.lease.table.blocks for beam in self.beams]
        distinct = len({block for table in tables for block in table})
        self.sharing.n_named += sum(map(len, tables))
        self.sharing.n_distinct += distinct
        self.sharing.n_peak = max(self.sharing.n_peak, distinct)

    def close(self) -> None:
        for beam in self.beams:
            beam.lease.close()


def refuse_impossible(prompt: list[int], vocab_size: int, context_length: int) -> None:
    if not prompt:
        raise EmptyPromptError("a prompt has no tokens: there is nothing to continue")
    if not 0 <= min(prompt) <= max(prompt) < vocab_size:
        raise InputError(f"a prompt has tokens outside the model's vocabulary of {vocab_size}")
    if len(prompt) >= context_length:
        raise ContextOverflowError(
            f"a prompt has {len(prompt)} tokens, and the context holds {context_length} with the "
            "answer: shorten it"
        )


def as_float64(row: ndarray) -> Float64[ndarray, " vocab"]:
    return np.asarray(row, dtype=np.float64)
