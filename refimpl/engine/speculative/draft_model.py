"""A smaller model guesses: it runs ahead, token by token, on block tables of its own.

The draft model reads the same text as the target and keeps keys and values of it in its own pool.
Each call it first catches up with what the target has said, then says k tokens itself, for all
requests in one batch.  What the target refuses is forgotten by truncating the table:

    text of the target    a b c d e
    its own, last call    a b c x y z       computed but for z; x was refused
    kept                  a b c             now d e are computed, then guesses follow

How it draws is how the guess will be judged (`refimpl.sampling.verify`):

- `honest=False`: with the filters and with the very number the target will use at that position.
  It does what it believes the target would do, down to the coin.  Greedy stays greedy.
- `honest=True`: from its own law, with numbers of its own, and says which law that was, so that a
  guess can be accepted with probability min(1, p / q).  The text then has the target's law only.

`siblings` adds a tree: at every depth so many more guesses, which nothing follows.  Honest ones
are drawn too; the others are the next most probable tokens.

    d - e - f       siblings = 1: what if the target says x instead of d?  Then one more
    x   y   z       token is right, and its successor is known

The chain stands first, so that where it is right its keys and values lie where they belong.

Greedy chains without siblings need nobody to look on: the backend makes them in one call.

A pool that is full makes no guess; it never waits.

>>> from refimpl.backend import ReferenceBackend
>>> from refimpl.engine.request import Status
>>> from refimpl.oracle.models import random_model
>>> from refimpl.sampling import SamplingParams
>>> drafter = DraftModel(random_model("llama", seed=0), ReferenceBackend(), n_blocks=8)
>>> greedy = SamplingParams(temperature=0.0)
>>> request = Request(id="a", prompt=(1, 2, 3), params=greedy)
>>> request.status = Status.RUNNING
>>> [draft] = drafter.propose([Ask(request, 3)])
>>> len(draft), drafter.shadows[request].n_computed      # the prompt, and two guesses of its own
(3, 5)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.engine.faults import BackendError
from refimpl.engine.request import Request
from refimpl.engine.runner import Runner
from refimpl.engine.speculative.proposer import Ask, is_gone
from refimpl.engine.speculative.small_plan import small_plan
from refimpl.engine.step import Share
from refimpl.errors import InputError, RefimplError
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory
from refimpl.kv.radix import common_prefix
from refimpl.model.forward import Model
from refimpl.sampling import Logits, law, sample_at, uniform
from refimpl.sampling.greedy import is_greatest
from refimpl.sampling.probability import Probabilities
from refimpl.sampling.verify import Draft, draft_stream, pick_from

Row = Float[ndarray, " vocab"]


@dataclass(kw_only=True, eq=False)
class Guesses:
    """A draft in the making: a chain, and beside each of its tokens the siblings."""

    ask: Ask
    shadow: Request
    chain: list[int] = field(default_factory=list)
    laws: list[Probabilities] = field(default_factory=list)
    others: list[tuple[int, ...]] = field(default_factory=list)

    def draft(self, honest: bool) -> Draft:
        k = len(self.chain)
        aside = [(depth, token) for depth, row in enumerate(self.others) for token in row]
        parents = [*range(-1, k - 1), *(depth - 1 for depth, _ in aside)]
        laws = [*self.laws, *(self.laws[depth] for depth, _ in aside)] if honest else None
        return Draft(
            tokens=(*self.chain, *(token for _, token in aside)),
            parents=tuple(parents) if aside else None,
            laws=None if laws is None else tuple(laws),
        )


class DraftModel:
    """A model, its backend and its own paged memory."""

    def __init__(
        self,
        model: Model,
        backend: Backend,
        *,
        n_blocks: int,
        block_size: int = 16,
        honest: bool = False,
        siblings: int = 0,
        max_batched_tokens: int = 2048,
    ) -> None:
        if siblings < 0 or max_batched_tokens < 1:
            raise InputError("a draft model needs 0 or more siblings and a budget of 1 or more")
        self.memory = Memory(BlockPool(n_blocks=n_blocks, block_size=block_size))
        self.runner = Runner(backend, model, self.memory.pool)
        self.context_length = model.config.context_length
        self.honest = honest
        self.siblings = siblings
        self.budget = max_batched_tokens
        self.shadows: dict[Request, Request] = {}

    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        guesses = [Guesses(ask=ask, shadow=self.shadow_of(ask.request)) for ask in asks]
        ready = [one for one in guesses if one.ask.n > 0 and self.catch_up(one)]
        self.run_ahead([one for one in ready if self.is_greedy(one)])
        going = [one for one in ready if not self.is_greedy(one)]
        while going:
            rows = self.run([(one.shadow, one.shadow.n_to_compute) for one in going])
            going = [one for one, row in zip(going, rows, strict=True) if self.extend(one, row)]
        return [one.draft(self.honest) if one.chain else None for one in guesses]

    def is_greedy(self, one: Guesses) -> bool:
        return not (self.honest or self.siblings) and is_greatest(one.ask.request.params)

    def run_ahead(self, going: list[Guesses]) -> None:
        """Greedy chains, as many tokens at once as all of them have room for."""
        while going:
            n = self.n_at_once(going)
            shares = []
            for one in going:
                one.shadow.lease.grow(n - 1)
                shares.append(next_share(one.shadow, one.shadow.n_to_compute))
            vocab_size = min(self.vocab_size(one.ask.request) for one in going)
            chosen = self.runner.decode_greedily(small_plan(shares), n, vocab_size)
            going = [one for one, new in zip(going, chosen, strict=True) if self.take(one, new)]

    def n_at_once(self, going: list[Guesses]) -> int:
        """The most tokens, at least the one there is room for, that each can have now."""
        pool = self.memory.pool
        most = min(one.ask.n - len(one.chain) for one in going)
        most = min(most, *(self.context_length - len(one.shadow.tokens) + 1 for one in going))
        tables = [one.shadow.lease.table for one in going]
        while most > 1 and pool.n_free < sum(
            pool.blocks_for(table.n_tokens + most - 1) - len(table.blocks) for table in tables
        ):
            most -= 1
        return most

    def take(self, one: Guesses, tokens: list[int] | None) -> bool:
        """Guesses that the backend made in a row; False if these were the last."""
        if tokens is None:
            return False
        one.chain += tokens
        one.shadow.tokens += tokens
        one.shadow.n_computed += len(tokens) - 1
        return len(one.chain) < one.ask.n and self.take_room(one.shadow, 1)

    def vocab_size(self, request: Request) -> int:
        return request.vocab_size or self.runner.model.config.vocab_size

    def catch_up(self, one: Guesses) -> bool:
        """Forget what was refused, and what is new is to compute; a long text in chunks."""
        shadow, tokens = one.shadow, one.ask.request.tokens
        known = common_prefix(tuple(shadow.tokens), tuple(tokens))
        shadow.n_computed = min(shadow.n_computed, known, len(tokens) - 1)
        shadow.lease.truncate(shadow.n_computed)
        shadow.tokens[known:] = tokens[known:]
        while shadow.n_to_compute > self.budget:
            if not self.take_room(shadow, self.budget):
                return False
            self.run([(shadow, self.budget)])
        return self.take_room(shadow, shadow.n_to_compute)

    def shadow_of(self, request: Request) -> Request:
        """The request as the draft model sees it: its text, and a lease on blocks of this pool."""
        if request not in self.shadows:
            shadow = Request(id=request.id, prompt=(), params=request.params)
            shadow.lease = self.memory.lease(shadow.tokens)
            self.shadows[request] = shadow
        return self.shadows[request]

    def take_room(self, shadow: Request, n: int) -> bool:
        """Slots for its next n tokens, if the context and the pool have them."""
        if shadow.n_computed + n > self.context_length or not shadow.lease.can_grow(n):
            return False
        shadow.lease.grow(n)
        return True

    def run(self, work: list[tuple[Request, int]]) -> list[Row | None]:
        """The next n tokens of some shadows; the logits after them, or None where that failed."""
        shares = [next_share(shadow, n) for shadow, n in work]
        logits = self.runner.forward(small_plan(shares))
        arrays = [self.runner.backend.host(array) for array in logits.arrays]
        return [
            None if isinstance(place, BackendError) else arrays[place[0]][place[2] - 1]
            for place in logits.places
        ]

    def extend(self, one: Guesses, row: Row | None) -> bool:
        """One guess more; False if it was the last."""
        try:
            token = None if row is None else self.guess(one, row)
        except RefimplError:  # no distribution: the target decides alone
            token = None
        if token is None:
            return False
        one.chain.append(token)
        one.shadow.tokens.append(token)
        return len(one.chain) < one.ask.n and self.take_room(one.shadow, 1)

    def guess(self, one: Guesses, row: Row) -> int:
        """The next token of the chain; its siblings are noted beside it."""
        request, history = one.ask.request, one.shadow.tokens
        row = row[: request.vocab_size]
        if self.honest:
            return self.guess_honestly(one, np.asarray(row, dtype=np.float64))
        if is_greatest(request.params):
            token = int(row.argmax())
        else:
            token = sample_at(row, request.params, history, request=request.sample).token
        if self.siblings:
            best = np.argsort(-row, kind="stable")[: self.siblings + 1].tolist()
            others = [other for other in best if other != token]
            one.others.append(tuple(others[: self.siblings]))
        return token

    def guess_honestly(self, one: Guesses, row: Logits) -> int:
        request, history = one.ask.request, one.shadow.tokens
        q = law(row, request.params, history)
        first, *others = (
            pick_from(
                q, uniform(request.params.seed, request.sample, len(history), draft_stream(c))
            )
            for c in range(1 + self.siblings)
        )
        one.laws.append(q)
        if others:
            one.others.append(tuple(others))
        return first

    def forget_the_gone(self) -> None:
        for request in [request for request in self.shadows if is_gone(request)]:
            self.shadows.pop(request).lease.close()


def next_share(shadow: Request, n: int) -> Share:
    """Its next n tokens, which count as computed from now on."""
    share = Share(shadow, shadow.n_computed, n, (shadow,))
    shadow.n_computed += n
    return share
