"""Self-consistency: ask several times, with chance, and believe the most frequent answer.

Samples of one prompt are a fork whose branches write nothing before they ask: the engine computes
the prompt once and draws the first token of each sample from the same logits.

Source: Wang et al., Self-Consistency Improves Chain of Thought Reasoning (ICLR 2023).

    python examples/self_consistency.py
"""

from collections import Counter

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

PROBLEMS = {
    "Luke has 75 kites, Trumen has 87 and Ella has 36. "
    "How many kites do they have together?": "198",
    "A shop had 60 pencils. It sold 13 and then bought 49. "
    "How many pencils does the shop have now?": "96",
}
SAMPLES, TEMPERATURE = 7, 1.6


@program
async def vote(p: State, problem: str) -> Counter[str]:
    p.user(problem)
    async with p.fork(SAMPLES) as fork:
        fork.each(answer)
    return Counter(fork.results)


async def answer(p: State, _: int) -> str:
    thought = await p.gen("thought", max_tokens=90, temperature=TEMPERATURE)
    return thought.text.rpartition("</think>")[2].strip()


def jobs() -> list[Job[Counter[str]]]:
    return [vote.on(problem) for problem in PROBLEMS]


def show(done: list[Done[Counter[str]]]) -> str:
    lines = []
    for (problem, right), one in zip(PROBLEMS.items(), done, strict=True):
        votes = ", ".join(f"{text or 'nothing'} x{n}" for text, n in one.result.most_common())
        lines.append(f"{problem}\nvotes: {votes}; right: {right}")
    return "\n\n".join(lines)


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
