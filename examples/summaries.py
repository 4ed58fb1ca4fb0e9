"""One text, two languages: each text is summed up in plain lines and in JSON, at the same time.

After the question the text forks.  One branch begins the answer as a scratchpad, and the model
writes a line for each thing it reads; the other begins it without one, and the model writes JSON
at once.  The question is computed once.

    python examples/summaries.py
"""

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

TEXTS = [
    "The yellow radio that Henry bought in Cairo was 22 dollars.",
    "A pink camera costs 2.80 dollars in Sydney, and Clara bought one.",
    "Olga went to Lima and bought a book for 5 dollars.",
]
BEGINNINGS = {"lines": "<think>\n", "json": "<think>\n\n</think>\n"}


@program
async def sum_up(p: State, text: str) -> dict[str, str]:
    p.user(f"Extract the person, place and price as JSON: {text}")
    async with p.fork(BEGINNINGS.values()) as fork:
        fork.each(write)
    return dict(zip(BEGINNINGS, fork["summary"], strict=True))


async def write(p: State, beginning: str) -> None:
    p.assistant(beginning)
    await p.gen("summary", max_tokens=40, stop="\n</think>")


def jobs() -> list[Job[dict[str, str]]]:
    return [sum_up.on(text) for text in TEXTS]


def show(done: list[Done[dict[str, str]]]) -> str:
    pairs = zip(TEXTS, done, strict=True)
    return "\n\n".join(
        f"{text}\n{one.result['lines']}\n{one.result['json']}" for text, one in pairs
    )


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
