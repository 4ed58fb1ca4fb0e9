"""The examination: held-out questions, asked in each form, marked by exact comparison.

Three forms: *think* is a plain user turn (thinking is the default), *direct* adds the system
message "Answer directly.", *fast* opens the answer with an empty scratchpad.  Only what follows the
scratchpad counts, and it must equal the answer (as JSON where the answer is JSON).

Figures carry the 95 % interval of Wilson (1927), which stays inside [0, 1] and is honest at both.

>>> wilson(98, 100)
(0.93, 0.9945)
>>> correct("<think>\\n1+1=2\\n</think>\\n2", "2"), correct("<think>\\n1+1=2", "2")
(True, False)
"""

import json
from collections.abc import Callable
from random import Random

from tokenizers import Tokenizer

from golden.tiny.chat import DIRECTLY, render, without_thought
from golden.tiny.example import Example
from golden.tiny.skills import draw

FORMS = ("think", "direct", "fast")
Complete = Callable[[list[list[int]], int], list[list[int]]]
"""Greedy answers of at most so many tokens, without the token that ends them."""


def prompt(example: Example, form: str) -> str:
    system = [("system", DIRECTLY)] if form == "direct" else []
    return render([*system, ("user", example.question)], prompt=True, think=form != "fast")


def correct(said: str, answer: str) -> bool:
    final = without_thought(said).strip()
    if not answer.startswith("{"):
        return final == answer
    try:
        return bool(json.loads(final) == json.loads(answer))
    except ValueError:
        return False


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def examine(
    complete: Complete, tokenizer: Tokenizer, name: str, form: str, count: int, seed: int = 0
) -> dict:
    """Marks for one skill in one form, with the first few mistakes."""
    examples = draw(name, Random(f"exam {seed} {name}"), held=True, count=count)
    prompts = [e.ids for e in tokenizer.encode_batch([prompt(x, form) for x in examples])]
    replies = complete(prompts, 200 if form == "think" else 48)
    said = tokenizer.decode_batch(replies, skip_special_tokens=False)
    marks = [correct(text, example.answer) for text, example in zip(said, examples, strict=True)]
    wrong = [
        {"question": x.question, "answer": x.answer, "said": text}
        for x, text, mark in zip(examples, said, marks, strict=True)
        if not mark
    ]
    return {
        "skill": name,
        "form": form,
        "samples": count,
        "right": sum(marks),
        "share": round(sum(marks) / count, 4),
        "interval": wilson(sum(marks), count),
        "tokens": round(sum(map(len, replies)) / count, 1),
        "mistakes": wrong[:3],
    }
