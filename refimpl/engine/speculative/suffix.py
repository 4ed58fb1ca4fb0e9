"""Prompt lookup of any length, a few operations a token: the text's suffix automaton.

The automaton of a text has a state for every set of places at which some of its substrings end; a
substring leads from the start to the state that knows where it ends.  It grows with the text, a
token at a time, at O(1) amortised, and has fewer than 2 n states.  The state of the whole text has
a *link*: its longest ending that also ended elsewhere.  That is the match to copy from, found with
no search at all.

    state.longest   the length of its longest substring
    state.link      the state of the longest ending that ends at more places
    state.first     where its substrings ended first

Source: Blumer et al., The Smallest Automaton Recognizing the Subwords of a Text (1985).  As a
drafter: Hu et al., SAM Decoding (2024).

>>> automaton = SuffixAutomaton()
>>> for token in (1, 2, 3, 9, 1, 2):
...     automaton.extend(token)
>>> automaton.match()                       # 1 2, which ended at place 1 before
(2, 1)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from refimpl.engine.request import Request
from refimpl.engine.speculative.ngram import copied
from refimpl.engine.speculative.proposer import Ask, is_gone
from refimpl.errors import InputError
from refimpl.sampling.verify import Draft


@dataclass(slots=True, eq=False)
class State:
    """Substrings that end at the same places."""

    longest: int
    first: int
    link: "State | None" = None
    next: "dict[int, State]" = field(default_factory=dict)


class SuffixAutomaton:
    """Every substring of a growing text."""

    def __init__(self) -> None:
        self.root = State(longest=0, first=-1)
        self.last = self.root  # the state of the whole text

    @property
    def n_tokens(self) -> int:
        return self.last.longest

    def extend(self, token: int) -> None:
        """One token more."""
        new = State(longest=self.n_tokens + 1, first=self.n_tokens)
        state: State | None = self.last
        while state is not None and token not in state.next:
            state.next[token] = new
            state = state.link
        new.link = self.root if state is None else self.split(state, token)
        self.last = new

    def split(self, state: State, token: int) -> State:
        """The state of `state`'s longest substring and the token, by itself.

        It may share one with longer substrings, which now end at fewer places than it does.
        """
        found = state.next[token]
        if found.longest == state.longest + 1:
            return found
        clone = State(
            longest=state.longest + 1, first=found.first, link=found.link, next=dict(found.next)
        )
        found.link = clone
        above: State | None = state
        while above is not None and above.next.get(token) is found:
            above.next[token] = clone
            above = above.link
        return clone

    def match(self) -> tuple[int, int]:
        """The longest ending that stood in the text before: its length, where it first ended."""
        link = self.last.link or self.root
        return link.longest, link.first


class Suffix:
    """The longest ending of the text that stands in it before, from `shortest` tokens on."""

    def __init__(self, *, shortest: int = 2) -> None:
        if shortest < 1:
            raise InputError(
                f"an ending of {shortest} tokens stands everywhere: ask for 1 at least"
            )
        self.shortest = shortest
        self.automata: dict[Request, SuffixAutomaton] = {}

    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        return [self.draft(request, n) for request, n in asks]

    def draft(self, request: Request, n: int) -> Draft | None:
        automaton = self.automata.setdefault(request, SuffixAutomaton())
        for token in request.tokens[automaton.n_tokens :]:
            automaton.extend(token)
        length, end = automaton.match()
        if length < self.shortest:
            return None
        return Draft(tokens=copied(request.tokens, end + 1, n))

    def forget_the_gone(self) -> None:
        for request in [request for request in self.automata if is_gone(request)]:
            del self.automata[request]
