"""What a vocabulary needs once, shared by all its constraints.

The tokens as tries (all of them; those without a quote, which never leave a string; those with
one), the tokens that fit into a string of any length, the automata that schemas have used so far,
and the inner parts of the masks of strings.
Making the tries is no part of compiling a schema; `bench/grammar_vocabularies.py` times it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int32, UInt32
from numpy import ndarray

from backends.numba import grammar_layout as g
from backends.numba.grammar_arrays import Header, address_of, signed
from backends.numba.grammar_numbers import NumberTables
from backends.numba.grammar_ready import compile_masks
from backends.numba.grammar_texts import TextTables
from refimpl.grammar.literal import Char, Part, Position, read
from refimpl.grammar.masks import Vocabulary, is_plain, pack
from refimpl.grammar.regex import Regexes
from refimpl.grammar.trie import Trie

BLOCK = 2048  # masks that are made room for at a time
MAX_TEXTS, MAX_INSIDE, MAX_ROWS = 50_000, 4096, 8192


def nodes_of(trie: Trie) -> Int32[ndarray, "nodes 4"]:
    """A trie as rows: first child, number of children, token, byte.  Row 0 is the root."""
    levels = trie.levels
    starts = np.cumsum([1, *(len(level.byte) for level in levels)])
    out = np.zeros((int(starts[-1]), g.NODE_COLUMNS), np.int32)
    out[0, g.V_TOKEN] = -1
    above, first = out[:1], starts
    for level, begin, end in zip(levels, first[:-1], first[1:], strict=True):
        counts = np.bincount(level.parent, minlength=len(above))
        above[:, g.V_COUNT] = counts
        above[:, g.V_FIRST] = begin + np.cumsum(counts) - counts
        above = out[begin:end]
        above[:, g.V_TOKEN], above[:, g.V_BYTE] = level.token, level.byte
    return out


class Rows:
    """Room for masks: blocks of rows that never move, the address of every row, and views."""

    def __init__(self, words: int):
        self.words = words
        self.addresses = np.zeros(0, np.int64)
        self.views: list[ndarray] = []  # each keeps its block

    def more(self) -> None:
        """One block more."""
        block = np.empty((BLOCK, self.words), np.uint32)
        places = address_of(block) + 4 * self.words * np.arange(BLOCK)
        self.addresses = np.concatenate([self.addresses, places])
        block.flags.writeable = False
        self.views.extend(block)


class Store:
    """Rows by what they depend on: `columns` numbers each, in `entries`, found by a table.

    Full, it grows to `most` rows, and then begins anew; BEFORE goes on counting, so that it gives
    a row a number that no other ever had.
    """

    def __init__(self, words: int, columns: int, most: int):
        self.columns, self.most = columns, most
        self.rows = Rows(words)
        self.facts = np.array([0, 0, 1, 1], np.int64)
        self.entries = np.zeros((0, columns), np.int64)
        self.more()

    @property
    def is_full(self) -> bool:
        return bool(self.facts[g.N_KEPT] == self.facts[g.ROOM])

    def more(self) -> None:
        """New arrays with more room; whoever still has the old ones finds them full, and asks."""
        n, before = int(self.facts[g.N_KEPT]), int(self.facts[g.BEFORE])
        if n >= self.most:
            self.rows, n, before = Rows(self.rows.words), 0, before + n
        self.rows.more()
        room = len(self.rows.addresses)
        entries = np.zeros((room, self.columns), np.int64)
        entries[:n] = self.entries[:n]
        buckets = 1 << (4 * room).bit_length()
        self.entries, self.table = entries, np.full(buckets, -1, np.int32)
        self.facts = np.array([n, room, buckets, before], np.int64)


@dataclass(eq=False)
class Shared:
    """What schemas have in common: automata, the algebra they are made in, and masks."""

    words: int
    numbers: NumberTables = field(default_factory=NumberTables)
    texts: TextTables = field(default_factory=TextTables)
    regexes: Regexes = field(default_factory=Regexes)
    inside: Store = field(init=False)
    masks: Store = field(init=False)
    constraints: int = 0  # how many have begun to share: a number for each

    def __post_init__(self) -> None:
        self.inside = Store(self.words, 2, MAX_INSIDE)
        self.masks = Store(self.words, g.ROW_COLUMNS, MAX_ROWS)

    def places(self) -> dict[int, ndarray]:
        """The arrays as they are now; they are replaced when they grow."""
        texts, rows, inside, masks = self.texts, self.texts.rows, self.inside, self.masks
        return {
            g.NUMBERS: self.numbers.table, g.TEXTS: texts.table.array, g.ASCII: rows.ascii,
            g.PIECES: rows.pieces.array, g.TEXT_FIRST: rows.first,
            g.INSIDE_ROWS: inside.rows.addresses, g.INSIDE_ENTRIES: inside.entries,
            g.INSIDE_TABLE: inside.table, g.INSIDE_FACTS: inside.facts,
            g.ROWS: masks.rows.addresses, g.ROW_ENTRIES: masks.entries,
            g.ROW_TABLE: masks.table, g.ROW_FACTS: masks.facts,
        }  # fmt: skip


class CompiledTries:
    """The tries and facts of a vocabulary, and what its constraints share."""

    def __init__(self, vocabulary: Vocabulary):
        compile_masks()
        tokens = vocabulary.tokens
        self.words = -(-len(tokens) // 32)
        self.whole = nodes_of(vocabulary.trie)
        self.rest = _part(tokens, lambda b: not is_plain(b))
        self.within = plain_within(tokens, vocabulary.trie.longest + 1)
        self.slice = self.within[-1]
        body, quoted = _part(tokens, lambda b: b'"' not in b), _part(tokens, lambda b: b'"' in b)
        escaped = _part(tokens, lambda b: b"\\" in b and b'"' not in b)
        self.shared = Shared(self.words)
        places = {
            g.WHOLE: self.whole, g.REST: self.rest, g.BODY: body, g.QUOTED: quoted,
            g.ESCAPED: escaped, g.WITHIN: self.within,
            g.PLAIN: self.slice, g.TWINS: np.ascontiguousarray(vocabulary.trie.twins, np.int32),
            g.STOPS: np.array(vocabulary.stops, np.int32),
            g.FOUND: np.zeros(len(tokens) + 1, np.int32),
            g.BYTES: np.frombuffer(bytearray(b"".join(tokens) or b" "), np.uint8),
            g.STARTS: np.cumsum([0, *map(len, tokens)]).astype(np.int32),
        }  # fmt: skip
        self.header = Header(g.PLACES)
        self.put(places)
        self.facts = np.zeros(g.FACTS_SIZE, np.int64)
        self.facts[g.LONGEST], self.facts[g.N_WORDS] = vocabulary.trie.longest, self.words
        self.facts[g.N_TWINS] = len(vocabulary.trie.twins)
        self.facts[g.N_STOPS] = len(vocabulary.stops)
        self.facts[g.CLOSED_BY :] = first_before_quotes(tokens)

    def put(self, places: dict[int, ndarray]) -> None:
        for place, array in places.items():
            self.header[place] = array

    def new_header(self) -> Header:
        """A header for one more constraint, with all that it shares."""
        self.put(self.current().places())
        return self.header.copy()

    def current(self) -> Shared:
        """What the next constraint shares; begun anew when it has grown large."""
        if len(self.shared.texts.states) > MAX_TEXTS:
            self.shared = Shared(self.words)
        return self.shared


def plain_within(tokens: Sequence[bytes], most: int) -> UInt32[ndarray, "lengths words"]:
    """Row n: the tokens that may stand in a string of which n characters are left, less escapes.

    A character counts as soon as its first byte was read.
    """
    counts = [sum(not 0x80 <= x < 0xC0 for x in b) if b and is_plain(b) else -1 for b in tokens]
    count = np.array(counts)
    return np.stack([pack((count >= 0) & (count <= n)) for n in range(most + 1)])


def first_before_quotes(tokens: Sequence[bytes]) -> list[int]:
    """The first character of those that tokens put before the quote which ends their string.

    128 bits for ASCII, and one more if there are others.
    """
    points = {_first_before_quote(b) for b in tokens if b'"' in b}
    low = sum(1 << p for p in points if 0 <= p < 128)
    return [*signed([low & (1 << 64) - 1, low >> 64]), int(any(p >= 128 for p in points))]


def _first_before_quote(token: bytes) -> int:
    """-1 if the token begins with the quote, or has none that ends a string."""
    position: Position = ()
    first = -1
    for byte in token:
        if byte == 0x22 and not position:
            return first
        match read(position, byte):
            case Char(point):
                position, first = (), point if first < 0 else first
            case Part(position, _):
                pass
            case _:
                break
    return -1


def _part(tokens: Sequence[bytes], keep: Callable[[bytes], bool]) -> Int32[ndarray, "nodes 4"]:
    return nodes_of(Trie.of([b if b and keep(b) else b"" for b in tokens]))
