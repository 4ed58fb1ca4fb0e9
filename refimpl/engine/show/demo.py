"""Runs small enough to follow with the finger, one for each picture, on the embedded model.

The prompts and the sizes are chosen so that everything a picture can show does happen: prompts that
start alike, samples that part, a pool that is too small.  The answers are the model's own.

>>> header, *steps = demonstration("schedule")
>>> [share["n"] for share in steps[2]["shares"]]     # two chats go on, a book is begun
[1, 1, 10]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.engine.policies import LongestPrefix, Policy
from refimpl.engine.request import Request
from refimpl.engine.show.record import Log
from refimpl.errors import InputError
from refimpl.model.find import find_model
from refimpl.model.load import Loaded, load
from refimpl.sampling import SamplingParams


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A prompt that comes before step `at`; if it `follows` another, after that one's answer."""

    id: str
    at: int
    prompt: str
    n_tokens: int
    samples: int = 1
    follows: str = ""

    def tokens(self, loaded: Loaded, served: dict[str, Request]) -> list[int]:
        if not self.follows:
            return loaded.tokenizer.encode(self.prompt)
        said = served[self.follows].tokens
        return [*said, *loaded.tokenizer.encode(self.prompt, add_special=False)]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Who asks, and the engine they ask."""

    asks: Sequence[Ask]
    cache: str
    n_blocks: int
    block_size: int
    limits: Limits
    policy: type[Policy] = Policy
    policy_options: dict[str, int] = field(default_factory=dict)


def demonstration(view: str, loaded: Loaded | None = None) -> Log:
    """The log of the run that shows what this view is about."""
    if view not in DEMOS:
        raise InputError(f"no demonstration {view!r}: choose one of {', '.join(DEMOS)}")
    demo = DEMOS[view]
    loaded = loaded or load(find_model("tiny"))
    options: dict[str, Any] = {"cache": demo.cache, "block_size": demo.block_size}
    llm = LLM(
        loaded,
        n_blocks=demo.n_blocks,
        limits=demo.limits,
        policy=demo.policy(**demo.policy_options),
        record=True,
        **options,
    )
    play(llm, loaded, demo.asks)
    return llm.log


def play(llm: LLM, loaded: Loaded, asks: Sequence[Ask]) -> None:
    """Serve everybody, who come when they come."""
    served: dict[str, Request] = {}
    n = 0
    while not llm.engine.is_idle or any(ask.at >= n for ask in asks):
        for ask in (ask for ask in asks if ask.at == n):
            params = SamplingParams(
                max_tokens=ask.n_tokens, temperature=1.0, top_p=0.95, seed=2, ignore_eos=True
            )
            tokens = ask.tokens(loaded, served)
            [family] = llm.submit([tokens], params, n=ask.samples, names=[ask.id])
            served[ask.id] = family[0]
        if not llm.engine.is_idle:
            llm.engine.step()
        n += 1


ONCE = "Once upon a time, there was a"
BLOCKS = Demo(
    cache="hashed",
    n_blocks=13,
    block_size=4,
    limits=Limits(max_batched_tokens=16, max_seqs=5),
    asks=(
        Ask(id="cat", at=0, prompt=f"{ONCE} little cat", n_tokens=9, samples=2),
        Ask(id="dog", at=3, prompt=f"{ONCE} big dog", n_tokens=9),
        Ask(id="rain", at=4, prompt="It was raining. Lily and Tom", n_tokens=14),
        Ask(id="fish", at=9, prompt=f"{ONCE} little fish", n_tokens=7),
    ),
)

RADIX = Demo(
    cache="radix",
    n_blocks=52,
    block_size=1,
    limits=Limits(max_batched_tokens=24, max_seqs=2),
    policy=LongestPrefix,
    policy_options={"check": 2, "deprioritise": 6},
    asks=(
        Ask(id="cat", at=0, prompt=f"{ONCE} little cat named", n_tokens=4),
        Ask(id="dog", at=1, prompt=f"{ONCE} big dog named", n_tokens=4),
        Ask(id="sun", at=3, prompt="The sun was hot. Lily", n_tokens=4),
        Ask(id="cat 2", at=7, follows="cat", prompt=" One day, the cat", n_tokens=4),
        Ask(id="girl", at=8, prompt=f"{ONCE} little girl", n_tokens=3),
        Ask(id="rain", at=12, prompt="It was raining, and Tom was sad", n_tokens=4),
        Ask(id="dog 2", at=16, follows="dog", prompt=" The dog liked to", n_tokens=3),
        Ask(id="fish", at=20, prompt=f"{ONCE} little fish", n_tokens=3),
    ),
)

BOOK = (
    "One day, Tom and his mom went to the big park. They saw a red bird in a tree. "
    "The bird was sad, and Tom said that he could help."
)
SCHEDULE = Demo(
    cache="hashed",
    n_blocks=26,
    block_size=4,
    limits=Limits(max_batched_tokens=12, max_seqs=6, long_prefill_threshold=10),
    asks=(
        Ask(id="chat a", at=0, prompt="The cat sat", n_tokens=14),
        Ask(id="chat b", at=1, prompt="Lily was happy", n_tokens=14),
        Ask(id="book", at=2, prompt=BOOK, n_tokens=8),
        Ask(id="chat c", at=4, prompt="Tom ran", n_tokens=14),
        Ask(id="book 2", at=9, prompt=BOOK.replace("Tom", "Lily"), n_tokens=8),
        Ask(id="chat d", at=12, prompt="The end", n_tokens=6),
    ),
)

DEMOS: dict[str, Demo] = {"blocks": BLOCKS, "radix": RADIX, "schedule": SCHEDULE}
