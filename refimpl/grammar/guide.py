"""What a request carries: a constraint, and how far its own text has come.

`mask` is a function of the tokens written so far and of nothing else.  The states passed on the way
are kept, since the next question is nearly always about one more token; when the tokens differ from
those remembered (a draft was rejected, a request was taken up again), the states after the
difference are dropped and made anew.  That is all there is to rolling back.

`Asked` turns what users ask for (`SamplingParams`) into guides; it compiles a constraint once.

>>> from refimpl.grammar.masks import Vocabulary, unpack
>>> from refimpl.sampling import SamplingParams
>>> vocabulary = Vocabulary.of([b"</s>", b"y", b"n", b"es", b"o"], [0])
>>> guide = Asked(vocabulary).guide(SamplingParams(choice=("yes", "no")))
>>> [unpack(guide.mask(tokens), 5).nonzero()[0].tolist() for tokens in ([], [1], [1, 3], [2])]
[[1, 2], [3], [0], [4]]
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from refimpl.errors import InputError
from refimpl.grammar import ebnf, gbnf, lark, xml
from refimpl.grammar.cfg import CfgGrammar
from refimpl.grammar.constraint import Constraint, compile_json_schema
from refimpl.grammar.in_time import InTime, Needs
from refimpl.grammar.json_states import Layout
from refimpl.grammar.masks import Mask, Vocabulary
from refimpl.grammar.regex_grammar import choices, pattern
from refimpl.sampling import SamplingParams
from refimpl.sampling.params import CONSTRAINTS
from refimpl.text.tokenizer import Tokenizer


@runtime_checkable
class Constrains(Protocol):
    """What a guide asks of a constraint; states are values of any kind."""

    start: Any

    def mask(self, state: Any) -> Mask: ...

    def advance(self, state: Any, token: int) -> Any: ...


SchemaCompiler = Callable[..., Constrains]  # of a schema, a vocabulary and a `layout`


class Guide:
    """One text under a constraint."""

    def __init__(self, constraint: Constrains):
        self.constraint = constraint
        self.tokens: list[int] = []
        self.states: list[Any] = [constraint.start]  # states[n], after n tokens

    def mask(self, tokens: Sequence[int]) -> Mask:
        """What may come after these tokens."""
        return self.constraint.mask(self.state(tokens))

    def state(self, tokens: Sequence[int]) -> Any:
        same = _common(self.tokens, tokens)
        del self.tokens[same:], self.states[same + 1 :]
        for token in tokens[same:]:
            self.states.append(self.constraint.advance(self.states[-1], token))
            self.tokens.append(token)
        return self.states[-1]

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether these tokens could have been written."""
        try:
            self.state(tokens)
        except InputError:
            return False
        return True

    def fork(self) -> "Guide":
        """A guide for another text that begins alike; the constraint is shared."""
        other = Guide(self.constraint)
        other.tokens, other.states = list(self.tokens), list(self.states)
        return other

    def check(self) -> None:
        assert len(self.states) == len(self.tokens) + 1, "a state for every token and the start"


def _common(a: list[int], b: Sequence[int]) -> int:
    """The length of the common beginning; usually all of `a`."""
    if len(a) <= len(b) and list(b[: len(a)]) == a:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))


class Asked:
    """The constraints that users of one vocabulary asked for, each compiled once.

    `schema` compiles JSON Schemas; a backend may have a faster way, equal in every bit.
    """

    def __init__(self, vocabulary: Vocabulary, schema: SchemaCompiler = compile_json_schema):
        self.vocabulary, self.schema = vocabulary, schema
        self._made: dict[tuple[str, str, Layout], Constrains] = {}
        self._needs: dict[Constrains, Needs] = {}

    def guide(self, params: SamplingParams, limit: int | None = None) -> Guide | None:
        """A guide for one sequence of at most `limit` tokens, or None if it is free."""
        constraint = self.constraint(params)
        if constraint is None:
            return None
        if params.close_in_time:
            if constraint not in self._needs:
                self._needs[constraint] = Needs(constraint)
            needs = self._needs[constraint]
            constraint = InTime(needs, params.max_tokens if limit is None else limit)
        return Guide(constraint)

    def constraint(self, params: SamplingParams) -> Constrains | None:
        asked = [(name, getattr(params, name)) for name in CONSTRAINTS]
        name, what = next(((n, w) for n, w in asked if w is not None), ("", None))
        if not name:
            return None
        text = json.dumps(what) if not isinstance(what, str) else what
        layout = Layout(
            white_space=params.json_white_space,
            in_order=params.json_in_order,
            escapes=params.json_escapes,
        )
        key = (name, text, layout)
        if key not in self._made:
            self._made[key] = self._compile(name, what, layout)
        return self._made[key]

    def _compile(self, name: str, what: Any, layout: Layout) -> Constrains:
        match name:
            case "json_schema":
                return self.schema(read_schema(what), self.vocabulary, layout=layout)
            case "regex":
                return Constraint(pattern(what), self.vocabulary)
            case "choice":
                return Constraint(choices(what), self.vocabulary)
        return Constraint(read_grammar(what), self.vocabulary)


def read_grammar(text: str) -> CfgGrammar:
    """By its look: a brace begins a schema of XML elements, `::=` stands in GBNF and in W3C's EBNF.

    The two are told apart by `ebnf.is_ebnf`; the rest is Lark.
    """
    if text.lstrip().startswith("{"):
        return xml.grammar(read_schema(text))
    if "::=" not in text:
        return lark.grammar(text)
    return ebnf.grammar(text) if ebnf.is_ebnf(text) else gbnf.grammar(text)


def read_schema(schema: Any) -> Any:
    """A schema, or the text of one."""
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except ValueError as error:
        raise InputError(f"this schema is not JSON: {error}") from None


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The bytes of every token; markers have none, and those that end a text are the stops."""
    special, size = tokenizer.is_special, tokenizer.vocab_size
    tokens = [b"" if special(t) else tokenizer.token_bytes(t) for t in range(size)]
    if not tokenizer.eog_ids:
        raise InputError(
            "this tokenizer has no end-of-sequence token, so no text could be finished"
        )
    return Vocabulary.of(tokens, sorted(tokenizer.eog_ids))
