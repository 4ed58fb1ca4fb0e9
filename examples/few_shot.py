"""A few-shot benchmark with `select`: examples first, then a question, then which option fits best.

All questions share the examples.  Whoever comes first computes them, the others find them; and the
options of one question share all of it and cost a token or two each.

    python examples/few_shot.py
"""

from refimpl.lang import Choice, Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

STORY = (
    "Bill is holding a yellow bell. Helen went to the attic. Daisy took the purple boat. "
    "Daisy ran to the school. Bill walked to the cave. Helen went to the bathroom."
)
OTHER = "Pete is in the school. Bobby went to the zoo. Bobby ran to the store."
SHOTS = [
    (f"{STORY}\nIs Bill in the cave?", "Yes"),
    (f"{STORY}\nIs Helen in the attic?", "No"),
]
QUESTIONS = [
    (f"{STORY}\nIs Helen in the bathroom?", "Yes"),
    (f"{STORY}\nIs Daisy in the cave?", "No"),
    (f"{STORY}\nDoes Daisy have the purple boat?", "Yes"),
    (f"{STORY}\nDoes Bill have the purple boat?", "No"),
    (f"{OTHER}\nIs Bobby in the store?", "Yes"),
    (f"{OTHER}\nIs Bobby in the zoo?", "No"),
]
OPTIONS = ["Yes", "No"]


@program
async def ask(p: State, question: str) -> Choice:
    p.system("Answer directly.")
    for shot, answer in SHOTS:
        p.user(shot)
        p.assistant(answer)
    p.user(question)
    return await p.select(OPTIONS, method="token_length")


def jobs() -> list[Job[Choice]]:
    return [ask.on(question) for question, _ in QUESTIONS]


def show(done: list[Done[Choice]]) -> str:
    lines = []
    n_right = 0
    for (question, right), one in zip(QUESTIONS, done, strict=True):
        asked = question.rpartition("\n")[2]
        yes, no = one.result.scores
        lines.append(f"{asked:35} {one.result!s:4} (Yes {yes:.2f}, No {no:.2f})")
        n_right += one.result.text == right
    return "\n".join([*lines, f"{n_right} of {len(QUESTIONS)} right"])


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
