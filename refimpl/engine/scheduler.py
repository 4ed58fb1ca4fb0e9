"""One step's budget of tokens, dealt out: first to those who run, then to those who wait.

    budget  |  running requests, in order            |  waiting requests, in the policy's order  |
            |  1 1 1 1 400 1 ...  (what each needs,  |  admitted while budget, seats and memory  |
            |  at most a threshold's worth)          |  last; the first that does not fit stops  |

A prompt longer than what is left of the budget is computed in chunks; decoding requests go first,
so they are not delayed by a prompt, only joined by a part of it.  When a running request needs a
block and there is none, a victim gives way: its blocks are freed and it waits again, to be computed
anew (most of it from the prefix cache, with luck), or its blocks are saved to the host.  In a step
in which somebody gave way nobody is admitted.

The scheduler counts as computed what it has scheduled.  `commit` brings what the step really gave;
between the two, another step may be scheduled (`refimpl.engine.overlap`).

Source: the V1 scheduler of vLLM; Agrawal et al., Sarathi-Serve (OSDI 2024) for the budget.

Three prompts of 800 tokens, a budget of 1024, at most 400 tokens of one prompt a step:

>>> from refimpl.engine.step import Outcome
>>> from refimpl.kv.blocks import BlockPool
>>> from refimpl.sampling import Sampled, SamplingParams
>>> memory = Memory(BlockPool(n_blocks=200, block_size=16))
>>> scheduler = Scheduler(memory, Limits(max_batched_tokens=1024, long_prefill_threshold=400))
>>> for id in "abc":
...     scheduler.add(Request(id=id, prompt=(1,) * 800, params=SamplingParams(max_tokens=9)))
>>> def one_step():
...     step = scheduler.schedule()
...     token = Sampled(token=2, logprob=0.0, drawn_logprob=0.0)
...     scheduler.commit(step, [Outcome(sampled=[token] * len(s.draws)) for s in step.shares])
...     return tuple(share.n for share in step.shares)
>>> [one_step() for _ in range(4)]
[(400, 400, 224), (400, 400, 224), (1, 1, 352), (1, 1, 1)]

Eight decodes and a budget of 64 leave 56 tokens of it to a prompt:

>>> memory = Memory(BlockPool(n_blocks=99, block_size=16))
>>> scheduler = Scheduler(memory, Limits(max_batched_tokens=64))
>>> for i in range(8):
...     scheduler.add(Request(id=f"chat {i}", prompt=(1,), params=SamplingParams()))
>>> one_step()
(1, 1, 1, 1, 1, 1, 1, 1)
>>> scheduler.add(Request(id="a book", prompt=(1,) * 999, params=SamplingParams()))
>>> one_step()
(1, 1, 1, 1, 1, 1, 1, 1, 56)
"""

from refimpl.engine.admission import OnDemand
from refimpl.engine.faults import TooLargeError
from refimpl.engine.limits import Limits, Preemption
from refimpl.engine.policies import Policy
from refimpl.engine.request import Request, Status
from refimpl.engine.roster import Roster
from refimpl.engine.step import Share, Step
from refimpl.engine.victims import LastAdmitted, Victims
from refimpl.kv.blocks import Sharing
from refimpl.kv.lease import MISS, Memory

NONE = range(0)


