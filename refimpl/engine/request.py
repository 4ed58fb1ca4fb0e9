"""A request: some tokens, how many of them have been computed, and how it ends.

There is no prefill phase and no decode phase.  A request has `n_tokens` tokens, of which
`n_computed` have keys and values; a step lets the second number catch up with the first, by as much
as the budget allows, and when it does, the step's last logits choose one more token.

    tokens     | prompt .................. | output ....... | pending |
    computed   | n_computed                         |
                 keys and values exist or are        to do
                 being computed by a step in flight

A token is *pending* when a step that will choose it has been scheduled and its result is not known
here yet.  It counts: the next step may be scheduled on top of it (`refimpl.engine.overlap`).

                  admit                      stop token, stop string, length
      WAITING ------------> RUNNING  -----------------------------------------> FINISHED
       |   ^                 |  ^  |                                               ^
       |   |   recompute     |  |  | swap out                                      |
       |   +-----------------+  |  v            abort, error                       |
       |                admit   SWAPPED  ------------------------------------------+
       +---------------------------------------------------------------------------+

`become` is the only way from one state to another, and refuses what the picture does not show.

>>> request = Request(id="a", prompt=(5, 6, 7), params=SamplingParams(max_tokens=2))
>>> request.n_tokens, request.n_to_compute
(3, 3)
>>> request.n_computed, request.n_pending = 3, 1      # a step for all three was scheduled
>>> request.n_to_compute                              # the pending token, to be computed next
1
>>> [request.receive(Sampled(token=t, logprob=0.0, drawn_logprob=0.0)) for t in (9, 4)]
[('', None), ('', <Finish.LENGTH: 'length'>)]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from refimpl.engine.text import TextStream
from refimpl.errors import RefimplError
from refimpl.grammar.guide import Guide
from refimpl.kv.lease import Lease
from refimpl.sampling import Sampled, SamplingParams


class Status(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    SWAPPED = "swapped"
    FINISHED = "finished"


NEXT = {
    Status.WAITING: (Status.RUNNING, Status.FINISHED),
    Status.RUNNING: (Status.WAITING, Status.SWAPPED, Status.FINISHED),
    Status.SWAPPED: (Status.RUNNING, Status.FINISHED),
    Status.FINISHED: (),
}


class Finish(Enum):
    """Why a request is over."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(kw_only=True, eq=False, slots=True)
class Request:
    """One sequence being served.  What it asked for stands first, where it is comes after."""

    id: str
    prompt: Sequence[int]
    params: SamplingParams
    sample: int = 0  # which of n samples of one prompt: it draws its own numbers
    eog_tokens: frozenset[int] = frozenset()  # the model's own end of generation
    stop_tokens: frozenset[int] = frozenset()  # the user's, which count under ignore_eos too
    context_length: int = 1 << 31
    vocab_size: int | None = None  # the tokenizer's: logits beyond it are padding
    priority: int = 0  # lower goes first
    client: str = ""  # who is charged, under a fair policy
    extra: tuple[str, ...] = ()  # salt, adapter: what separates caches
    prompt_logprobs: int | None = None
    guide: Guide | None = None  # what its text must obey
    text: TextStream | None = None  # decodes as tokens come, and watches for stop strings

    n_prompt: int = field(init=False)
    limit: int = field(init=False)  # the length at which it must end
    ends: frozenset[int] = field(init=False)  # the tokens after which it ends
    tokens: list[int] = field(init=False)
    n_computed: int = 0
    n_pending: int = 0
    status: Status = Status.WAITING
    finish: Finish | None = None
    error: RefimplError | None = None
    lease: Lease = field(init=False)  # given by the scheduler
    arrival: int = 0  # the scheduler's clock when it came
    sampled: list[Sampled] = field(default_factory=list)
    mu: float | None = None  # mirostat's state
    n_preempted: int = 0
    n_cached: int = 0  # tokens that a prefix cache had when it was first admitted
    is_unborn: bool = False
    unborn: "list[Request]" = field(default_factory=list)  # samples to fork when the prompt is done
    prompt_scores: dict[int, Sampled] = field(default_factory=dict)  # by position

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.n_prompt = len(self.prompt)
        self.limit = min(self.n_prompt + self.params.max_tokens, self.context_length)
        ignored = self.params.ignore_eos
        self.ends = self.stop_tokens if ignored else self.stop_tokens | self.eog_tokens

    @property
    def n_output(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def n_tokens(self) -> int:
        """Known tokens and pending ones."""
        return len(self.tokens) + self.n_pending

    @property
    def n_to_compute(self) -> int:
        return len(self.tokens) + self.n_pending - self.n_computed

    @property
    def output(self) -> list[int]:
        return self.tokens[self.n_prompt :]

    def become(self, status: Status) -> None:
        assert status in NEXT[self.status], f"{self.id}: {self.status.name} -> {status.name}"
        self.status = status

    @property
    def may_hit(self) -> bool:
        """May a prefix be taken from a cache?  Not while logits of the prompt are still wanted."""
        return self.prompt_logprobs is None or len(self.prompt_scores) == self.n_prompt - 1

    def awaits(self, position: int) -> bool:
        """Is the token at this position the one that comes next?"""
        ended = self.status is Status.FINISHED
        return len(self.tokens) == position and not ended and not self.is_unborn

    def receive(self, sampled: Sampled) -> tuple[str, Finish | None]:
        """The token that comes next: the text it makes visible, and why it ends the request."""
        self.tokens.append(sampled.token)
        self.sampled.append(sampled)
        self.mu = sampled.mu
        if self.n_pending:
            self.n_pending -= 1
        reason = None
        if sampled.token in self.ends:
            reason = Finish.STOP
        elif len(self.tokens) >= self.limit:
            reason = Finish.LENGTH
        if self.text is None:
            return "", reason
        hidden = reason is Finish.STOP
        text = self.text.push(sampled.token, hidden=hidden, last=reason is not None)
        return text, Finish.STOP if self.text.stopped else reason

    def check(self) -> None:
        assert 0 <= self.n_computed <= self.n_tokens, "computed what does not exist"
        assert tuple(self.tokens[: self.n_prompt]) == tuple(self.prompt), "the prompt has changed"
        assert (self.status is Status.FINISHED) == (self.finish is not None)
        assert self.status is Status.RUNNING or not self.lease.table.blocks, "it holds blocks"
