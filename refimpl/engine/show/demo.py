"""Runs small enough to follow with the finger, one for each picture.

Tokens are words.  The answers are written down here; no model runs.

>>> [len(DEMOS[name]()) > 8 for name in DEMOS]
[True, True, True]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from refimpl.engine.limits import Limits
from refimpl.engine.policies import LongestPrefix
from refimpl.engine.request import Request
from refimpl.engine.show.record import Log, RecordingScheduler
from refimpl.engine.step import Outcome
from refimpl.kv.blocks import BlockPool
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.tree import RadixMemory
from refimpl.sampling import Sampled, SamplingParams


@dataclass(kw_only=True)
class Words:
    """Words as tokens."""

    known: dict[str, int] = field(default_factory=dict)

    def encode(self, text: str) -> list[int]:
        return [self.known.setdefault(word, len(self.known)) for word in text.split()]

    def word(self, token: int) -> str:
        return list(self.known)[token]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A prompt and the answers its samples will give; it comes before step `at`."""

    id: str
    at: int
    prompt: str
    answers: Sequence[str]


def play(scheduler: RecordingScheduler, asks: Sequence[Ask], words: Words) -> Log:
    """Serve everybody, with the answers as written."""
    script: dict[str, list[int]] = {}
    n = 0
    while not scheduler.is_idle or any(ask.at >= n for ask in asks):
        for ask in (ask for ask in asks if ask.at == n):
            family = requests_of(ask, words)
            script |= {r.id: words.encode(a) for r, a in zip(family, ask.answers, strict=True)}
            scheduler.add(family[0])
        step = scheduler.schedule()
        scheduler.commit(
            step,
            [Outcome([scripted(r, script[r.id]) for r in share.draws]) for share in step.shares],
        )
        n += 1
    return scheduler.log


def requests_of(ask: Ask, words: Words) -> list[Request]:
    family = [
        Request(
            id=ask.id if i == 0 else f"{ask.id}.{i}",
            prompt=tuple(words.encode(ask.prompt)),
            params=SamplingParams(max_tokens=len(answer.split())),
            is_unborn=i > 0,
        )
        for i, answer in enumerate(ask.answers)
    ]
    family[0].unborn = family[1:]
    return family


def scripted(request: Request, answer: list[int]) -> Sampled:
    return Sampled(token=answer[request.n_output], logprob=0.0, drawn_logprob=0.0)


RULES = "You are a helpful guide . Answer in one short line ."


def blocks() -> Log:
    """Sharing a prompt, copying on write, giving way, and finding one's blocks again."""
    words = Words()
    scheduler = RecordingScheduler(
        HashedMemory(BlockPool(n_blocks=14, block_size=4)),
        Limits(max_batched_tokens=16, max_seqs=5),
        word=words.word,
    )
    asks = [
        Ask(
            id="sea",
            at=0,
            prompt=f"{RULES} What is the sea ?",
            answers=("It is salt water that never ends .", "A very large and blue lake ."),
        ),
        Ask(
            id="sky",
            at=3,
            prompt=f"{RULES} What is the sky ?",
            answers=("It is the air above us , seen from below .",),
        ),
        Ask(
            id="poem",
            at=4,
            prompt="Write me a poem about rain and roofs",
            answers=("Rain on the roof , all night it drums , and then the morning comes .",),
        ),
        Ask(
            id="moon",
            at=9,
            prompt=f"{RULES} What is the moon ?",
            answers=("A stone that keeps us company .",),
        ),
    ]
    return play(scheduler, asks, words)


def radix() -> Log:
    """Two conversations and a few questions over common examples, in a tree that is too small."""
    words = Words()
    scheduler = RecordingScheduler(
        RadixMemory(BlockPool(n_blocks=44, block_size=1)),
        Limits(max_batched_tokens=24, max_seqs=2),
        policy=LongestPrefix(check=2, deprioritise=4),
        word=words.word,
    )
    shots = "Q 1 + 1 A 2 Q 2 + 3 A 5"
    first = "user hello there bot hello yourself"
    asks = [
        Ask(id="sum 1", at=0, prompt=f"{shots} Q 4 + 4 A", answers=("8",)),
        Ask(id="chat 1", at=1, prompt="user hello there bot", answers=("hello yourself",)),
        Ask(id="sum 2", at=3, prompt=f"{shots} Q 6 + 3 A", answers=("9",)),
        Ask(id="chat 2", at=5, prompt=f"{first} user what now bot", answers=("now we draw trees",)),
        Ask(id="sum 3", at=6, prompt=f"{shots} Q 4 + 5 A", answers=("9",)),
        Ask(id="story", at=9, prompt="once upon a time a tree grew", answers=("a leaf too many",)),
        Ask(id="sum 4", at=13, prompt=f"{shots} Q 7 + 7 A", answers=("14",)),
    ]
    return play(scheduler, asks, words)


def schedule() -> Log:
    """Short chats keep answering while a book is read in the gaps; later, memory runs out."""
    words = Words()
    scheduler = RecordingScheduler(
        HashedMemory(BlockPool(n_blocks=22, block_size=4)),
        Limits(max_batched_tokens=12, max_seqs=6, long_prefill_threshold=10),
        word=words.word,
    )
    chat = "one two three four five six seven eight nine ten eleven twelve"
    asks = [
        Ask(id="chat a", at=0, prompt="tell me a b c", answers=(chat,)),
        Ask(id="chat b", at=1, prompt="count for me please", answers=(chat,)),
        Ask(
            id="book",
            at=2,
            prompt=" ".join(f"page{i}" for i in range(34)),
            answers=("so the book was read in pieces",),
        ),
        Ask(id="chat c", at=4, prompt="and me too", answers=(chat,)),
        Ask(
            id="book 2",
            at=9,
            prompt=" ".join(f"leaf{i}" for i in range(26)),
            answers=("and this one in pieces , too",),
        ),
        Ask(id="chat d", at=12, prompt="am I late", answers=("not at all , no",)),
    ]
    return play(scheduler, asks, words)


DEMOS: dict[str, Callable[[], Log]] = {"blocks": blocks, "radix": radix, "schedule": schedule}
