"""A judge with a form: what was said and what is true are both written as JSON, and compared.

The judge reads the true sentence and every answer at the same time, and fills in a form for each,
under a schema: what comes back are values, and no text to be searched for a grade.  The embedded
model was never taught to give grades, but it was taught to fill in this form; so the grade is the
share of its fields in which an answer agrees with the truth.

Source: Zheng et al., Judging LLM-as-a-Judge (NeurIPS 2023), whose reference-guided judge this is.

    python examples/judge.py
"""

from dataclasses import asdict, dataclass

from refimpl.lang import Done, Job, Local, State, program, run_sync
from refimpl.model.find import find_model
from refimpl.model.load import load

TRUTH = "The yellow radio that Henry bought in Cairo was 22 dollars."
ANSWERS = [
    "Henry lives in Cairo and paid 22 dollars for a radio.",
    "In Lima, Henry paid 22 dollars for a radio.",
    "Olga went to Cairo and bought a radio for 5 dollars.",
]


@dataclass(frozen=True)
class Purchase:
    person: str
    place: str
    price: float


@dataclass(frozen=True)
class Grade:
    form: Purchase
    agrees: list[str]

    @property
    def points(self) -> float:
        return len(self.agrees) / len(asdict(self.form))


@program
async def judge(p: State, truth: str, answers: list[str]) -> list[Grade]:
    p.system("Answer directly.")
    p.user("Extract the person, place and price as JSON: ")
    async with p.fork([truth, *answers]) as fork:
        fork.each(fill_in)
    right, *forms = fork.results
    return [grade(form, right) for form in forms]


async def fill_in(p: State, sentence: str) -> Purchase:
    p += sentence
    form = await p.gen("form", max_tokens=40, schema=Purchase)
    return form.value


def grade(form: Purchase, right: Purchase) -> Grade:
    truth = asdict(right)
    return Grade(form, [field for field, value in asdict(form).items() if value == truth[field]])


def jobs() -> list[Job[list[Grade]]]:
    return [judge.on(TRUTH, ANSWERS)]


def show(done: list[Done[list[Grade]]]) -> str:
    lines = [f"the truth: {TRUTH}"]
    for answer, given in zip(ANSWERS, done[0].result, strict=True):
        lines.append(
            f"{answer}\n    {given.form}\n    {given.points:.2f} ({', '.join(given.agrees)})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(show(run_sync(Local(load(find_model("tiny"))), jobs())))
