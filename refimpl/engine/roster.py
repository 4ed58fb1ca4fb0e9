"""Who is served, where each one stands, and what becomes of a step's results.

The roster knows two queues: those who wait (new, preempted or swapped to the host) and those who
run.  The scheduler, built on top of it, decides who crosses from one to the other.  Here are the
ways in (`add`), the ways out (`end`, `fail`, `abort`), and `commit`: each share of a step brings a
token or an error, which ends this request and no other.

Results may come late.  Between scheduling a step and its commit, a request may have been aborted,
preempted, or scheduled again; so a token is taken only if it is the one that comes next, and a
result for a request that is over is dropped (the overlapped loop's wasted step).

n samples of one prompt: the first is queued, the others are `unborn` until its prompt is computed.
Then they are forked from it, sharing its blocks, and each draws from the same logits by itself.

Invariants (`check`): nobody stands in both queues; who waits holds no device block; at most
`max_seqs` run, the unborn counted; law 19 of the memory.
"""

from collections import OrderedDict

from refimpl.engine.admission import OnDemand
from refimpl.engine.faults import (
    ContextOverflowError,
    DuplicateIdError,
    EmptyPromptError,
    TooLargeError,
    UnknownIdError,
)
from refimpl.engine.limits import Limits
from refimpl.engine.policies import Fcfs, Policy
from refimpl.engine.request import Finish, Request, Status
from refimpl.engine.step import Outcome, Output, Share, Step
from refimpl.errors import InputError, RefimplError
from refimpl.kv.lease import Memory
from refimpl.sampling import Sampled
from refimpl.sampling.verify import Draft


