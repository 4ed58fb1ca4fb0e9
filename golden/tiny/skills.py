"""The verifiable skills, by name, and the rule that keeps questions for examination apart.

A question is held out by the checksum of what it is about (`corpus.held_out`), so whatever the
seeds, nothing the model is examined on was ever a training question; for sums, comparisons and
sorting, not in another wording either.

>>> from random import Random
>>> examples = draw("add", Random(0), held=True, count=2)
>>> [(example.question, example.answer) for example in examples]
[('Calculate 22429 + 28316.', '50745'), ('Calculate 51555 + 60449.', '112004')]
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from random import Random

from golden.tiny.corpus import held_out
from golden.tiny.example import Example
from golden.tiny.lists import counting, sorting
from golden.tiny.passages import choice_question, closed_question
from golden.tiny.problems import problem, small_problem
from golden.tiny.records import record
from golden.tiny.sums import comparison, difference, total

Generator = Callable[[Random], Example]

SKILLS: dict[str, Generator] = {
    "add": total,
    "subtract": difference,
    "step": small_problem,
    "word": problem,
    "sort": sorting,
    "count": counting,
    "compare": comparison,
    "record": record,
    "yesno": closed_question,
    "choice": choice_question,
}
EXAMINED: dict[str, Generator] = {
    **{f"add {n} digits": partial(total, n_digits=n) for n in (2, 3, 4, 5)},
    **{f"subtract {n} digits": partial(difference, n_digits=n) for n in (2, 3, 4, 5)},
    **{name: SKILLS[name] for name in SKILLS if name not in ("add", "subtract")},
}
"""What the card reports: sums by the length of their numbers, the other skills as they are."""


def stream(generate: Generator, rng: Random, *, held: bool) -> Iterator[Example]:
    """Endless examples from one side of the split."""
    while True:
        example = generate(rng)
        if held_out(example.subject) == held:
            yield example


def draw(name: str, rng: Random, *, held: bool, count: int) -> list[Example]:
    """`count` examples with different questions."""
    generate, distinct = {**SKILLS, **EXAMINED}[name], {}
    for example in stream(generate, rng, held=held):
        distinct[example.question] = example
        if len(distinct) == count:
            break
    return list(islice(distinct.values(), count))
