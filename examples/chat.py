"""A conversation of several turns: every turn finds all turns before it in the cache.

The engine keeps what it has computed, so a turn costs its own words and not the conversation's.
The handle of each answer says how many tokens of its prompt did not have to be computed.

    python examples/chat.py
"""

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.lang.handles import Handle
from refimpl.model.find import find_model
from refimpl.model.load import load

TURNS = ["Hello!", "What is 17 + 25?", "And what is 58 + 34?", "Thank you!"]


@program
async def converse(p: State, turns: list[str]) -> list[Handle]:
    p.system("Answer directly.")
    answers: list[Handle] = []
    for turn in turns:
        p.user(turn)
        answers.append(await p.gen(max_tokens=30))
    return answers


def jobs() -> list[Job[list[Handle]]]:
    return [converse.on(TURNS)]


def show(done: list[Done[list[Handle]]]) -> str:
    lines = [
        f"{turn}\n    {answer}\n    ({answer.n_cached} of {answer.n_prompt} tokens were cached)"
        for turn, answer in zip(TURNS, done[0].result, strict=True)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
