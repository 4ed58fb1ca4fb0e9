"""The workloads of the SGLang paper's evaluation, as programs: who shares what with whom.

Only the shapes matter here, so tokens are numbers.  The shapes are those the paper states (section
6.1); where it states none, the defaults below are typical of the task and said to be ours.

>>> [len(p.tokens) for p in next(few_shot(range(600), fresh_tokens(), n_question=80))]
[680]
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from refimpl.engine.simulate.clock import Program, Prompt, fresh_tokens

Fresh = Callable[[int], list[int]]


def few_shot(examples: Sequence[int], fresh: Fresh, *, n_question: int) -> Program:
    """MMLU: a subject's five examples, a question, one token of answer."""
    yield [Prompt(tokens=[*examples, *fresh(n_question)], n_output=1)]


def select(
    examples: Sequence[int], fresh: Fresh, *, n_question: int, n_choice: int, n_choices: int
) -> Program:
    """HellaSwag: the question once, then each choice behind it (two levels of sharing)."""
    question = [*examples, *fresh(n_question)]
    yield [Prompt(tokens=question, n_output=1)]
    yield [Prompt(tokens=[*question, *fresh(n_choice)], n_output=1) for _ in range(n_choices)]


def chat(fresh: Fresh, rng: Random, *, n_turns: int, answer: tuple[int, int]) -> Program:
    """A conversation: every turn sends all of it again, with 256 to 512 new tokens."""
    history: list[int] = []
    for _ in range(n_turns):
        turn = [*history, *fresh(rng.randint(256, 512))]
        [history] = yield [Prompt(tokens=turn, n_output=rng.randint(*answer))]


def tree_of_thought(
    examples: Sequence[int],
    fresh: Fresh,
    *,
    n_question: int,
    branches: int,
    depth: int,
    n_thought: int,
) -> Program:
    """Propose several next thoughts at each leaf, judge each, keep going from all of them."""
    leaves = [[*examples, *fresh(n_question)]]
    for _ in range(depth):
        proposals = [leaf for leaf in leaves for _ in range(branches)]
        prompts = [Prompt(tokens=[*leaf, *fresh(8)], n_output=n_thought) for leaf in proposals]
        leaves = yield prompts
        yield [Prompt(tokens=[*leaf, *fresh(12)], n_output=1) for leaf in leaves]


def workloads(scale: float, seed: int) -> dict[str, Iterator[Program]]:
    """Every workload at its size in the default run times `scale`, ready to be served."""
    fresh, rng = fresh_tokens(), Random(seed)

    def times(n: int) -> range:
        return range(max(1, round(n * scale)))

    subjects = [fresh(rng.randint(400, 900)) for _ in times(20)]
    mmlu = [
        few_shot(s, fresh, n_question=rng.randint(40, 140)) for s in subjects for _ in times(25)
    ]
    rng.shuffle(mmlu)
    shots, thoughts = fresh(1600), fresh(500)
    return {
        "MMLU, 5 shots": iter(mmlu),
        "HellaSwag, 20 shots, select": (
            select(shots, fresh, n_question=60, n_choice=25, n_choices=4) for _ in times(150)
        ),
        "tree of thought": (
            tree_of_thought(thoughts, fresh, n_question=80, branches=2, depth=3, n_thought=60)
            for _ in times(20)
        ),
        "chat, 4 turns, short": (chat(fresh, rng, n_turns=4, answer=(4, 8)) for _ in times(60)),
        "chat, 4 turns, long": (chat(fresh, rng, n_turns=4, answer=(256, 512)) for _ in times(60)),
    }
