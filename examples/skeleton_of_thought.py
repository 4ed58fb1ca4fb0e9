"""Skeleton of thought: first the points, one after the other; then all of them at length, at once.

The skeleton of a story is its first sentence, one from the middle, and the last.  Each branch gets
the whole skeleton and tells its own point at length.  Three paragraphs take as many steps as one.

Source: Ning et al., Skeleton-of-Thought (ICLR 2024).

    python examples/skeleton_of_thought.py
"""

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

OPENINGS = ["Once upon a time, there was a", "One day, the", "In the end, the"]


@program
async def tell(p: State) -> list[str]:
    for i, opening in enumerate(OPENINGS):
        p += opening
        await p.gen(f"point {i}", max_tokens=25, stop=".")
        p += ". "
    points = [opening + p[f"point {i}"] + "." for i, opening in enumerate(OPENINGS)]
    async with p.fork(points) as fork:
        fork.each(at_length)
    return fork.results


async def at_length(p: State, point: str) -> str:
    p += f"\n\n{point}"
    await p.gen("rest", max_tokens=30, stop="\n")
    return point + p["rest"]


def jobs() -> list[Job[list[str]]]:
    return [tell.on()]


def show(done: list[Done[list[str]]]) -> str:
    return "\n\n".join(done[0].result)


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
