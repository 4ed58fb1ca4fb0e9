"""The words that generated questions are made of: people, things, places, and names nobody has.

Two hundred names would be learnt by heart, and a model that knows two hundred names cannot copy the
name it is given.  `invented_name` supplies the others: a fifth of all names are made of syllables.

>>> from random import Random
>>> [invented_name(Random(seed)) for seed in range(4)]
['Zapus', 'Drapas', 'Faten', 'Drukil']
"""

from random import Random

# ruff: noqa: SIM905  (word lists read better as text)
GIRLS = (
    "Lily Mia Lucy Anna Amy Jane Sara Sally Daisy Lila Molly Jill Bella Mary Emma Luna Mimi Jenny "
    "Rose Lisa Ella Polly Tina Grace Lola Betty Emily Millie Penny Julie Nora Ruth Clara Alice Eva "
    "Ivy Zoe Maya Nina Laura Helen Olga Rita Vera Wendy Hannah Sophie Chloe Irene Paula"
).split()
BOYS = (
    "Tim Tom Ben Max Sam Bob Jack Timmy John Joe Billy Tommy Leo Mark Jake Jimmy Andy Jim Bobby "
    "Pete Benny Teddy Fred Peter Dave Toby Bill Charlie Henry Mike Danny George Oscar Felix Hugo "
    "Ivan Omar Paul Carl Erik Noah Adam Luke Simon Victor Walter Ray Dan Will Gus"
).split()
THINGS = (
    "apples balls books blocks stickers shells cookies pencils flowers marbles stones cards cups "
    "toys eggs pears buttons coins leaves candies stars beads kites boxes carrots berries nuts "
    "cakes hats keys"
).split()
FOOD = "apples cookies eggs pears carrots berries nuts cakes".split()
OBJECTS = (
    "ball book kite doll hat cup key box bell drum car boat bag rope map lamp cake apple flower "
    "bucket spoon toy robot blanket"
).split()
COLOURS = "red blue green yellow pink white black brown purple gray".split()
PLACES = (
    "park kitchen garden school bedroom forest store library cave tower zoo barn castle yard attic "
    "bathroom market museum hospital station"
).split()
TOWNS = (
    "Paris London Rome Berlin Madrid Vienna Oslo Dublin Lisbon Athens Prague Warsaw Cairo Lima "
    "Boston Chicago Dallas Denver Miami Seattle Tokyo Sydney Delhi Toronto Geneva Milan Kyoto "
    "Quebec Bergen Porto"
).split()
GOODS = (
    "hat book bike lamp chair coat watch camera phone guitar kite clock table bag ring scarf vase "
    "radio drum tent mirror blanket desk puzzle"
).split()
ANIMALS = (
    "cat dog bird fish cow pig duck horse frog bee ant fox bear lion mouse rabbit owl goat sheep "
    "hen"
).split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Nouns a child may ask a story about; used only where the story speaks of them.
STORY_NOUNS = frozenset(
    (
        "tree bird ball cat dog boy toy box water girl sun garden door car house forest kitchen "
        "store slide cake pond rock game book fish bug boat bear hill rabbit frog beach key "
        "window truck flower rain mouse doll squirrel sea lake river farm sand butterfly hat "
        "secret bag fence fire mud button balloon doctor bee bell chair cave ladder letter apple "
        "nap farmer train treasure bunny duck jar star gift basket rainbow lion fox puzzle "
        "blanket kite castle princess bottle monster song tower puddle puppy pool bike bus snow "
        "dragon horse bowl nest cage leaf bucket monkey village cup mirror stone moon cookie owl "
        "playground kitten map teacher jungle cow plant elephant turtle robot wizard pirate ship "
        "plane crayon drum spider snake pig sheep goat wolf tiger whale dolphin ocean mountain "
        "bridge park swing sandwich soup cheese banana carrot lemon orange grape cherry bread "
        "candy ice sister brother grandma grandpa king queen knight witch fairy giant clown cook "
        "baker painter"
    ).split()
)

ONSETS = "b d f g k l m n p r s t v z ch sh th br dr tr st".split()
VOWELS = "a e i o u".split()


def invented_name(rng: Random) -> str:
    """Two or three open syllables, sometimes closed: a name the model can only copy."""
    syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((2, 2, 3)))]
    return ("".join(syllables) + rng.choice(("", "", "n", "s", "l"))).capitalize()


def a_name(rng: Random) -> str:
    return invented_name(rng) if rng.random() < 0.2 else rng.choice(GIRLS + BOYS)


def some_names(rng: Random, count: int) -> list[str]:
    """`count` different names."""
    names: list[str] = []
    while len(names) < count:
        if (name := a_name(rng)) not in names:
            names.append(name)
    return names