class Scheduler(Roster):
    """The next step."""

    def __init__(
        self,
        memory: Memory,
        limits: Limits | None = None,
        *,
        policy: Policy | None = None,
        victims: Victims | None = None,
        admission: OnDemand | None = None,
    ) -> None:
        super().__init__(memory, limits, policy=policy, admission=admission)
        self.victims = victims or LastAdmitted()
        self.copies_on_write = self.limits.sharing is Sharing.COPY_ON_WRITE

    def schedule(self) -> Step:
        """The next step.  What it will compute counts as computed from now on."""
        step = Step(budget=self.limits.max_batched_tokens)
        self.serve_running(step)
        if not step.preempted:
            self.admit_waiting(step)
        self.clock += 1
        return step

    def serve_running(self, step: Step) -> None:
        for request in list(self.running.values()):
            if not step.budget:
                return
            if request.status is not Status.RUNNING:  # a victim of this very step
                continue
            n = self.wanted(request, request.n_computed, step)
            if n and self.make_room(request, n, step):
                self.give(step, request, request.n_computed, n)

    def wanted(self, request: Request, start: int, step: Step) -> int:
        """How many tokens from `start` on to compute now; none if it ends before they matter."""
        n_tokens = request.n_tokens
        if request.n_pending and n_tokens >= request.limit:
            return 0
        n = n_tokens - start
        if n == 1:  # most requests, most of the time
            return 1
        return min(n, step.budget, self.limits.long_prefill_threshold or n)

    def give(self, step: Step, request: Request, start: int, n: int) -> None:
        """Put its share into the step; whoever reaches the end of his tokens draws the next."""
        end = start + n
        draws: tuple[Request, ...] = ()
        if end == request.n_tokens:
            draws = (request,)
            if request.unborn and end == request.n_prompt and self.copies_on_write:
                draws = (request, *request.unborn)
        scored = NONE
        if request.prompt_logprobs is not None and not request.may_hit:
            scored = range(start, min(end, request.n_prompt - 1))
        step.add(Share(request, start, n, draws, scored, end > len(request.tokens)))
        self.policy.served(request, n)

    def make_room(self, request: Request, n: int, step: Step) -> bool:
        """Slots for n more tokens, if need be at the cost of others; False if it had to yield."""
        if request.lease.table.use_slots(n):
            return True
        while not request.lease.can_grow(n):
            if len(self.running) == 1:
                self.fail(request, self.outgrown(request))
                return False
            victim = self.victims.choose(self.running)
            self.preempt(victim, step)
            if victim is request:
                return False
        step.moves += [(request, move) for move in request.lease.grow(n)]
        return True

    def outgrown(self, request: Request) -> TooLargeError:
        pool = self.memory.pool
        return TooLargeError(
            f"request {request.id!r} has grown to {request.n_tokens} tokens, and the whole pool "
            f"has {pool.n_blocks * pool.block_size} slots: enlarge it or ask for fewer tokens"
        )

    def preempt(self, victim: Request, step: Step) -> None:
        """Take its blocks away; it waits again, first in the queue."""
        step.withdraw(victim)
        step.preempted.append(victim)
        del self.running[victim.id]
        self.n_unborn -= len(victim.unborn)
        for child in victim.unborn:
            child.n_pending = 0
        victim.n_preempted += 1
        wants_swap = self.limits.preemption is Preemption.SWAP
        if wants_swap and victim.n_computed and victim.lease.can_swap_out(victim.n_computed):
            step.moves += [(victim, m) for m in victim.lease.swap_out(victim.n_computed)]
            victim.become(Status.SWAPPED)
        else:
            victim.lease.close()
            victim.n_computed = 0
            victim.become(Status.WAITING)
        self.enqueue(victim, first=True)
        self.admission.retracted(self.running.values())

    def admit_waiting(self, step: Step) -> None:
        """From the front of the policy's order, until one does not fit."""
        if not self.waiting or not step.budget:
            return
        self.admission.begin(self.running.values())
        admitted = []
        for request in self.policy.order(self.waiting.values()):
            if not step.budget or not self.has_seats(request) or not self.admit(request, step):
                break
            admitted.append(request)
        for request in admitted:
            del self.waiting[request.id]
            self.policy.left(request)

    def has_seats(self, request: Request) -> bool:
        """For it and the samples that will be forked from it."""
        taken = len(self.running) + self.n_unborn
        return taken + 1 + len(request.unborn) <= self.limits.max_seqs

    def admit(self, request: Request, step: Step) -> bool:
        swapped = request.status is Status.SWAPPED
        started = self.bring_back(request, step) if swapped else self.open(request, step)
        if not started and not self.running:  # alone, and it does not fit
            self.fail(request, self.outgrown(request))
        return started

    def bring_back(self, request: Request, step: Step) -> bool:
        n = self.wanted(request, request.n_computed, step)
        if not request.lease.can_swap_in(n):
            return False
        step.moves += [(request, move) for move in request.lease.swap_in(n)]
        self.run(request, step, request.n_computed, n)
        return True

    def open(self, request: Request, step: Step) -> bool:
        hit = request.lease.match() if request.may_hit else MISS
        n = self.wanted(request, hit.n_tokens, step)
        n_available = self.memory.pool.n_available * self.memory.pool.block_size
        allowed = self.admission.allows(request, hit.n_tokens, n_available)
        if not allowed or not request.lease.can_open(hit, n):
            return False
        request.lease.open(hit, n)
        if not request.n_preempted:
            request.n_cached = hit.n_tokens
        self.run(request, step, hit.n_tokens, n)
        return True

    def run(self, request: Request, step: Step, start: int, n: int) -> None:
        request.become(Status.RUNNING)
        self.running[request.id] = request
        self.n_unborn += len(request.unborn)
        self.give(step, request, start, n)
        self.admission.admitted(request, request.n_tokens - start - n)
