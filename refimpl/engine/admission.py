"""May a waiting request start, given what the running ones will still need?

vLLM starts a request when the first chunk of its prompt fits, and preempts when it was wrong:
`OnDemand`.  SGLang estimates: `NewTokenRatio`.  A newcomer is charged its whole prompt and all the
tokens it may generate; a running request is charged a *ratio* of what it may still generate, since
most stop early.  The ratio starts cautious and falls with every step that goes well; when a request
has to be retracted after all, it is set anew from what the running ones have really generated.

Source: SGLang's `PrefillAdder` and `retract_decode`, with its constants.

>>> ratio = NewTokenRatio()
>>> round(ratio.ratio, 3), round(ratio.floor, 3)
(0.7, 0.098)
>>> for _ in range(300):
...     ratio.stepped()
>>> round(ratio.ratio, 3)                       # half the way down after half of 600 steps
0.399
"""

from collections.abc import Collection

from refimpl.engine.request import Request


class OnDemand:
    """Always, if there is room for what is computed now."""

    def begin(self, running: Collection[Request]) -> None:
        """A pass over the queue begins."""

    def allows(self, request: Request, n_cached: int, n_available: int) -> bool:
        return True

    def admitted(self, request: Request, n_left: int) -> None:
        """It runs now; so many of its known tokens are left to compute in later steps."""

    def stepped(self) -> None:
        """A step went well."""

    def retracted(self, running: Collection[Request]) -> None:
        """Somebody had to give way; these still run."""


class NewTokenRatio(OnDemand):
    """If the estimate of all future needs stays within the available slots."""

    def __init__(
        self,
        *,
        start: float = 0.7,
        floor_factor: float = 0.14,
        decay_steps: int = 600,
        retract_steps: int = 20,
        clip: int = 4096,
    ) -> None:
        self.ratio = start
        self.floor = start * floor_factor
        self.decay = (start - self.floor) / decay_steps
        self.retract_steps = retract_steps
        self.clip = clip
        self.reserved = 0.0
        self.n_running = 0

    def begin(self, running: Collection[Request]) -> None:
        self.n_running = len(running)
        self.reserved = sum(
            max(0, request.n_to_compute - 1) + self.ratio * self.may_generate(request)
            for request in running
        )

    def may_generate(self, request: Request) -> int:
        return min(request.params.max_tokens - request.n_output, self.clip)

    def allows(self, request: Request, n_cached: int, n_available: int) -> bool:
        """Alone, a request may always try."""
        needed = len(request.tokens) - n_cached + self.may_generate(request)
        return not self.n_running or needed < n_available - self.reserved

    def admitted(self, request: Request, n_left: int) -> None:
        self.n_running += 1
        self.reserved += n_left + self.may_generate(request)

    def stepped(self) -> None:
        self.ratio = max(self.ratio - self.decay, self.floor)

    def retracted(self, running: Collection[Request]) -> None:
        generated = sum(request.n_output for request in running)
        allowed = sum(request.params.max_tokens for request in running)
        if allowed:
            self.ratio = min(1.0, (generated + self.retract_steps * len(running)) / allowed)
