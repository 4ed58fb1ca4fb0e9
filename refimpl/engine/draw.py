"""From rows of logits to tokens: each request draws for itself, with numbers of its own.

The number that chooses a token is a function of (seed, sample, position), so neither the batch nor
the schedule has a say in it.  The backend chooses all tokens of a step at once (`Draw`), where the
logits are.  `before` are the results of the step before, where those may not have been committed
yet: a pending token is there, or `UNREAD` in its place, for a draw that does not look back.

A draft is verified draw by draw (`refimpl.engine.speculative.verdict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.backend import Backend, ChoosesAhead
from refimpl.engine.faults import BackendError, BadLogitsError
from refimpl.engine.request import Request
from refimpl.engine.runner import Logits
from refimpl.engine.speculative.verdict import (
    after,
    compared,
    judged,
    walk,
)
from refimpl.engine.step import Outcome, Share, Step
from refimpl.errors import RefimplError
from refimpl.sampling import Draw, Sampled, SamplingError, log_softmax, logprobs
from refimpl.sampling.draws import remembers
from refimpl.sampling.mask import Mask
from refimpl.sampling.verify import Draft

Row = Float[ndarray, " vocab"]
Before = dict[Request, Sampled]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """The draws of one array of logits, and whose they are."""

    draws: list[Draw] = field(default_factory=list)
    owners: list[tuple[int, Request]] = field(default_factory=list)  # share, request


UNREAD = Sampled(token=-1, logprob=float("nan"), drawn_logprob=float("nan"))
"""A token that is known to the device, and to nobody else."""


def looks_back(request: Request) -> bool:
    """Does it matter to its draws which token came last, beyond the logits?"""
    return request.guide is not None or remembers(request.params)


def only_draws(step: Step, logits: Logits, before: Before) -> Task | None:
    """All that a step asks for, if that is draws from one array."""
    task = Task()
    for i, (share, place) in enumerate(zip(step.shares, logits.places, strict=True)):
        if isinstance(place, BackendError) or place[0] or share.draft is not None or share.scored:
            return None
        for request in share.draws:
            task.draws.append(draw_of(request, place[2] - 1, share, before))
            task.owners.append((i, request))
    return task if task.draws else None


def outcomes_of(step: Step, task: Task, results: Sequence[Sampled | RefimplError]) -> list[Outcome]:
    """What became of each share, from the results of `only_draws`."""
    outcomes = [Outcome() for _ in step.shares]
    for (i, request), result in zip(task.owners, results, strict=True):
        outcomes[i].sampled.append(named(request, result))
    return outcomes


def draw(
    step: Step, logits: Logits, backend: Backend, before: Before | None = None
) -> list[Outcome]:
    """What became of each share."""
    outcomes: list[Outcome] = []
    tasks = [Task() for _ in logits.arrays]
    for share, place in zip(step.shares, logits.places, strict=True):
        if isinstance(place, BackendError):
            outcomes.append(Outcome(error=place))
            continue
        array, first, stop = place
        if share.draft is not None:
            root = draw_of(share.request, stop - 1 - share.n_draft, share, before or {})
            outcomes.append(
                verified(share.draft, share.request, root, logits.arrays[array], backend)
            )
            continue
        outcomes.append(scored(share, logits.arrays[array], first, backend))
        if outcomes[-1].error is None:
            for request in share.draws:
                tasks[array].draws.append(draw_of(request, stop - 1, share, before or {}))
                tasks[array].owners.append((len(outcomes) - 1, request))
    for task, array in zip(tasks, logits.arrays, strict=True):
        for (i, request), result in zip(task.owners, chosen(backend, array, task), strict=True):
            outcomes[i].sampled.append(named(request, result))
    return outcomes


def verified(
    draft: Draft, request: Request, root: Draw, array: object, backend: Backend
) -> Outcome:
    """The guesses that were right, and the token after them."""

    def draw_after(node: int) -> Draw:
        draw = after(draft, node, root, free_at=request.n_prompt + request.params.min_tokens)
        if node < 0 or request.guide is None:
            return draw
        return replace(draw, mask=mask_after(request, draw.history))

    def choose(node: int) -> Sampled:
        return sure(chosen(backend, array, Task(draws=[draw_after(node)]))[0])

    if draft.laws is not None:
        decide = judged(draft, draw_after, backend.host(array))
    elif request.guide is None and (draft.parents is None or isinstance(backend, ChoosesAhead)):
        draws = [draw_after(node) for node in range(-1, len(draft))]
        at_once = chosen(backend, array, Task(draws=draws))
        decide = compared(draft, lambda node: sure(at_once[node + 1]))
    else:  # draws beside the path are many, or dear; a device waits longer than it draws
        decide = compared(draft, choose)
    outcome = walk(decide)
    outcome.sampled = [named(request, result) for result in outcome.sampled]
    return outcome


def sure(result: Sampled | RefimplError) -> Sampled:
    if isinstance(result, RefimplError):
        raise result
    return result


def scored(share: Share, array: object, first: int, backend: Backend) -> Outcome:
    """The log-probabilities of a prompt's own tokens, where somebody asked for them."""
    if not share.scored:
        return Outcome()
    rows = backend.host(array)[first:]
    try:
        scores = [
            (position + 1, score(share.request, position + 1, row))
            for position, row in zip(share.scored, rows, strict=False)
        ]
    except SamplingError as error:
        return Outcome(error=bad_logits(share.request, error))
    return Outcome(prompt_scores=scores)