class Roster:
    """Requests between `add` and their end."""

    def __init__(
        self,
        memory: Memory,
        limits: Limits | None = None,
        *,
        policy: Policy | None = None,
        admission: OnDemand | None = None,
    ) -> None:
        self.memory = memory
        self.limits = limits or Limits()
        self.policy = policy or Fcfs()
        self.admission = admission or OnDemand()
        self.waiting: OrderedDict[str, Request] = OrderedDict()
        self.running: dict[str, Request] = {}
        self.n_unborn = 0  # samples that will run as soon as a running request's prompt is done
        self.ids: dict[str, Request] = {}  # everyone who is served, unborn samples too
        self.clock = 0
        self.news: list[Output] = []

    def add(self, request: Request) -> None:
        """Queue a request, or say by name why it can never be served."""
        self.refuse_impossible(request)
        self.ids |= {one.id: one for one in family(request)}
        self.clock += 1
        request.arrival = self.clock
        # Among requests the lowest number matters most, in a cache the highest.
        request.lease = self.memory.lease(request.tokens, request.extra, -request.priority)
        self.enqueue(request)
        if request.n_tokens >= request.limit:  # it asks for no token at all
            self.end(request, Finish.LENGTH)
            self.news.append(Output(request=request, finish=Finish.LENGTH))

    def refuse_impossible(self, request: Request) -> None:
        for one in family(request):
            if one.id in self.ids:
                raise DuplicateIdError(f"a request {one.id!r} is being served: choose another id")
        if not request.prompt:
            raise EmptyPromptError(f"request {request.id!r} has no tokens: nothing to continue")
        if min(request.prompt) < 0:
            raise InputError(f"request {request.id!r} has negative tokens: they are no token ids")
        if request.n_prompt >= request.context_length:
            raise ContextOverflowError(
                f"request {request.id!r} has {request.n_prompt} tokens, "
                f"and the context holds {request.context_length} with the answer: shorten it"
            )
        pool = self.memory.pool
        if pool.blocks_for(request.n_prompt) > pool.n_blocks:
            raise TooLargeError(
                f"request {request.id!r} has {request.n_prompt} tokens, and the whole pool only "
                f"{pool.n_blocks * pool.block_size} slots: enlarge it or shorten the prompt"
            )
        if 1 + len(request.unborn) > self.limits.max_seqs:
            raise TooLargeError(
                f"request {request.id!r} asks for {1 + len(request.unborn)} samples at once, "
                f"and at most {self.limits.max_seqs} sequences run: ask for fewer"
            )

    def enqueue(self, request: Request, *, first: bool = False) -> None:
        self.waiting[request.id] = request
        self.waiting.move_to_end(request.id, last=not first)
        self.policy.joined(request)

    def commit(self, step: Step, outcomes: list[Outcome]) -> list[Output]:
        """What the step gave, share by share; and everything that ended since the last commit."""
        for request, error in step.lost:
            self.fail(request, error)
        for share, outcome in zip(step.shares, outcomes, strict=True):
            self.settle(share, outcome)
        self.admission.stepped()
        return self.take_news()

    def take_news(self) -> list[Output]:
        news, self.news = self.news, []
        return news

    def settle(self, share: Share, outcome: Outcome) -> None:
        request, end = share.request, share.start + share.n
        if outcome.error is not None:
            self.fail(request, outcome.error)
            return
        if outcome.prompt_scores:
            request.prompt_scores.update(outcome.prompt_scores)
        if request.status is Status.RUNNING:
            request.lease.commit(end)
            if request.unborn and end >= request.n_prompt:
                self.give_birth(request)
        if share.draft is not None:
            self.settle_draft(share, share.draft, outcome)
            return
        for j, drawer in enumerate(share.draws):
            if drawer.awaits(end):
                self.deliver(drawer, outcome.sampled[j])

    def settle_draft(self, share: Share, draft: Draft, outcome: Outcome) -> None:
        """The guesses that were right, and the token after them; the others leave no trace.

        A right guess that lies off its place, on a side branch, is computed again.
        """
        request = share.request
        if request.status is not Status.RUNNING:
            return
        request.n_computed = share.end + draft.n_in_place(outcome.path)
        for result in outcome.sampled:
            if request.status is Status.RUNNING:
                self.deliver(request, result)
        if request.status is Status.RUNNING:
            request.lease.truncate(request.n_computed)
            request.lease.commit(request.n_computed)

    def give_birth(self, parent: Request) -> None:
        """The prompt is done: its other samples share its blocks and run for themselves."""
        for child in parent.unborn:
            n = min(parent.n_prompt, child.n_tokens - 1)  # at least one token is left to compute
            child.lease = parent.lease.fork(child.tokens, self.limits.sharing, n_computed=n)
            child.n_computed = child.lease.table.n_tokens
            child.arrival = parent.arrival
            child.is_unborn = False
            child.become(Status.RUNNING)
            self.running[child.id] = child
        self.n_unborn -= len(parent.unborn)
        parent.unborn = []

    def deliver(self, request: Request, result: Sampled | RefimplError) -> None:
        """The next token of a request, or why there is none."""
        if isinstance(result, RefimplError):
            self.fail(request, result)
            return
        text, reason = request.receive(result)
        if reason is not None:
            if request.status is Status.RUNNING:
                n_known = min(len(request.tokens) - 1, request.n_computed)
                request.lease.commit(n_known, finished=True)
            self.end(request, reason)
        self.news.append(Output(request, result, text, request.finish))

    def fail(self, request: Request, error: RefimplError) -> None:
        """End a request by an error of its own.  Nothing that the failed step computed is kept."""
        if request.status is not Status.FINISHED:
            request.error = error
            self.end(request, Finish.ERROR)
            self.news.append(Output(request=request, finish=Finish.ERROR))

    def abort(self, id: str) -> None:
        """Forget a request, wherever it is."""
        request = self.ids.get(id)
        if request is None:
            raise UnknownIdError(f"no request {id!r} waits or runs: it has ended, or never was")
        if request.is_unborn:
            self.disown(request)
        else:
            self.end(request, Finish.ABORT)
        self.news.append(Output(request=request, finish=Finish.ABORT))

    def disown(self, child: Request) -> None:
        """A sample that was still to be forked is not wanted any more."""
        live = [*self.waiting.values(), *self.running.values()]
        parent = next(request for request in live if child in request.unborn)
        parent.unborn.remove(child)
        self.n_unborn -= parent.status is Status.RUNNING
        child.finish = Finish.ABORT
        child.become(Status.FINISHED)
        del self.ids[child.id]

    def end(self, request: Request, reason: Finish) -> None:
        """Give everything back.  If its samples are not born yet, the next of them takes over."""
        if request.status is Status.RUNNING:
            del self.running[request.id]
            self.n_unborn -= len(request.unborn)
        else:
            del self.waiting[request.id]
            self.policy.left(request)
        request.lease.close()
        request.finish = reason
        request.become(Status.FINISHED)
        orphans, request.unborn = request.unborn, []
        for one in [request, *orphans]:
            del self.ids[one.id]
        if orphans:
            heir, *heir.unborn = orphans
            heir.is_unborn, heir.n_pending = False, 0
            self.add(heir)

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def check(self) -> None:
        live = [*self.waiting.values(), *self.running.values()]
        served = [request.id for parent in live for request in family(parent)]
        assert sorted(served) == sorted(self.ids), "somebody stands in two places, or in none"
        unborn = sum(len(request.unborn) for request in self.running.values())
        assert unborn == self.n_unborn, "the seats kept for unborn samples are miscounted"
        assert len(self.running) + unborn <= self.limits.max_seqs, "more run than may"
        for request in live:
            request.check()
        self.memory.check(request.lease for request in live)


def family(request: Request) -> list[Request]:
    """A request and the samples that will be forked from it."""
    return [request, *request.unborn]
