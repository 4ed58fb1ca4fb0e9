"""Ending in time: a text that is complete when its tokens run out.

A token is allowed only if what it leaves open can be closed with the tokens that then remain
(`closing`): its state's rest must have no more bytes than tokens are left.  The first byte of a
rest leads to a state whose own rest is a byte shorter.  So if every byte is a token, some token
keeps it so: once a text can be closed in time, it will be.

What every token needs does not depend on how many are left, so it is worked out once for a state,
and shared by all requests: tokens that lead to the same state are counted together.  With as many
tokens left as the worst of them needs, the mask is the constraint's own.

A text that must differ from others makes a state for each token.  These are walked as one state
that has forgotten the text (`unread`), so that only the tokens to which the text matters are looked
at one by one, and nothing is remembered of the texts that a mask only tried.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar.charset import ALL
from refimpl.grammar.closing import Closing
from refimpl.grammar.constraint import Constraint
from refimpl.grammar.json_states import Text
from refimpl.grammar.machine import Machine, State
from refimpl.grammar.masks import MAX_RECENT, Mask, Vocabulary, Walk, is_plain, is_utf8, pack
from refimpl.grammar.trie import Trie

NEVER = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Need:
    """What the tokens of one state leave to be written: of each token its group, of those the
    bytes.  The last two groups are of what cannot come, and of the stops."""

    group: Int32[ndarray, " tokens"]
    bytes: Int32[ndarray, " groups"]
    most: int

    def within(self, left: int) -> Mask:
        return pack((self.bytes <= left)[self.group])


class Needs:
    """The needs of one constraint's states, shared by its requests.

    `constraint` may be compiled by a backend, which then reads its machine's tables as it knows
    them; so what is learnt here goes into a machine of its own.
    """

    def __init__(self, constraint: Any):
        self.is_plain = isinstance(constraint, Constraint)
        machine = constraint.machine
        self.machine: Machine = machine if self.is_plain else Machine(machine.grammar)
        self.constraint, self.closing = constraint, Closing(self.machine)
        tokens = constraint.vocabulary.tokens
        if len({t for t in tokens if len(t) == 1}) < 256:
            raise UnsupportedError("closing in time needs a vocabulary with every byte as a token")
        self.stops = np.zeros(len(tokens), bool)
        self.stops[list(constraint.vocabulary.stops)] = True
        plain = [bool(t) and is_plain(t) and is_utf8(t, whole=True) for t in tokens]
        self.plain = np.array(plain)
        others = (b"" if p else t for p, t in zip(plain, tokens, strict=True))
        self.trie, self.others = constraint.vocabulary.trie, Trie.of(list(others))
        self._known: dict[State, Need] = {}

    def of(self, state: State) -> Need:
        if state not in self._known:
            if len(self._known) > MAX_RECENT:
                self._known.clear()
            self._known[state] = self._of(state)
        return self._known[state]

    def _of(self, state: State) -> Need:
        plain, rest = self._after_plain(state), self.closing.rest(state)
        trie, vocabulary = self.trie if plain is None else self.others, self.constraint.vocabulary
        start = State(state.local, state.stack)
        alike = self.closing.whatever_was_read if state.text is None else each_by_itself
        group, states = where_tokens_lead(self.machine, start, vocabulary, trie, alike)
        needs = [self.bytes_of(s) for s in states]
        if state.text is not None:
            needs += self._of_others(state, group, states)
        if plain is not None:
            group[self.plain] = len(needs)
            needs.append(self.bytes_of(plain))
        if rest:  # whose first byte leads to a state that knows its own rest, see `follow`
            group[vocabulary.byte_tokens[rest[0]]] = len(needs)
            needs.append(len(rest) - 1)
        group[group < 0] = len(needs)
        group[self.stops] = len(needs) + 1
        return Need(
            group=group,
            bytes=np.array([*needs, NEVER, -NEVER], np.int32),
            most=max(needs, default=0),
        )

    def _of_others(
        self, state: State, group: Int32[ndarray, " tokens"], states: list[State]
    ) -> list[int]:
        """The needs of tokens to which the text of `state` matters; each is now its own group."""
        tokens = self.constraint.vocabulary.tokens
        needs: list[int] = []
        for token in np.flatnonzero(group >= 0).tolist():
            after = states[group[token]]
            if not self.closing.suits(state, tokens[token], after):
                group[token] = len(states) + len(needs)
                moved = self.machine.advance(state, tokens[token])
                needs.append(NEVER if moved is None else self.bytes_of(moved))
        return needs

    def follow(self, state: State, data: bytes) -> State:
        """The state after a token, which then needs no more than it was said to need."""
        rest, moved = self.closing.rest(state), self.machine.advance(state, data)
        assert moved is not None, "the constraint allowed this token"
        if rest is not None and rest.startswith(data):
            self.closing.keep(moved, rest[len(data) :])
        elif state.text is not None:
            after = self.machine.advance(State(state.local, state.stack), data)
            assert after is not None, "what was forgotten only forbids"
            end = self.closing.rest(after)
            if end is not None and self.closing.suits(state, data, after):
                self.closing.keep(moved, end)
        return moved

    def bytes_of(self, state: State) -> int:
        rest = self.closing.rest(state)
        return NEVER if rest is None else len(rest)

    def _after_plain(self, state: State) -> State | None:
        """Where plain characters lead if that is one state: inside a string of any text."""
        local = self.machine.locals[state.local]
        if not isinstance(local, Text) or local.position or not _is_any_text(local):
            return None
        return state if state.text is None else self.closing.whatever_was_read(state)


def _is_any_text(local: Text) -> bool:
    return all(
        node.kind == "repeat" and node.args[0].args == (ALL,) and not lo and hi is None
        for _, node, lo, hi in local.threads
    )


def each_by_itself(state: State) -> None:
    """What `where_tokens_lead` is given where no state may speak for others."""


def where_tokens_lead(
    machine: Machine,
    start: State,
    vocabulary: Vocabulary,
    trie: Trie,
    whatever_was_read: Callable[[State], State | None],
) -> tuple[Int32[ndarray, " tokens"], list[State]]:
    """Of each token in the trie the index of the state it leads to, or -1; and these states.

    One state may speak for several that read different texts (`whatever_was_read`).
    """
    walk, found = Walk(machine, start), []
    at, context = np.array([start.local], np.int32), np.zeros(1, np.int32)
    for level in trie.levels:
        at, context = walk.descend(at, context, level)
        ends = np.flatnonzero((at >= 0) & (level.token >= 0))
        found.append(np.stack([level.token[ends], at[ends], context[ends]], axis=1))
        if not (at >= 0).any():
            break
    tokens, locals_, contexts = np.concatenate([np.zeros((0, 3), np.int32), *found]).T
    group = np.full(trie.size, -1, np.int32)
    numbers: dict[State, int] = {}
    pairs, inverse = np.unique(np.stack([locals_, contexts]), axis=1, return_inverse=True)
    for i, (local, c) in enumerate(pairs.T.tolist()):
        stack, text, begun = walk.contexts[c]
        members = tokens[inverse.reshape(-1) == i]
        texts = [] if text is None else [text + vocabulary.tokens[t][begun:] for t in members]
        alike = whatever_was_read(State(local, stack, texts[0])) if texts else State(local, stack)
        if alike is not None:
            group[members] = numbers.setdefault(alike, len(numbers))
            continue
        for token, read in zip(members.tolist(), texts, strict=True):  # each its own text
            group[token] = numbers.setdefault(State(local, stack, read), len(numbers))
    group[trie.twins[:, 1]] = group[trie.twins[:, 0]]
    return group, list(numbers)


class InTime:
    """A constraint whose texts are complete after `limit` tokens.

    A state is the constraint's, the machine's beside it, and the number of tokens left.
    """

    def __init__(self, needs: Needs, limit: int):
        self.needs, self.constraint = needs, needs.constraint
        self.machine, self.vocabulary = needs.machine, needs.constraint.vocabulary
        need = needs.bytes_of(self.machine.start)
        if need > limit:
            known = f"needs {need} tokens" if need < NEVER else "cannot be shown to end"
            raise InputError(f"this constraint {known}; max_tokens leaves {limit}")
        self.start = (self.constraint.start, self.machine.start, limit)

    def mask(self, state: tuple[Any, State, int]) -> Mask:
        inner, own, left = state
        mask: Mask = self.constraint.mask(inner)
        need = self.needs.of(own)
        return mask if need.most < left else mask & need.within(left - 1)

    def advance(self, state: tuple[Any, State, int], token: int) -> tuple[Any, State, int]:
        inner, own, left = state
        after = self.constraint.advance(inner, token)
        data = self.vocabulary.tokens[token]
        return after, self.needs.follow(own, data) if data else own, left - 1
