"""Reading a purchase out of a sentence: who, where and for how much, as JSON.

>>> from random import Random
>>> example = record(Random(4))
>>> print(example.question.replace(": ", ":\\n"), example.scratchpad, example.answer, sep="\\n")
Extract the person, place and price as JSON:
Mary bought a guitar in the bathroom for 12 dollars.
person: Mary
place: bathroom
price: 12
{"person": "Mary", "place": "bathroom", "price": 12}
"""

from random import Random

from golden.tiny.example import Example
from golden.tiny.words import COLOURS, GOODS, PLACES, TOWNS, a_name

ASK = (
    "Extract the person, place and price as JSON: {s}",
    "Give the person, place and price in JSON.\n{s}",
    "{s}\nWrite this as JSON with person, place and price.",
)
SENTENCES = (
    "{n} bought a {x} in {p} for {c} dollars.",
    "In {p}, {n} paid {c} dollars for a {x}.",
    "{n} went to {p} and bought a {x} for {c} dollars.",
    "Yesterday {n} found a {x} in {p}. It cost {c} dollars.",
    "A {x} costs {c} dollars in {p}, and {n} bought one.",
    "{n} sold a {x} for {c} dollars in {p}.",
    "For {c} dollars {n} got a {x} when visiting {p}.",
    "{n} lives in {p} and paid {c} dollars for a {x}.",
    "The {x} that {n} bought in {p} was {c} dollars.",
)


def a_price(rng: Random) -> str:
    whole = str(rng.randint(1, 10 ** rng.choice((1, 2, 2, 3)) - 1))
    return whole if rng.random() < 0.7 else f"{whole}.{rng.randint(1, 9)}{rng.choice('05')}"


def a_place(rng: Random) -> str:
    return rng.choice(TOWNS) if rng.random() < 0.7 else f"the {rng.choice(PLACES)}"


def record(rng: Random) -> Example:
    name, place, price = a_name(rng), a_place(rng), a_price(rng)
    thing = (
        rng.choice(GOODS) if rng.random() < 0.5 else f"{rng.choice(COLOURS)} {rng.choice(GOODS)}"
    )
    sentence = rng.choice(SENTENCES).format(n=name, p=place, c=price, x=thing)
    bare = place.removeprefix("the ")
    return Example(
        skill="record",
        question=rng.choice(ASK).format(s=sentence),
        scratchpad=f"person: {name}\nplace: {bare}\nprice: {price}",
        answer=f'{{"person": "{name}", "place": "{bare}", "price": {price}}}',
    )
