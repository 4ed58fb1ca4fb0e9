"""How much of the key/value memory holds tokens: contiguous reservations against blocks.

The setting is that of the vLLM paper's figure 2: a 13B model on a 40 GB card has room for 15,700
tokens (table 1), requests come faster than they can be served, and everybody who runs gets one
token a step.  The contiguous systems reserve, through a buddy allocator,

    max       the model's whole context of 2048, whatever the request
    pow2      the prompt and the answer's length rounded up to a power of two
    oracle    the prompt and the answer's true length, as if it were known

and the paged one takes blocks as they fill (the real scheduler and pool, first come first served).
Of all slots, averaged over steps: those that hold a token; those kept for a token to come; those
that were asked for and no token will ever use (internal); and those that nobody asked for, being
too small, too scattered, or the rest of a power of two (external).

>>> table = waste(n_requests=12, n_slots=4096, block_sizes=(16,))
>>> [row[0] for row in table.rows]
['contiguous, max', 'contiguous, pow2', 'contiguous, oracle', 'paged, 16']
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from refimpl.engine.limits import Limits
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.simulate.buddy import Buddy, Piece, power_of_two
from refimpl.engine.simulate.clock import Program, Prompt, serve
from refimpl.engine.simulate.lengths import CONTEXT, SHAREGPT, Lengths
from refimpl.engine.simulate.table import Cell, Table
from refimpl.engine.simulate.track import Track, untracked
from refimpl.engine.step import Step
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory

Published = dict[str, tuple[float, float]]
PUBLISHED: Published = {  # tokens % of figure 2, and how many ran at a time, of figure 13a
    "contiguous, max": (20.4, 7.00),
    "contiguous, pow2": (26.8, 9.81),
    "contiguous, oracle": (38.2, 13.62),
    "paged, 16": (96.3, 30.42),
}


def waste(
    *,
    n_slots: int = 15_700,
    n_requests: int = 400,
    block_sizes: Sequence[int] = (1, 8, 16, 32, 64, 128, 256),
    lengths: Lengths = SHAREGPT,
    context: int = CONTEXT,
    seed: int = 0,
    track: Track = untracked,
) -> Table:
    """Figure 2 of the vLLM paper, with the paged system at several block sizes."""
    rng = Random(seed)
    asks = [lengths(rng) for _ in range(n_requests)]
    published = PUBLISHED if lengths is SHAREGPT else {}
    rows: list[tuple[Cell, ...]] = []
    for kind in track(["max", "pow2", "oracle", *block_sizes]):
        is_paged = isinstance(kind, int)
        name = f"paged, {kind}" if is_paged else f"contiguous, {kind}"
        use = paged(asks, n_slots, kind) if is_paged else contiguous(asks, n_slots, kind, context)
        rows.append(row(name, kind if is_paged else None, use, n_slots, published))
    return Table(
        title="KV memory: percent of all slots, averaged over steps",
        columns=(
            "system",
            "block size",
            "tokens %",
            "reserved %",
            "internal %",
            "external %",
            "running",
            "published tokens %",
            "published running",
        ),
        rows=rows,
        notes=("published: Kwon et al. 2023, figures 2 and 13a (ShareGPT, OPT-13B)",)
        * bool(published),
        x="block size",
        y="tokens %",
        by="",
        log_x=True,
        options={"n_slots": n_slots, "n_requests": n_requests, "seed": seed},
    )


@dataclass(kw_only=True)
class Use:
    """Slots of each kind, summed over the steps in which somebody waited."""

    n_steps: int = 0
    tokens: int = 0
    reserved: int = 0
    internal: int = 0
    running: int = 0

    def add(self, *, tokens: int, reserved: int, internal: int, running: int) -> None:
        self.n_steps += 1
        self.tokens += tokens
        self.reserved += reserved
        self.internal += internal
        self.running += running


def row(
    name: str, size: int | None, use: Use, n_slots: int, published: Published
) -> tuple[Cell, ...]:
    share = 100 / (n_slots * max(1, use.n_steps))
    used = [use.tokens * share, use.reserved * share, use.internal * share]
    running = use.running / max(1, use.n_steps)
    return (name, size, *used, 100 - sum(used), running, *published.get(name, (None, None)))


def contiguous(asks: Sequence[tuple[int, int]], n_slots: int, kind: str, context: int) -> Use:
    """First come, first served, one token for everybody a step, until nobody waits any more."""
    memory, waiting, use = Buddy(n_slots), list(reversed(asks)), Use()
    running: list[tuple[int, int, int, Piece]] = []  # length now, at the end, reserved, where
    while waiting:
        while waiting and memory.can_take(reservation(*waiting[-1], kind, context)):
            prompt, answer = waiting.pop()
            room = reservation(prompt, answer, kind, context)
            running.append((prompt, prompt + answer, room, memory.take(room)))
        if waiting:
            tokens = sum(now for now, _, _, _ in running)
            to_come = sum(end - now for now, end, _, _ in running)
            asked = sum(room for _, _, room, _ in running)
            unused = asked - tokens - to_come
            use.add(tokens=tokens, reserved=to_come, internal=unused, running=len(running))
        running = [(now + 1, end, room, piece) for now, end, room, piece in running]
        for now, end, _, piece in running:
            if now == end:
                memory.give_back(piece)
        running = [one for one in running if one[0] < one[1]]
    return use


def reservation(prompt: int, answer: int, kind: str, context: int) -> int:
    if kind == "max":
        return context
    if kind == "pow2":
        return min(context, prompt + power_of_two(answer))
    return prompt + answer


def paged(asks: Sequence[tuple[int, int]], n_slots: int, block_size: int) -> Use:
    """The real pool and scheduler.  A block belongs to somebody before it is full: internal."""
    pool = BlockPool(n_blocks=n_slots // block_size, block_size=block_size)
    scheduler = Scheduler(Memory(pool), Limits(max_batched_tokens=1 << 20, max_seqs=1 << 20))
    use = Use()

    def watch(step: Step) -> None:
        if scheduler.waiting:
            tables = [request.lease.table for request in scheduler.running.values()]
            given = sum(len(table.blocks) for table in tables) * block_size
            tokens = sum(table.n_tokens for table in tables)
            use.add(tokens=tokens, reserved=0, internal=given - tokens, running=len(tables))

    def one(prompt: int, answer: int) -> Program:
        yield [Prompt(tokens=range(prompt), n_output=answer)]

    serve(scheduler, (one(*ask) for ask in asks), watch=watch)
    return use
