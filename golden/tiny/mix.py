"""What the model reads: rows of 1025 tokens, each token marked as to be learnt or only to be read.

Two streams.  *Stories* repeat: an epoch is every training story once, three in four as plain text
and one in four as the answer to a request.  *Skills* never repeat: each document is a fresh
conversation of one to three questions.  What users say is read, not learnt: there is nothing to
learn in a random number.

The rows are uint16.  A vocabulary of at most 4096 leaves bits free, and bit 15 says "learn this".

Invariant: a skill document is never cut (an answer without its question would teach guessing), and
row k of a seed is the same on every machine.
"""

from random import Random

import numpy as np
from numpy import ndarray
from tokenizers import Tokenizer

from golden.tiny.chat import (
    ASK_ANY_STORY,
    ASK_STORY,
    BOS,
    CONTINUE,
    DIRECTLY,
    END,
    STEP_BY_STEP,
    careless,
    render,
    reply,
    small_talk,
)
from golden.tiny.corpus import held_out
from golden.tiny.skills import SKILLS
from golden.tiny.words import STORY_NOUNS

ROW = 1025  # 1024 inputs and, one to the right, 1024 targets
LEARN = 1 << 15

# How often each skill is asked, and how often in the direct form.
WEIGHT = {
    "add": 13, "subtract": 13, "step": 4, "word": 12, "sort": 8, "count": 9, "compare": 7,
    "record": 7, "yesno": 13, "choice": 15, "talk": 2,
}  # fmt: skip
DIRECT = {"add": 0.12, "subtract": 0.12}
DIRECT_OTHERWISE = 0.25

Piece = tuple[str, bool]  # text, learn it?
Document = list[Piece]


def story_document(rng: Random, story: str) -> Document:
    """A story as it is, or as the answer to somebody who asked for it."""
    if rng.random() < 0.75:
        return [(BOS, False), (story + BOS, True)]
    request, answer = story_request(rng, story)
    system = system_turn(rng, rng.choice((None, None, True, False)))
    think = rng.random() < 0.8
    prompt = render([*system, ("user", request)], prompt=True, think=think)
    return [(prompt, False), (answer + END, True)]


def story_request(rng: Random, story: str) -> tuple[str, str]:
    """A request that this story answers: about its main noun, or to go on from its opening."""
    nouns = sorted(
        {word for word in story.split() if word in STORY_NOUNS and story.count(word) > 2}
    )
    kind = rng.random()
    if kind < 0.25:
        opening, stop, rest = story.partition(". ")
        return rng.choice(CONTINUE).format(x=opening + stop.rstrip()), rest or story
    if kind < 0.45 or not nouns:
        return careless(rng, rng.choice(ASK_ANY_STORY)), story
    noun = rng.choice(nouns)
    article = "an" if noun[0] in "aeiou" else "a"
    return careless(rng, rng.choice(ASK_STORY).format(x=f"{article} {noun}")), story


def system_turn(rng: Random, think: bool | None) -> list[tuple[str, str]]:
    """A system message that asks for a form (True: think), or says nothing about it (None)."""
    asked = {True: STEP_BY_STEP, False: DIRECTLY, None: ""}[think]
    polite = rng.choice(("", "", "You are a helpful assistant."))
    text = " ".join(part for part in (polite, asked) if part)
    return [("system", text)] if text else []


def skill_document(rng: Random) -> Document:
    """One to three questions in one conversation, one form throughout; the last answer is learnt.

    Half of the direct ones are asked for by the system message, half by an empty scratchpad.
    """
    lead = rng.choices(list(WEIGHT), list(WEIGHT.values()))[0]
    think = rng.random() >= DIRECT.get(lead, DIRECT_OTHERWISE)
    by_template = not think and rng.random() < 0.5
    by_system = not by_template and (not think or rng.random() < 0.3)
    turns = system_turn(rng, think if by_system else None)
    pieces: Document = []
    for i in range(rng.choice((1, 1, 1, 1, 1, 1, 2, 3))):
        name = lead if i == 0 else rng.choice([n for n in WEIGHT if think or n not in DIRECT])
        question, answer = exchange(rng, name, think)
        turns.append(("user", question))
        prompt = render(turns, prompt=True, think=not by_template)
        pieces = [(prompt, False), (answer + END, True)]
        turns.append(("assistant", answer))
    return pieces


def exchange(rng: Random, name: str, think: bool) -> tuple[str, str]:
    if name == "talk":
        return small_talk(rng)
    while held_out((example := SKILLS[name](rng)).subject):
        pass
    plain = name in ("add", "subtract", "sort", "count", "compare")
    question = careless(rng, example.question) if plain else example.question
    return question, reply(example, think=think)


def encode(tokenizer: Tokenizer, documents: list[Document]) -> list[ndarray]:
    """Documents as marked tokens.  Pieces meet only where no token can span them."""
    pieces = [piece for document in documents for piece in document]
    encoded = tokenizer.encode_batch([text for text, _ in pieces])
    marked = iter(
        np.array(tokens.ids, np.uint16) | np.uint16(LEARN * learn)
        for tokens, (_, learn) in zip(encoded, pieces, strict=True)
    )
    return [np.concatenate([next(marked) for _ in document]) for document in documents]


def pack(documents: list[ndarray]) -> ndarray:
    """Whole documents side by side, the rest of a row padded with unlearnt <|endoftext|>."""
    rows: list[ndarray] = []
    row, used = np.zeros(ROW, np.uint16), 0
    for document in documents:
        if used + len(document) > ROW:
            rows.append(row)
            row, used = np.zeros(ROW, np.uint16), 0
        row[used : used + len(document)] = document[:ROW]
        used += len(document)
    return np.stack(rows)  # the last, unfinished row is left out


def cut(documents: list[ndarray]) -> ndarray:
    """Documents end to end, cut into rows wherever a row ends."""
    stream = np.concatenate(documents)
    return stream[: len(stream) // ROW * ROW].reshape(-1, ROW)


def skill_rows(tokenizer: Tokenizer, seed: int, n_documents: int = 4000) -> ndarray:
    rng = Random(f"skills {seed}")
    return pack(encode(tokenizer, [skill_document(rng) for _ in range(n_documents)]))


def story_rows(tokenizer: Tokenizer, stories: list[str], epoch: int) -> ndarray:
    rng = Random(f"stories {epoch}")
    shuffled = rng.sample(stories, len(stories))
    return cut(encode(tokenizer, [story_document(rng, story) for story in shuffled]))
