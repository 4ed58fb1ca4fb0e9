"""From rows of logits to tokens: each request draws for itself, with numbers of its own.

The number that chooses a token is a function of (seed, sample, position), so neither the batch nor
the schedule has a say in it.  `before` are the results of the step before, where those may not have
been committed yet: a pending token is there.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.engine.faults import BackendError, BadLogitsError
from refimpl.engine.request import Request
from refimpl.engine.step import Outcome, Share, Step
from refimpl.errors import RefimplError
from refimpl.model.generate import without
from refimpl.sampling import Sampled, SamplingError, log_softmax, logprobs, sample_at

Row = Float[ndarray, " vocab"]
Before = dict[Request, Sampled]


def draw(
    step: Step,
    logits: list[Float[ndarray, "_ vocab"] | BackendError],
    before: Before | None = None,
) -> list[Outcome]:
    """What became of each share."""
    return [
        Outcome(error=rows)
        if isinstance(rows, BackendError)
        else outcome(share, rows, before or {})
        for share, rows in zip(step.shares, logits, strict=True)
    ]


def outcome(share: Share, rows: Float[ndarray, "_ vocab"], before: Before) -> Outcome:
    try:
        scores = [
            (position + 1, score(share.request, position + 1, row))
            for position, row in zip(share.scored, rows, strict=False)
        ]
    except SamplingError as error:
        return Outcome(error=bad_logits(share.request, error))
    sampled = [attempt(request, rows[-1], share, before) for request in share.draws]
    return Outcome(sampled=sampled, prompt_scores=scores)


def score(request: Request, position: int, row: Row) -> Sampled:
    """How probable the prompt's own token at this position was."""
    raw, token = np.asarray(row[: request.vocab_size], np.float64), request.prompt[position]
    logprob = float(log_softmax(raw)[token])
    top = logprobs(raw, request.prompt_logprobs or 0)
    return Sampled(token=token, logprob=logprob, drawn_logprob=logprob, top=top)


def attempt(request: Request, row: Row, share: Share, before: Before) -> Sampled | RefimplError:
    try:
        return draw_one(request, row, share, before)
    except SamplingError as error:
        return bad_logits(request, error)
    except RefimplError as error:
        return error


def draw_one(request: Request, row: Row, share: Share, before: Before) -> Sampled:
    """The token after the share's last; the history is every token up to there."""
    history, mu = request.tokens, request.mu
    if share.pending and request in before:
        last = before[request]
        history, mu = [*history[: share.end - 1], last.token], last.mu
    row = row[: request.vocab_size]
    if share.end - request.n_prompt < request.params.min_tokens:
        row = without(row, request.eog_tokens | request.stop_tokens)
    return sample_at(row, request.params, history, request=request.sample, mu=mu)


def bad_logits(request: Request, error: SamplingError) -> BadLogitsError:
    return BadLogitsError(f"the logits of request {request.id!r} are no distribution: {error}")
