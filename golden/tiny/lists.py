"""Sorting letters and counting items: simple once each step is written down.

>>> from random import Random
>>> example = sorting(Random(1))
>>> print(example.question, example.scratchpad, example.answer, sep="\\n")
Write these letters in alphabetical order: o u b d
o u b d > b
o u d > d
o u > o
u > u
b d o u
>>> example = counting(Random(2))
>>> print(example.question, example.scratchpad, example.answer, sep="\\n")
How often does fox appear in: fox fox bird fox fox fox
count fox
fox yes 1
fox yes 2
bird no 2
fox yes 3
fox yes 4
fox yes 5
5
"""

from random import Random

from golden.tiny.example import Example
from golden.tiny.words import ANIMALS, COLOURS, LETTERS, OBJECTS

ASK_SORTED = (
    "Sort these letters: {items}", "Sort the letters: {items}",
    "Put these letters in order: {items}", "Write these letters in alphabetical order: {items}",
)  # fmt: skip
ASK_COUNT = (
    "How many times does {item} appear in this list? {items}",
    "Count how often {item} appears: {items}",
    "How often does {item} appear in: {items}",
)
ASK_LENGTH = ("How many items are in this list? {items}", "Count the items: {items}")


def sorting(rng: Random) -> Example:
    """Take the smallest letter of those left, until none is left."""
    letters = rng.choices(LETTERS, k=rng.randint(3, 8))
    left, lines = list(letters), []
    while left:
        smallest = min(left)
        lines.append(f"{' '.join(left)} > {smallest}")
        left.remove(smallest)
    return Example(
        skill="sort",
        question=rng.choice(ASK_SORTED).format(items=" ".join(letters)),
        scratchpad="\n".join(lines),
        answer=" ".join(sorted(letters)),
        key=" ".join(letters),
    )


def counting(rng: Random) -> Example:
    """Go through the list: does the item count, and how many are there so far?"""
    kinds = rng.sample(rng.choice((ANIMALS, COLOURS, OBJECTS, LETTERS)), rng.randint(2, 4))
    items = rng.choices(kinds, k=rng.randint(4, 14))
    wanted = rng.choice(kinds) if rng.random() < 0.8 else None
    lines, count = [f"count {wanted or 'all'}"], 0
    for item in items:
        counts = wanted in (None, item)
        count += counts
        lines.append(f"{item} {'yes' if counts else 'no'} {count}")
    ask = rng.choice(ASK_LENGTH if wanted is None else ASK_COUNT)
    return Example(
        skill="count",
        question=ask.format(item=wanted, items=" ".join(items)),
        scratchpad="\n".join(lines),
        answer=str(count),
    )
