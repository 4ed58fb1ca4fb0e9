"""Remembering what was worked out for a word, since text has few distinct words.

>>> lengths = Memory(lambda word: [len(word)])
>>> lengths["a"], lengths["bc"], len(lengths)
((1,), (2,), 2)
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(dict[str, tuple[T, ...]], Generic[T]):
    """Looks up, and works out what it does not find.  Full, it forgets everything; long words are
    not remembered."""

    CAPACITY = 1 << 16
    LONGEST = 64

    def __init__(self, work_out: Callable[[str], Iterable[T]]) -> None:
        self.work_out = work_out

    def __missing__(self, word: str) -> tuple[T, ...]:
        result = tuple(self.work_out(word))
        if len(word) <= self.LONGEST:
            if len(self) >= self.CAPACITY:
                self.clear()
            self[word] = result
        return result
