"""What a step makes of a draft: down its tokens as long as they are right, and one token further.

After the last known token, and after every right guess, one draw decides: which guess comes next,
if any, or which other token.  There are two ways to draw, and the first gives what the plain loop
would:

    compared    the request's own draw, by the backend
    judged      accept or recover, where the draft says from which laws it was drawn

>>> from refimpl.sampling import SamplingParams
>>> last = Draw(row=5, params=SamplingParams(), history=[7, 8])
>>> draft = Draft(tokens=(9, 4, 3), parents=(-1, 0, -1))
>>> [(draw.row, list(draw.history)) for draw in (after(draft, node, last) for node in (-1, 1, 2))]
[(5, [7, 8]), (7, [7, 8, 9, 4]), (8, [7, 8, 3])]
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from refimpl.engine.step import Outcome
from refimpl.errors import RefimplError
from refimpl.sampling import (
    Draw,
    Logits,
    Sampled,
    law,
    log_softmax,
    logprobs,
    sample_at,
    uniform,
)
from refimpl.sampling.draws import without
from refimpl.sampling.greedy import allowed
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
    if node < 0:
        return last
    history = [*last.history, *(draft.tokens[i] for i in draft.path(node))]
    return Draw(
        row=last.row + 1 + node,
        params=last.params,
        history=history,
        sample=last.sample,
        mu=last.mu,
        vocab_size=last.vocab_size,
        banned=last.banned if len(history) < free_at else frozenset(),
        mask=last.mask,
    )


def compared(draft: Draft, choose: Callable[[int], Sampled]) -> Decide:
    """A guess is right if it is the token drawn; `choose` draws the one after a node."""

    def decide(node: int) -> tuple[Sampled, int | None]:
        sampled = choose(node)
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

        p = law(allowed(raw, draw.mask), params, draw.history)
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


def reported(raw: Logits, token: int, draw: Draw, drawn_from: Logits) -> Sampled:
    """As `refimpl.sampling.sample` reports its choice from the law after every filter."""
    k = draw.params.logprobs
    return Sampled(
        token=token,
        logprob=float(log_softmax(raw)[token]),
        drawn_logprob=float(drawn_from[token]),
        top=() if k is None else logprobs(raw, k),
        drawn_top=() if k is None else logprobs(drawn_from, k),
    )
