"""How long work tells that it goes on: whoever wants to know passes a `Track`.

A simulation is a list of cases.  It runs `for case in track(cases)`, so a caller can hand in
`rich.progress.track`, and everybody else gets the cases and no more.

>>> list(untracked([3, 1]))
[3, 1]
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Track = Callable[[Sequence[Any]], Iterable[Any]]


def untracked(cases: Sequence[Any]) -> Iterable[Any]:
    return cases
