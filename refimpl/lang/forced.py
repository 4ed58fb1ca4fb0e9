"""How probable an option is: a request that is made to say it, token by token.

Every token is decided beforehand by a bias that no logit outweighs; what is recorded is the
log-probability under the model's own law, which a bias does not touch.  So an option costs one step
a token, and its last token is never computed.  Options of one question have one prompt: they are a
family, and the prompt is computed once for all of them.

>>> from refimpl.oracle.models import random_model
>>> from refimpl.engine.llm import LLM
>>> llm = LLM(random_model("llama", seed=0), block_size=4, n_blocks=32)
>>> request = Forced(id="a", prompt=(1, 2), params=forcing(7), option=(7, 7, 3))
>>> llm.engine.add(request)
>>> _ = llm.engine.run()
>>> request.output, all(one.logprob < 0 for one in request.sampled)
([7, 7, 3], True)
"""

from dataclasses import dataclass, replace

from refimpl.engine.request import Finish
from refimpl.lang.counts import CountedRequest
from refimpl.sampling import Sampled, SamplingParams

DECISIVE = 1e30
"""Added to one logit, it leaves the others no chance."""


def forcing(token: int, *, n: int = 1) -> SamplingParams:
    """Say this token, whatever the model thinks."""
    return SamplingParams(
        temperature=0.0, max_tokens=n, ignore_eos=True, logit_bias={token: DECISIVE}
    )


@dataclass(kw_only=True, eq=False)
class Forced(CountedRequest):
    """A request whose output is given."""

    option: tuple[int, ...]

    def __post_init__(self) -> None:
        self.params = forcing(self.option[0], n=len(self.option))
        super().__post_init__()

    def receive(self, sampled: Sampled) -> tuple[str, Finish | None]:
        news = super().receive(sampled)
        if self.n_output < len(self.option):
            following = {self.option[self.n_output]: DECISIVE}
            self.params = replace(self.params, logit_bias=following)
        return news
