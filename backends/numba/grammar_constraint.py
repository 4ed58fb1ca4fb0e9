"""A constraint whose state is three numbers, and whose masks and steps are one compiled call each.

It answers as `refimpl.grammar.constraint.Constraint` does, bit by bit.  Python is asked only when
a table entry is missing; the call is then repeated.  Documents that must remember text (items that
must be unique, members that are counted) stay with the machine: see `compile_json_schema`.
"""

from collections.abc import Sequence
from typing import Any

from backends.numba import grammar_layout as g
from backends.numba import grammar_masks as w
from backends.numba.grammar import NumbaMasks
from backends.numba.grammar_stacks import advance
from backends.numba.grammar_storage import MAX_STATES, State, Storage
from backends.numba.grammar_tables import Tables, is_set_of_strings
from backends.numba.grammar_vocabulary import CompiledTries
from refimpl.errors import InputError
from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.constraint import Constraint
from refimpl.grammar.json_grammar import JsonGrammar
from refimpl.grammar.json_states import Layout, Text
from refimpl.grammar.machine import END, Machine
from refimpl.grammar.masks import Mask, Vocabulary
from refimpl.grammar.schema import SchemaReader
from refimpl.grammar.shapes import Union

READY_FAMILIES = 128  # rows made while compiling; the others when a document comes to them
MORE_FAMILIES = 64  # and so many together
READY_TEXTS, READY_NUMBERS = 8, 6  # rows of an automaton that are made together


class CompiledConstraint(Storage):
    """A JSON grammar over a vocabulary.  Share one `CompiledTries` per vocabulary."""

    def __init__(self, grammar: JsonGrammar, vocabulary: Vocabulary, tries: CompiledTries):
        self.vocabulary, self.grammar = vocabulary, grammar
        super().__init__(tries)
        self.machine = machine = Machine(grammar)
        self.tables = Tables(grammar, machine, self.shared)
        self.facts[g.WHITE_SPACE] = grammar.layout.white_space
        self.known = [0, 0, 0, 0]  # how many locals, frames, specials, results are in the arrays
        root = self.tables.meaning(machine.locals[machine.start.local])
        self.tables.explore(0, READY_FAMILIES)
        self.refresh()
        self.start: State = (root, 0, 0)

    # --- what a request asks

    def mask(self, state: State) -> Mask:
        """The tokens allowed now, packed.  Read only."""
        known = self.lately.get(state)
        return self.find(state) if known is None else known

    def find(self, state: State) -> Mask:
        """The same for a state that did not come lately."""
        row = w.advance_and_mask(self.address, *state, w.STAY)[3]
        while row < 0:
            self.help(row)
            row = w.advance_and_mask(self.address, *state, w.STAY)[3]
        if len(self.lately) == MAX_STATES:
            self.lately.clear()
        mask: Mask = self.rows.views[row]
        self.lately[state] = mask
        return mask

    def advance(self, state: State, token: int) -> State:
        """The state after a token that the mask allows.  A stop token leaves the state as it is."""
        if self.facts[g.N_NODES] + self.spare > self.facts[g.SCRATCH]:
            self.make_nodes(2 * int(self.facts[g.SCRATCH]))
        after: State = advance(self.address, *state, token)
        while after[0] < 0:
            if after[0] == g.DEAD:
                return self.stay(state, token)
            self.help(after[0])
            after = advance(self.address, *state, token)
        return after if self.vocabulary.tokens[token] else self.stay(state, token)

    def stay(self, state: State, token: int) -> State:
        if token in self.vocabulary.stops and self.accepts(state):
            return state
        data = self.vocabulary.tokens[token]
        raise InputError(f"token {token} ({data!r}) is not allowed here; ask the mask first")

    def advance_and_mask(self, state: State, token: int) -> tuple[State, Mask]:
        """Both, in one compiled call where nothing is missing."""
        if self.facts[g.N_NODES] + self.spare <= self.facts[g.SCRATCH]:
            *after, row = w.advance_and_mask(self.address, *state, token)
            if row >= 0 and self.vocabulary.tokens[token]:
                return (after[0], after[1], after[2]), self.rows.views[row]
        new = self.advance(state, token)
        return new, self.mask(new)

    def accepts(self, state: State) -> bool:
        return bool(w.accepts(self.address, state[0], state[2]))

    def state_after(self, tokens: Sequence[int]) -> State:
        state = self.start
        for token in tokens:
            state = self.advance(state, token)
        return state

    # --- what compiled code cannot do

    def help(self, status: int) -> None:
        if status == g.FULL:
            self.more_room()
            return
        assert status == g.MISSING, "a frame that records belongs to the machine"
        needs = self.header[g.NEEDS][: self.facts[g.N_NEEDS]]
        for kind, a, b in dict.fromkeys(map(tuple, needs.tolist())):
            self.fill(kind, a, b)
        self.refresh()

    def fill(self, kind: int, a: int, b: int) -> None:
        """Makes one entry of a table."""
        match kind:
            case g.NEED_ROW:
                self.machine.code(a, b)
            case g.NEED_RESUME:
                self.machine.resume(a, b)
            case g.NEED_RESULT:
                self.machine.result(tuple(i for i in range(g.MAX_RESULTS) if a >> i & 1))
            case g.NEED_NUMBER:
                self.shared.numbers.explore(a, READY_NUMBERS)
            case g.NEED_TEXT:
                self.shared.texts.explore(a, READY_TEXTS, self.grammar)
            case g.NEED_FAMILY:
                self.tables.explore(a, MORE_FAMILIES)
            case g.NEED_MEMBER:
                new = len(self.tables.families.all)
                self.tables.groups.explore(a, b)
                self.tables.explore(new, MORE_FAMILIES)
            case g.NEED_NEXT:
                self.tables.groups.next(a, b)
            case g.NEED_PAIRS:
                self.make_pairs(2 * int(self.facts[g.PAIR_ROOM]))

    def refresh(self) -> None:
        """Puts into the arrays what the machine and the tables have learnt."""
        m, h = self.machine, self.header
        self.new_locals()
        _, frames, specials, results = self.known
        if frames < len(m.frames):
            records = self.roomy(g.RECORDS, len(m.frames))
            for n in range(frames, len(m.frames)):
                records[n] = not isinstance(m.frames[n], str) and m.frames[n].record
        if specials < len(m.specials):
            array = self.roomy(g.SPECIALS, len(m.specials))
            array[specials : len(m.specials)] = m.specials[specials:]
        for n in range(results, len(m.results)):
            self.new_result(n, m.results[n])
        self.known[1:] = len(m.frames), len(m.specials), len(m.results)
        h[g.TABLE], h[g.RESUMED] = m.table, m.resumed
        self.facts[g.RESULTS] = m.resumed.shape[1]
        for place, array in self.tables.places().items():
            h[place] = array
        self.share()

    def new_result(self, n: int, result: Any) -> None:
        """Results of values are sets of places in the family; labels of keys are others."""
        bits = self.roomy(g.RESULT_BITS, n + 1)
        if isinstance(result, tuple) and max(result) < g.MAX_RESULTS:
            bits[n] = sum(1 << i for i in result)
            known = int(self.facts[g.N_RESULT_IDS])
            self.roomy(g.RESULT_IDS, known + 1)[known] = bits[n], n
            self.facts[g.N_RESULT_IDS] = known + 1

    def new_locals(self) -> None:
        """A new local state may be a plain one, and its equals may be new local states."""
        m, reach = self.machine, self.vocabulary.trie.longest
        while self.known[0] < len(m.locals):
            n = self.known[0]
            local = m.locals[n]
            self.known[0] = n + 1
            self.roomy(g.MEANING, n + 1)[n] = self.tables.meaning(local)
            self.roomy(g.FINAL, n + 1)[n] = n != END and self.grammar.result(local) is not None
            alike = self.grammar.alike(local, reach) if isinstance(local, Text) else local
            self.roomy(g.ALIKE, n + 1)[n] = n if n == END else m.local(alike)
            self.roomy(g.OPEN, n + 1)[n] = n != END and self.grammar.is_open(local, reach)