def score(request: Request, position: int, row: Row) -> Sampled:
    """How probable the prompt's own token at this position was."""
    raw, token = np.asarray(row[: request.vocab_size], np.float64), request.prompt[position]
    logprob = float(log_softmax(raw)[token])
    top = logprobs(raw, request.prompt_logprobs or 0)
    return Sampled(token=token, logprob=logprob, drawn_logprob=logprob, top=top)


def draw_of(request: Request, row: int, share: Share, before: Before) -> Draw:
    """The token after the share's last; the history is every token up to there."""
    mu = request.mu
    history: Sequence[int] = request.tokens
    if share.pending and not looks_back(request):
        history = range(share.end)  # only its length matters
    elif share.pending and request in before:
        last = before[request]
        history, mu = [*history[: share.end - 1], last.token], last.mu
    too_early = share.end - request.n_prompt < request.params.min_tokens
    return Draw(
        row=row,
        params=request.params,
        history=history,
        sample=request.sample,
        mu=mu,
        vocab_size=request.vocab_size,
        banned=request.eog_tokens | request.stop_tokens if too_early else frozenset(),
        mask=mask_after(request, history),
    )


def mask_after(request: Request, history: Sequence[int]) -> Mask | None:
    """What a guided request may say next.

    It depends on the last token, so it is made when that is known: after the forward pass was
    launched, before its logits are read.  A backend that computes on another device does both at
    once; one that returns from `forward` with the logits does one after the other.

    After a guess that the guide forbids nothing needs a mask, for such a guess is never taken.
    """
    output = history[request.n_prompt :]
    if request.guide is None or not request.guide.allows(output):
        return None
    return request.guide.mask(output)


def chosen(backend: Backend, array: object, task: Task) -> Sequence[Sampled | RefimplError]:
    """All tokens of an array; if that fails, one by one, so that only the culprit suffers."""
    if not task.draws:
        return []
    try:
        return backend.choose(array, task.draws)
    except Exception as error:  # a backend may raise anything
        if len(task.draws) == 1:
            return [BackendError(f"the backend failed: {type(error).__name__}: {error}")]
        return [chosen(backend, array, Task(draws=[one]))[0] for one in task.draws]


def named(request: Request, result: Sampled | RefimplError) -> Sampled | RefimplError:
    return bad_logits(request, result) if isinstance(result, SamplingError) else result


def bad_logits(request: Request, error: SamplingError) -> BadLogitsError:
    return BadLogitsError(f"the logits of request {request.id!r} are no distribution: {error}")
