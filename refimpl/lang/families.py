"""Requests with one and the same prompt that come together are served as one family.

The prompt is computed once, by the first; when it is done the others fork from it, share its blocks
and draw from the same logits.  That is how the engine serves n samples of one prompt, and a fork
whose branches ask at once is nothing else: three branches after 100 tokens cost one prefill of 100,
not of 300, whatever the cache, and none at all.

Each member still has its own parameters: how long it goes on, how it draws, when it stops.

>>> from refimpl.sampling import SamplingParams
>>> def ask(id, prompt, n):
...     return Request(id=id, prompt=prompt, params=SamplingParams(max_tokens=n))
>>> family, = families([ask("a", (1, 2), 10), ask("b", (1, 2), 40)], largest=8)
>>> family.id, [child.id for child in family.unborn], family.unborn[0].is_unborn
('a', ['b'], True)
"""

from collections.abc import Iterable

from refimpl.engine.request import Request


def families(requests: Iterable[Request], *, largest: int) -> list[Request]:
    """The first of each family, in order of arrival, with the others as its unborn samples.

    `largest` is how many sequences may run: a family gets all its seats at once.
    """
    heads: list[Request] = []
    open_: dict[tuple[int, ...], Request] = {}  # for each prompt, the family that still has room
    for request in requests:
        prompt = tuple(request.prompt)
        head = open_.get(prompt)
        if request.n_tokens >= request.limit:  # it asks for nothing, and must not draw
            heads.append(request)
        elif head is None or 1 + len(head.unborn) >= largest:
            open_[prompt] = request
            heads.append(request)
        else:
            request.is_unborn = True
            head.unborn.append(request)
    return heads
