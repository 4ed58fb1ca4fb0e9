"""Tree of thought: several ways to go on, the best of them go on again.

The problem takes two calculations, written out digit by digit.  A thought is one line of them.
From every text that is still in the race three thoughts are sampled; of all the new texts the two
stay whose thoughts the model itself finds most probable.  Each round forks from what the last one
left, so a line is computed once, however many thoughts grow from it.

Source: Yao et al., Tree of Thoughts (NeurIPS 2023), breadth-first; here the model's own probability
values a thought, where the paper asks the model for a grade.

    python examples/tree_of_thought.py
"""

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

PROBLEMS = {
    "Alice has 7 bags with 60 cakes in each and finds 32 more. "
    "How many cakes does Alice have?": 452,
    "A shop had 60 pencils. It sold 13 and then bought 49. "
    "How many pencils does the shop have now?": 96,
}
KEPT, THOUGHTS, DEPTH = 2, 3, 14


@program
async def solve(p: State, problem: str) -> str:
    p.user(problem)
    p.assistant("<think>\n")
    race = {"": 0.0}  # the scratchpads in the race, and how probable each is
    for _ in range(DEPTH):
        race = best(await grown(p, race))
        if all(pad.endswith("</think>\n") for pad in race):
            break
    p += next(iter(race))
    await p.gen("answer", max_tokens=8)
    return p["answer"]


async def grown(p: State, race: dict[str, float]) -> dict[str, float]:
    """Every scratchpad of the race with three new thoughts; one that is done stays as it is."""
    new = {pad: value for pad, value in race.items() if pad.endswith("</think>\n")}
    open_ = [pad for pad in race if pad not in new]
    async with p.fork(pad for pad in open_ for _ in range(THOUGHTS)) as fork:
        fork.each(think)
    for pad, (line, logprob) in zip(fork.items, fork.results, strict=True):
        new.setdefault(f"{pad}{line}\n", race[pad] + logprob)
    return new


async def think(p: State, pad: str) -> tuple[str, float]:
    p += pad
    line = await p.gen(max_tokens=16, stop="\n", temperature=1.0)
    return line.text, line.logprob


def best(race: dict[str, float]) -> dict[str, float]:
    return dict(sorted(race.items(), key=lambda entry: -entry[1])[:KEPT])


def jobs() -> list[Job[str]]:
    return [solve.on(problem) for problem in PROBLEMS]


def show(done: list[Done[str]]) -> str:
    return "\n\n".join(
        f"{one.text}\n(right: {n})" for one, n in zip(done, PROBLEMS.values(), strict=True)
    )


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
