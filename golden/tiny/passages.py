"""A little world told in a few sentences, and questions about it.

Three or four people walk about and carry things.  A question is about where a person is, what a
person has, or (two steps) where a thing is.  The scratchpad names what is asked about, finds the
sentences that decide it, and tries the options one by one.
Only the last move of a person counts, so looking for a word is not enough.

>>> from random import Random
>>> example = choice_question(Random(8))
>>> print(example.question.replace(". ", ".\\n"), example.scratchpad, sep="\\n--\\n")
John went to the castle.
Irene ran to the bathroom.
Dakethes ran to the attic.
John has a pink lamp.
Irene has a yellow bag.
Dakethes found a red kite.
Dakethes is in the store.
Irene went to the station.
Where is the yellow bag?
A) castle
B) station
C) bathroom
--
the yellow bag
John went to the castle. no
Irene ran to the bathroom. no
Dakethes ran to the attic. no
John has a pink lamp. no
Irene has a yellow bag. yes
Irene went to the station.
A) castle no
B) station yes
>>> example.answer
'B'
"""

from dataclasses import dataclass, field
from random import Random

from golden.tiny.example import Example
from golden.tiny.words import COLOURS, OBJECTS, PLACES, some_names

MOVES = (
    "{p} went to the {x}.",
    "{p} is in the {x}.",
    "{p} walked to the {x}.",
    "{p} ran to the {x}.",
)
TAKES = ("{p} has a {x}.", "{p} took the {x}.", "{p} found a {x}.", "{p} is holding a {x}.")
OPTIONS = "ABCD"


@dataclass
class World:
    """Who is where and has what, and the sentence that last said so."""

    sentences: list[str] = field(default_factory=list)
    place: dict[str, str] = field(default_factory=dict)
    thing: dict[str, str] = field(default_factory=dict)
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)

    def move(self, rng: Random, person: str, place: str) -> None:
        self.place[person] = place
        self.visited.append(place)
        self.say(person, "place", rng.choice(MOVES).format(p=person, x=place))

    def take(self, rng: Random, person: str, thing: str) -> None:
        self.thing[person] = thing
        self.say(person, "thing", rng.choice(TAKES).format(p=person, x=thing))

    def say(self, person: str, what: str, sentence: str) -> None:
        self.sentences.append(sentence)
        self.told[person, what] = sentence


def a_world(rng: Random) -> World:
    """Everybody is placed and given one thing in some order; then one or two move again."""
    world, people = World(), some_names(rng, rng.choice((2, 3, 3, 4)))
    places, things = rng.sample(PLACES, len(people) + 2), rng.sample(OBJECTS, len(people))
    coloured = [f"{rng.choice(COLOURS)} {thing}" for thing in things]
    events = [(world.move, p, x) for p, x in zip(people, places, strict=False)]
    events += [(world.take, p, x) for p, x in zip(people, coloured, strict=True)]
    rng.shuffle(events)
    events += [
        (world.move, rng.choice(people), places[-1 - i]) for i in range(rng.choice((0, 1, 2)))
    ]
    for event, person, x in events:
        event(rng, person, x)
    return world


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A true statement of the world: its question, its value, its rivals and its evidence."""

    open_question: str
    closed_question: str  # has {x} where the value goes
    about: str
    value: str
    others: list[str]
    evidence: list[str]


def a_fact(rng: Random, world: World) -> Fact:
    person = rng.choice(list(world.place))
    thing, place = world.thing[person], world.place[person]
    has, went = world.told[person, "thing"], world.told[person, "place"]
    places = [x for x in PLACES if x != place]
    here = [x for x in world.visited if x != place]
    kind = rng.choice(("where is a person", "what has a person", "where is a thing"))
    if kind == "what has a person":
        others = list(world.thing.values())
        others += [f"{rng.choice(COLOURS)} {noun}" for noun in rng.sample(OBJECTS, 3)]
        return Fact(
            open_question=f"What does {person} have?",
            closed_question=f"Does {person} have the {{x}}?",
            about=person,
            value=thing,
            others=[x for x in others if x != thing],
            evidence=[has],
        )
    subject = person if kind == "where is a person" else f"the {thing}"
    return Fact(
        open_question=f"Where is {subject}?",
        closed_question=f"Is {subject} in the {{x}}?",
        about=subject,
        value=place,
        others=here + rng.sample(places, 3),
        evidence=[went] if subject == person else [*search(world.sentences, has), went],
    )


def search(sentences: list[str], wanted: str) -> list[str]:
    """Read from the start until the sentence that matters.

    A small model looks forwards well (what follows this name?) and backwards badly (whose is this
    thing?), so who has a thing is found by reading.
    """
    passed = sentences[: sentences.index(wanted)]
    return [f"{sentence} no" for sentence in passed] + [f"{wanted} yes"]


def closed_question(rng: Random) -> Example:
    """Yes or no, evenly."""
    world = a_world(rng)
    fact = a_fact(rng, world)
    asked = fact.value if rng.random() < 0.5 else rng.choice(fact.others)
    question = fact.closed_question.format(x=asked)
    return Example(
        skill="yesno",
        question=f"{' '.join(world.sentences)}\n{question}",
        scratchpad="\n".join([fact.about, *fact.evidence, f"{fact.value}, asked {asked}"]),
        answer="Yes" if asked == fact.value else "No",
    )


def choice_question(rng: Random) -> Example:
    """Three or four options, one right; the answer is its letter."""
    world = a_world(rng)
    fact = a_fact(rng, world)
    wrong = list(dict.fromkeys(fact.others))[: rng.choice((2, 3))]
    options = [fact.value, *wrong]
    rng.shuffle(options)
    listed = [f"{letter}) {x}" for letter, x in zip(OPTIONS, options, strict=False)]
    right = options.index(fact.value)
    tried = [f"{option} no" for option in listed[:right]] + [f"{listed[right]} yes"]
    return Example(
        skill="choice",
        question="\n".join([" ".join(world.sentences), fact.open_question, *listed]),
        scratchpad="\n".join([fact.about, *fact.evidence, *tried]),
        answer=OPTIONS[right],
    )
