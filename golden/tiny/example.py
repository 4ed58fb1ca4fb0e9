"""One question with its answer, and what to write down between the two."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Example:
    """`answer` alone is the direct form; `scratchpad` then `answer` the form with thinking."""

    skill: str
    question: str
    scratchpad: str
    answer: str
    key: str = ""
    """What the question is about, whatever its wording; empty: the wording counts."""

    @property
    def subject(self) -> str:
        """What decides whether the question is held out."""
        return self.key or self.question
