"""Sums, differences and comparisons of bare numbers.

>>> from random import Random
>>> example = difference(Random(3))
>>> print(example.question, example.scratchpad, sep="\\n")
478-233
3 3
4>2
478>233
478-233
08-3-0=5
07-3-0=4
04-2-0=2
245
"""

from random import Random

from golden.tiny.arithmetic import add, compare, subtract
from golden.tiny.example import Example

ASK_SUM = (
    "What is {a} + {b}?", "What is {a} + {b}?", "{a} + {b} = ?", "{a}+{b}", "Calculate {a} + {b}.",
    "How much is {a} plus {b}?", "Add {a} and {b}.", "What is the sum of {a} and {b}?",
)  # fmt: skip
ASK_DIFFERENCE = (
    "What is {a} - {b}?", "What is {a} - {b}?", "{a} - {b} = ?", "{a}-{b}", "Calculate {a} - {b}.",
    "How much is {a} minus {b}?", "Subtract {b} from {a}.",
)  # fmt: skip


def a_number(rng: Random, n_digits: int) -> int:
    return rng.randint(10 ** (n_digits - 1) - (n_digits == 1), 10**n_digits - 1)


def two_numbers(rng: Random, n_digits: int | None) -> tuple[int, int]:
    """Two numbers of `n_digits` digits each, or (None) of any lengths from 1 to 5, mostly equal."""
    longest = n_digits or rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 5))
    shorter = longest if n_digits or rng.random() < 0.6 else rng.randint(1, longest)
    pair = a_number(rng, longest), a_number(rng, shorter)
    return pair if n_digits or rng.random() < 0.5 else pair[::-1]


def total(rng: Random, n_digits: int | None = None) -> Example:
    a, b = two_numbers(rng, n_digits)
    return Example(
        skill="add",
        question=rng.choice(ASK_SUM).format(a=a, b=b),
        scratchpad=add(a, b),
        answer=str(a + b),
        key=f"{min(a, b)}+{max(a, b)}",
    )


def difference(rng: Random, n_digits: int | None = None) -> Example:
    """A fifth of the differences are negative: first see which is larger, then subtract."""
    a, b = two_numbers(rng, n_digits)
    if a < b and rng.random() < 0.6:
        a, b = b, a
    return Example(
        skill="subtract",
        question=rng.choice(ASK_DIFFERENCE).format(a=a, b=b),
        scratchpad=f"{compare(a, b)}\n{subtract(max(a, b), min(a, b))}",
        answer=str(a - b),
        key=f"{a}-{b}",
    )


def comparison(rng: Random) -> Example:
    """Half of the pairs share their first digits, or the question would be too easy."""
    a, b = two_numbers(rng, None)
    if rng.random() < 0.5:
        shared = rng.randint(1, len(str(a)))
        tail = len(str(a)) - shared
        b = int(str(a)[:shared] + "".join(rng.choice("0123456789") for _ in range(tail)))
    if a == b:
        b = a + 1
    ask, answer = rng.choice(
        (
            ("Which is larger, {a} or {b}?", str(max(a, b))),
            ("Which number is bigger: {a} or {b}?", str(max(a, b))),
            ("Which is smaller, {a} or {b}?", str(min(a, b))),
            ("Is {a} greater than {b}?", "Yes" if a > b else "No"),
            ("Is {a} less than {b}?", "Yes" if a < b else "No"),
        )
    )
    return Example(
        skill="compare",
        question=ask.format(a=a, b=b),
        scratchpad=compare(a, b),
        answer=answer,
        key=f"{min(a, b)}?{max(a, b)}",
    )