def must_record(grammar: JsonGrammar) -> bool:
    """Whether some value of the schema is judged by its text, which only the machine keeps."""
    fit = grammar.fit
    unions = [grammar.reader.union(expr) for expr in fit.known()]
    compared = [a for u in unions for a in u.arrays if a.compares]
    if compared and not (
        all(is_set_of_strings(grammar, a) for a in compared) and all(map(_is_one_way, unions))
    ):
        return True
    for u in unions:
        for o in u.objects:
            if o.exists or o.lo > 1:
                return True
            if o.lo and None not in fit.plan(o).automaton.supply.values():
                return True
    return False


def _is_one_way(u: Union) -> bool:
    """Whether a value is read for one array or object at most, so that no two ever meet."""
    plain = not any(a.contains for a in u.arrays)
    return plain and len(u.arrays) < 2 and len(u.objects) < 2


def compile_json_schema(
    schema: Any,
    vocabulary: Vocabulary,
    tries: CompiledTries,
    *,
    options: SchemaOptions | None = None,
    layout: Layout | None = None,
) -> CompiledConstraint | Constraint:
    """Text that is one JSON document valid under the schema."""
    regexes = tries.current().regexes
    reader = SchemaReader(schema, options or SchemaOptions(), regexes)
    grammar = JsonGrammar(reader, layout or Layout())
    grammar.start()
    if must_record(grammar) or not grammar.layout.escapes:
        return Constraint(grammar, vocabulary, lambda m, v: NumbaMasks(m, v, tries))
    return CompiledConstraint(grammar, vocabulary, tries)


class SchemaCompiler:
    """`compile_json_schema` for whoever has one vocabulary: its tries are made once."""

    def __init__(self) -> None:
        self.vocabulary: Vocabulary | None = None

    def __call__(
        self, schema: Any, vocabulary: Vocabulary, *, layout: Layout | None = None
    ) -> CompiledConstraint | Constraint:
        if vocabulary is not self.vocabulary:
            self.vocabulary, self.tries = vocabulary, CompiledTries(vocabulary)
        return compile_json_schema(schema, vocabulary, self.tries, layout=layout)
