"""Word problems of two steps.  Each template names its steps; the scratchpad does them on paper.

>>> from random import Random
>>> example = problem(Random(5))
>>> print(example.question, example.scratchpad, example.answer, sep="\\n--\\n")
Ruth has 9 bags with 55 apples in each and finds 93 more. How many apples does Ruth have?
--
55*9
5*9+0=45
5*9+4=49
495
495+93
5+3+0=08
9+9+0=18
4+0+1=05
588
--
588
"""

from collections.abc import Callable
from random import Random

from golden.tiny.arithmetic import add, subtract, times
from golden.tiny.example import Example
from golden.tiny.words import FOOD, THINGS, some_names

PLUS_MINUS = (
    "{n} has {a} {x}. {n} finds {b} more and gives {c} to {m}. How many {x} does {n} have now?",
    "There are {a} {x} in a box. {n} puts in {b} more and {m} takes out {c}. "
    "How many {x} are in the box?",
    "{n} picked {a} {x} and {m} picked {b}. Together they lost {c}. How many {x} are left?",
    "A shop had {a} {x}. It got {b} more and sold {c}. How many {x} does the shop have now?",
)  # fmt: skip
MINUS_PLUS = (
    "{n} had {a} {x}. {n} lost {b}, and then {m} gave {n} {c}. How many {x} does {n} have now?",
    "There were {a} {x} on the table. {n} took {b} and {m} brought {c}. "
    "How many {x} are on the table?",
    "A shop had {a} {x}. It sold {b} and then bought {c}. How many {x} does the shop have now?",
)  # fmt: skip
PLUS_PLUS = (
    "{n} has {a} {x}, {m} has {b} and {k} has {c}. How many {x} do they have together?",
    "{n} found {a} {x} in the morning, {b} at noon and {c} at night. How many {x} did {n} find?",
)  # fmt: skip
MORE_THAN = (
    "{n} has {a} {x}. {m} has {b} more than {n}. How many {x} do they have together?",
    "{m} found {b} more {x} than {n}. {n} found {a}. How many {x} did they find together?",
)  # fmt: skip
TIMES_PLUS = (
    "{n} has {d} bags with {a} {x} in each and finds {b} more. How many {x} does {n} have?",
    "There are {d} boxes with {a} {x} in each. {n} puts in {b} more. How many {x} are there?",
)  # fmt: skip
TIMES_MINUS = (
    "{n} has {d} bags with {a} {x} in each and gives {b} to {m}. How many {x} does {n} have left?",
    "A shop has {d} boxes with {a} {x} in each. It sells {b}. How many {x} are left?",
)  # fmt: skip

Step = Callable[[int, int], str]
VALUE: dict[Step, Callable[[int, int], int]] = {
    add: lambda x, y: x + y,
    subtract: lambda x, y: x - y,
    times: lambda x, y: x * y,
}
KINDS: tuple[tuple[tuple[str, ...], Step, str, Step, str], ...] = (
    # templates, first step on a and ..., second step on its result and ...
    (PLUS_MINUS, add, "b", subtract, "c"),
    (MINUS_PLUS, subtract, "b", add, "c"),
    (PLUS_PLUS, add, "b", add, "c"),
    (MORE_THAN, add, "b", add, "a"),
    (TIMES_PLUS, times, "d", add, "b"),
    (TIMES_MINUS, times, "d", subtract, "b"),
)


def problem(rng: Random) -> Example:
    templates, first, x, second, y = rng.choice(KINDS)
    while True:
        number = {name: a_number(rng) for name in "abc"} | {"d": rng.randint(2, 9)}
        middle = VALUE[first](number["a"], number[x])
        result = VALUE[second](middle, number[y])
        if middle > 0 and result >= 0:
            break
    n, m, k = some_names(rng, 3)
    return Example(
        skill="word",
        question=rng.choice(templates).format(n=n, m=m, k=k, x=rng.choice(THINGS), **number),
        scratchpad=f"{first(number['a'], number[x])}\n{second(middle, number[y])}",
        answer=str(result),
    )


ONE_PLUS = (
    "{n} has {a} {x} and gets {b} more. How many {x} does {n} have now?",
    "{n} had {a} {x}. {m} gave {n} {b} more. How many {x} does {n} have?",
    "There are {a} {x} in a box and {b} on the table. How many {x} are there?",
    "{n} found {a} {x} and {m} found {b}. How many did they find together?",
    "If {n} has {a} {x} and buys {b} more, how many {x} does {n} have?",
)  # fmt: skip
ONE_MINUS = (
    "{n} has {a} {x} and gives {b} to {m}. How many {x} are left?",
    "{n} had {a} {x}. {n} lost {b}. How many {x} does {n} have now?",
    "There were {a} {x}. {n} took {b} away. How many {x} are left?",
    "{n} has {a} {x} and {m} has {b}. How many more {x} does {n} have?",
    "If {n} has {a} {f} and eats {b}, how many {f} are left?",
)  # fmt: skip
ONE_TIMES = (
    "{n} has {d} bags with {a} {x} in each. How many {x} does {n} have?",
    "There are {d} boxes with {a} {x} in each. How many {x} are there?",
)  # fmt: skip
SINGLE: tuple[tuple[tuple[str, ...], Step, str], ...] = (
    (ONE_PLUS, add, "b"),
    (ONE_MINUS, subtract, "b"),
    (ONE_TIMES, times, "d"),
)


def small_problem(rng: Random) -> Example:
    """One step: what a child is asked first."""
    templates, step, x = rng.choice(SINGLE)
    a, b = a_number(rng), a_number(rng)
    number = {"a": max(a, b), "b": min(a, b), "d": rng.randint(2, 9)}
    n, m = some_names(rng, 2)
    return Example(
        skill="step",
        question=rng.choice(templates).format(
            n=n, m=m, x=rng.choice(THINGS), f=rng.choice(FOOD), **number
        ),
        scratchpad=step(number["a"], number[x]),
        answer=str(VALUE[step](number["a"], number[x])),
    )


def a_number(rng: Random) -> int:
    """Mostly two digits: large enough that doing both steps in one's head is hard."""
    return rng.randint(10, 99) if rng.random() < 0.85 else rng.randint(2, 9)
