"""What a step makes of a draft: down its tokens as long as they are right, and one token further.

After the last known token, and after every right guess, one draw decides: which guess comes next,
if any, or which other token.  Draws beside the path are never made.  There are three ways to draw,
and all but the last give what the plain loop would:

    greatest    greedy, with neutral penalties: the greatest logit, found at once
    compared    the request's own draw, by the backend
    judged      accept or recover, where the draft says from which laws it was drawn

>>> from refimpl.sampling import SamplingParams
>>> last = Draw(row=5, params=SamplingParams(), history=[7, 8])
>>> draft = Draft(tokens=(9, 4, 3), parents=(-1, 0, -1))
>>> [(draw.row, list(draw.history)) for draw in (after(draft, node, last) for node in (-1, 1, 2))]
[(5, [7, 8]), (7, [7, 8, 9, 4]), (8, [7, 8, 3])]
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.engine.step import Outcome
from refimpl.errors import RefimplError
from refimpl.sampling import (
    Draw,
    Logits,
    Sampled,
    SamplingParams,
    TokenLogprob,
    law,
    log_softmax,
    logprobs,
    sample_at,
    uniform,
)
from refimpl.sampling.draws import without
from refimpl.sampling.mask import masked
from refimpl.sampling.probability import below_max
from refimpl.sampling.verify import (
    RESIDUAL_STREAM,
    Draft,
    accept_stream,
    child_with,
    judge,
)

Rows = Float[ndarray, "_ vocab"]
Decide = Callable[[int], tuple[Sampled, int | None]]
"""From a node to the token after it, and the child that has it; None if no guess was right."""


def walk(decide: Decide) -> Outcome:
    """The tokens along the path, and its nodes.  A draw that fails ends path and request."""
    outcome, node = Outcome(), -1
    try:
        while True:
            sampled, child = decide(node)
            outcome.sampled.append(sampled)
            if child is None:
                return outcome
            outcome.path.append(child)
            node = child
    except RefimplError as error:
        outcome.sampled.append(error)
    return outcome


def after(draft: Draft, node: int, last: Draw, *, free_at: int = 0) -> Draw:
    """The draw after a node, given that after the last known token.

    What is banned from that one is allowed again where a text has `free_at` tokens.
    """
    history = [*last.history, *(draft.tokens[i] for i in draft.path(node))]
    banned = last.banned if len(history) < free_at else frozenset()
    if node < 0:
        return last
    return replace(last, row=last.row + 1 + node, history=history, banned=banned)


def greatest(draft: Draft, draw_after: Callable[[int], Draw], rows: Rows) -> Decide:
    """For parameters that `is_greatest`: no filter, no number."""

    def decide(node: int) -> tuple[Sampled, int | None]:
        draw = draw_after(node)
        raw = of_the_model(draw, rows)
        token = int(allowed(raw, draw).argmax())  # the lowest id on ties
        return reported(raw, token, draw), child_with(draft, node, token)

    return decide


def is_greatest(params: SamplingParams) -> bool:
    """Is a draw under these parameters just the greatest logit?"""
    neutral = not (params.frequency_penalty or params.presence_penalty or params.dry_multiplier)
    penalised = not neutral or params.repetition_penalty != 1
    return params.temperature == 0 and not (penalised or params.logit_bias or params.mirostat)


def compared(
    draft: Draft, draw_after: Callable[[int], Draw], choose: Callable[[Draw], Sampled]
) -> Decide:
    """A guess is right if it is the token drawn."""

    def decide(node: int) -> tuple[Sampled, int | None]:
        sampled = choose(draw_after(node))
        return sampled, child_with(draft, node, sampled.token)

    return decide


def judged(draft: Draft, draw_after: Callable[[int], Draw], rows: Rows) -> Decide:
    """A guess is right with probability min(1, p / q)."""
    assert draft.laws is not None, "judged by the laws it was drawn from"
    laws = draft.laws

    def decide(node: int) -> tuple[Sampled, int | None]:
        draw, children = draw_after(node), draft.children(node)
        raw, params = of_the_model(draw, rows), draw.params
        if not children:
            return sample_at(raw, params, draw.history, request=draw.sample, mask=draw.mask), None

        def chance(stream: int) -> float:
            return uniform(params.seed, draw.sample, len(draw.history), stream)

        p = law(allowed(raw, draw), params, draw.history)
        child, token = judge(
            p,
            [(draft.tokens[i], laws[i]) for i in children],
            [chance(accept_stream(c)) for c in range(len(children))],
            recover=chance(RESIDUAL_STREAM),
        )
        with np.errstate(divide="ignore"):  # removed tokens
            sampled = reported(raw, token, draw, np.log(p))
        return sampled, None if child is None else children[child]

    return decide


def of_the_model(draw: Draw, rows: Rows) -> Logits:
    """The logits whose law is reported as the model's own."""
    row = np.asarray(rows[draw.row, : draw.vocab_size], dtype=np.float64)
    return without(row, draw.banned)


def allowed(raw: Logits, draw: Draw) -> Logits:
    """What a constraint leaves of them, if there is one; an error if that is nothing."""
    if draw.mask is None:
        return raw
    left = masked(raw, draw.mask)
    below_max(left)
    return left


def reported(raw: Logits, token: int, draw: Draw, drawn_from: Logits | None = None) -> Sampled:
    """As `refimpl.sampling.sample` reports its choice.

    `drawn_from` is the law after every filter; None: this token and no other.
    """
    k = draw.params.logprobs
    only = () if not k else (TokenLogprob(token=token, logprob=0.0),)
    return Sampled(
        token=token,
        logprob=float(log_softmax(raw)[token]),
        drawn_logprob=0.0 if drawn_from is None else float(drawn_from[token]),
        top=() if k is None else logprobs(raw, k),
        drawn_top=only if k is None or drawn_from is None else logprobs(drawn_from, k),
    )
