"""A run as a log: one JSON object a line, the first says what the lines are.

    {"format": "refimpl-events", "version": 1, "cache": "radix", "n_blocks": 24, ...}
    {"step": 0, "shares": [...], "preempted": [], "moves": [], "news": [], "requests": [...],
     "blocks": [["used", 1, [5, 6]], ...], "tree": [...]}

A step's line tells what was done in it, and how everything stands after it:

    shares     who computed which tokens: id, start, n, and who drew a token
    moves      blocks copied or swapped: what, from, to, for whom
    news       tokens drawn, and ends: id, token, finish
    requests   everybody waiting or running: status, block table, counts
    blocks     for each block: its state, its count, the tokens in its slots (null: none yet)
    tree       for a radix cache, its nodes: id, parent, tokens, locks, last use

`RecordingScheduler` is a scheduler that keeps such a log; everything else about it is the same.

>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.engine.simulate.clock import Prompt, serve
>>> scheduler = RecordingScheduler(Memory(BlockPool(n_blocks=4, block_size=2)))
>>> def program(): yield [Prompt(tokens=[7, 8, 9], n_output=1)]
>>> _ = serve(scheduler, [program()])
>>> header, step = scheduler.log
>>> step["shares"], step["news"][0]["finish"]
([{'id': '0', 'start': 0, 'n': 3, 'draws': ['0']}], 'length')
>>> step["blocks"][:2]
[['free', 0, [7, 8]], ['free', 0, [9, None]]]
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.show.check import FORMAT, VERSION, check_header, check_step
from refimpl.engine.step import Outcome, Output, Step
from refimpl.errors import FormatError, InputError
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory, Move, SwapIn, SwapOut
from refimpl.kv.tree import RadixMemory

LARGEST = 64 << 20
Log = list[dict[str, Any]]


class RecordingScheduler(Scheduler):
    """A scheduler whose `log` tells every step.  `word` names tokens for the reader."""

    def __init__(
        self, *args: Any, word: Callable[[int], str] | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        pool = self.memory.pool
        self.word = word
        self.words: dict[str, str] = {}
        self.device: list[int | None] = [None] * (pool.n_blocks * pool.block_size)
        self.host: dict[int, list[int | None]] = {}
        self.log: Log = [self.header()]

    def header(self) -> dict[str, Any]:
        kinds = {HashedMemory: "hashed", RadixMemory: "radix"}
        return {
            "format": FORMAT,
            "version": VERSION,
            "cache": kinds.get(type(self.memory), "none"),
            "n_blocks": self.memory.pool.n_blocks,
            "block_size": self.memory.pool.block_size,
            "budget": self.limits.max_batched_tokens,
            "max_seqs": self.limits.max_seqs,
            "words": self.words,
        }

    def commit(self, step: Step, outcomes: list[Outcome]) -> list[Output]:
        self.carry_out(step)
        news = super().commit(step, outcomes)
        self.log.append(self.told(step, news))
        return news

    def carry_out(self, step: Step) -> None:
        """What the step does to the slots."""
        for _, move in step.moves:
            self.carry_out_move(move)
        for share in step.shares:
            table = share.request.lease.table
            if len(table.blocks) * self.memory.pool.block_size < share.end:
                continue  # it has given way, or ended, since
            tokens = share.request.tokens[share.start : share.end]
            for slot, token in zip(table.slots(share.start, share.end), tokens, strict=False):
                self.device[slot] = token
                if self.word is not None:
                    self.words[str(token)] = spelled(self.word(token))

    def carry_out_move(self, move: Move) -> None:
        size = self.memory.pool.block_size
        src = slice(move.src * size, (move.src + 1) * size)
        dst = slice(move.dst * size, (move.dst + 1) * size)
        if isinstance(move, SwapOut):
            self.host[move.dst] = self.device[src]
        else:
            self.device[dst] = self.host[move.src] if isinstance(move, SwapIn) else self.device[src]

    def told(self, step: Step, news: Sequence[Output]) -> dict[str, Any]:
        live = [*self.running.values(), *self.waiting.values()]
        return {
            "step": len(self.log) - 1,
            "shares": [
                {"id": s.request.id, "start": s.start, "n": s.n, "draws": [r.id for r in s.draws]}
                for s in step.shares
            ],
            "preempted": [request.id for request in step.preempted],
            "moves": [
                [type(move).__name__, move.src, move.dst, request.id]
                for request, move in step.moves
            ],
            "news": [
                {
                    "id": output.request.id,
                    "token": output.sampled.token if output.sampled else None,
                    "finish": output.finish.value if output.finish else None,
                }
                for output in news
            ],
            "requests": [standing(request) for request in live],
            "blocks": self.blocks(live),
            "tree": tree_of(self.memory),
        }

    def blocks(self, live: Sequence[Request]) -> list[list[Any]]:
        """State, count and tokens; of a block in use, only the slots that somebody has computed."""
        pool, size = self.memory.pool, self.memory.pool.block_size
        filled = dict.fromkeys(range(pool.n_blocks), 0)
        for request in live:
            for i, b in enumerate(request.lease.table.blocks):
                filled[b] = max(filled[b], min(size, request.n_computed - i * size))
        told = []
        for b in range(pool.n_blocks):
            state = "used" if pool.refs[b] else "cached" if pool.kept[b] else "free"
            tokens = self.device[b * size : (b + 1) * size]
            if state == "used":
                tokens = [t if j < filled[b] else None for j, t in enumerate(tokens)]
            told.append([state, pool.refs[b], tokens])
        return told


def spelled(token: str) -> str:
    """A vocabulary's way to write a token, with its space and its line break as such.

    >>> spelled("Ġonce"), spelled("▁upon"), spelled("Ċ")
    (' once', ' upon', '⏎')
    """
    return token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "⏎")


def standing(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "status": request.status.value,
        "table": list(request.lease.table.blocks),
        "n_prompt": request.n_prompt,
        "n_computed": request.n_computed,
        "n_tokens": request.n_tokens,
        "n_cached": request.n_cached,
        "n_preempted": request.n_preempted,
    }


def tree_of(memory: Memory) -> list[dict[str, Any]]:
    if not isinstance(memory, RadixMemory):
        return []
    return [
        {
            "id": node.id,
            "parent": node.parent.id if node.parent else 0,
            "tokens": list(node.tokens),
            "pages": list(node.pages),
            "locks": node.locks,
            "last_used": node.last_used,
        }
        for node in memory.tree.nodes()
    ]


def save(log: Log, path: Path) -> None:
    try:
        path.write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the log {path} cannot be written: {error.strerror}") from None


def read(path: Path) -> Log:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is over {LARGEST >> 20} MiB, too much for one page")
        with path.open(encoding="utf-8") as file:
            return parse(file)
    except OSError as error:
        raise InputError(f"the log {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FormatError(f"{path} is no log: it is not text") from None


def parse(lines: Iterable[str]) -> Log:
    """The log in some lines; anything else is refused by name."""
    log: Log = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except ValueError:
            raise FormatError(f"line {number} of the log is not JSON") from None
        if number == 1:
            check_header(event)
        else:
            check_step(number, event, log[0])
        log.append(event)
    if len(log) < 2:
        raise FormatError("the log has no steps")
    return log
