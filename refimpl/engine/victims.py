"""Who gives way when the pool is full: one small class per rule.

The scheduler asks until the request it is serving has room, or is itself the victim.

Sources: vLLM's scheduler (`LastAdmitted`, `LowestPriority`), SGLang's `retract_decode`
(`FewestOutputs`).
"""

from refimpl.engine.request import Request


class LastAdmitted:
    """Whoever came to run last: first come, first served, also in bad times."""

    def choose(self, running: dict[str, Request]) -> Request:
        return running[next(reversed(running))]


class LowestPriority:
    """The highest number; among equals, the last to arrive."""

    def choose(self, running: dict[str, Request]) -> Request:
        return max(running.values(), key=lambda request: (request.priority, request.arrival))


class FewestOutputs:
    """Who loses least: the fewest outputs, then the longest prompt, then the last admitted."""

    def choose(self, running: dict[str, Request]) -> Request:
        last_first = list(running.values())[::-1]
        return min(last_first, key=lambda request: (request.n_output, -request.n_prompt))


Victims = LastAdmitted | LowestPriority | FewestOutputs
