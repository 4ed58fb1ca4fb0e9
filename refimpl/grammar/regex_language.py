"""Which texts a parsed pattern matches, as a node of the regex algebra.

Anchors and lookaround are positions, not characters, but they describe regular languages: a match
of `U (?=r) V` is a text u v with u in U, and v both in V and beginning with r.  So a sequence is
read from left to right, carrying the language of everything before (`left`); an assertion about
what follows intersects the right part, one about what came before intersects `left`.

After an assertion about what follows, the text left of it is out of reach.  An assertion about what
came before can then be decided only where something non-empty stands between the two; a pattern
that needs more is refused by name, and so is an assertion under an unbounded repeat.

>>> r = Regexes()
>>> code = search(r, "^(?!.*000)[0-9]{4}$", ECMA)
>>> r.matches(code, "1001"), r.matches(code, "1000")
(True, False)
>>> r.matches(search(r, r"\\bcat\\b", ECMA), "a cat sat"), r.matches(search(r, "b", ECMA), "abc")
(True, True)
"""

from refimpl.errors import UnsupportedError
from refimpl.grammar import charset as cs
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.regex_dialects import ECMA, Dialect
from refimpl.grammar.regex_syntax import Alt, Boundary, Chars, Look, Repeat, Seq, Tree, parse

__all__ = ["ECMA", "full_match", "search"]


def search(regexes: Regexes, pattern: str, dialect: Dialect = ECMA) -> Node:
    """Texts that hold a match anywhere, which is what JSON Schema's `pattern` asks."""
    key = (pattern, dialect)
    if key not in regexes.searched:
        reader = _Reader(regexes, dialect, pattern)
        tree = (parse(pattern, dialect),)
        regexes.searched[key] = reader.language(tree, regexes.ALL, regexes.ALL, True)
    return regexes.searched[key]


def full_match(regexes: Regexes, pattern: str, dialect: Dialect) -> Node:
    """Texts that match from the first character to the last."""
    reader = _Reader(regexes, dialect, pattern)
    return reader.language((parse(pattern, dialect),), regexes.EPS, regexes.EPS, True)


def _at_end(tree: Tree, by: Tree) -> Tree | None:
    """The tree with `by` in the place of `$`; None if it asserts anything else."""
    match tree:
        case Boundary("end"):
            return by
        case Boundary() | Look():
            return None
        case Repeat(body, lo, hi):
            body_ = _at_end(body, by)
            return None if body_ is None else Repeat(body_, lo, hi)
        case Seq() | Alt():
            parts = tree.items if isinstance(tree, Seq) else tree.options
            new = tuple(n for n in (_at_end(p, by) for p in parts) if n is not None)
            return type(tree)(new) if len(new) == len(parts) else None
    return tree


_WORD_BOUNDARIES = (Boundary("word"), Boundary("not_word"))


class _Reader:
    def __init__(self, regexes: Regexes, dialect: Dialect, pattern: str):
        self.r, self.dialect, self.pattern = regexes, dialect, pattern

    def language(self, items: tuple[Tree, ...], left: Node, tail: Node, known: bool) -> Node:
        """left . items . tail; `known` says that `left` is all of the text before the items."""
        while items:
            head, items = items[0], items[1:]
            match head:
                case Seq():
                    items = head.items + items
                case _ if (node := self.plain(head)) is not None:
                    left = self.r.cat(left, node)
                case Alt():
                    options = [self.language((o, *items), left, tail, known) for o in head.options]
                    return self.r.alt(*options)
                case Repeat() if head.hi is None and (inner := self.before_end(head.body)):
                    last = Seq((Repeat(inner, max(head.lo - 1, 0), None), head.body))
                    ways = ((Repeat(inner, head.lo, None), *items), (last, *items))
                    return self.r.alt(*(self.language(w, left, tail, known) for w in ways))
                case Repeat():
                    counts = self.unrolled(head)
                    bodies = [(head.body,) * n for n in counts]
                    return self.r.alt(
                        *(self.language((*b, *items), left, tail, known) for b in bodies)
                    )
                case Look(ahead=False):
                    left = self.behind(head, left, known)
                case Boundary("start"):
                    left = self.at_start(left, known)
                case _:
                    if not known and left.nullable and head in _WORD_BOUNDARIES:
                        raise self.refuse("a word boundary after another assertion")
                    known = known and left is self.r.EPS
                    right = self.language(items, self.r.EPS, tail, known)
                    return self.r.alt(
                        *(self.r.cat(a, self.r.both(b, right)) for a, b in self.split(head, left))
                    )
        return self.r.cat(left, tail)

    def plain(self, tree: Tree) -> Node | None:
        """The language of a tree without assertions; None if it has one."""
        match tree:
            case Chars():
                return self.r.set(tree.set)
            case Repeat():
                body = self.plain(tree.body)
                return None if body is None else self.r.repeat(body, tree.lo, tree.hi)
            case Seq() | Alt():
                parts = tree.items if isinstance(tree, Seq) else tree.options
                nodes = [n for n in map(self.plain, parts) if n is not None]
                if len(nodes) < len(parts):
                    return None
                return self.r.sequence(nodes) if isinstance(tree, Seq) else self.r.alt(*nodes)
        return None

    def before_end(self, body: Tree) -> Tree | None:
        """The body of a repeat as every round but the last must match it, if `$` is all it asserts.

        After a `$` that held nothing can follow, so no other round does unless the body can be
        empty; then the answer is None.
        """
        inner, ended = _at_end(body, Chars(())), _at_end(body, Seq(()))
        if inner is None or ended is None:
            return None
        node = self.plain(ended)
        return inner if node is not None and not node.nullable else None

    def unrolled(self, tree: Repeat) -> range:
        if tree.hi is None or tree.hi > 8:
            raise self.refuse("an assertion under a long repeat")
        return range(tree.lo, tree.hi + 1)

    def refuse(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{what} in the pattern {self.pattern[:80]!r}")

    def at_start(self, left: Node, known: bool) -> Node:
        if not known and left.nullable:
            raise self.refuse("^ after another assertion")
        return self.r.both(left, self.r.EPS) if known else self.r.EMPTY

    def behind(self, look: Look, left: Node, known: bool) -> Node:
        body = self.plain(look.body)
        if body is None:
            raise self.refuse("an assertion inside a lookbehind")
        if not known and (left.nullable or body.kind != "set"):
            raise self.refuse("a lookbehind after another assertion")
        ends = self.r.cat(self.r.ALL, body)
        return self.r.both(left, self.r.non(ends) if look.negative else ends)

    def split(self, tree: Tree, left: Node) -> list[tuple[Node, Node]]:
        """The pairs (before, after) of languages that an assertion allows around its position."""
        r = self.r
        match tree:
            case Look():
                ahead = self.language((tree.body,), r.EPS, r.ALL, left is r.EPS)
                return [(left, r.non(ahead) if tree.negative else ahead)]
            case Boundary("end"):
                return [(left, r.EPS)]
            case Boundary("line_end"):
                return [(left, r.optional(r.set(cs.of("\n"))))]
        return self.word_boundary(tree == Boundary("word"), left)

    def word_boundary(self, differs: bool, left: Node) -> list[tuple[Node, Node]]:
        r, word = self.r, self.r.set(self.dialect.word)
        before, after = r.cat(r.ALL, word), r.cat(word, r.ALL)
        in_word, out_of_word = r.both(left, before), r.both(left, r.non(before))
        pairs = [(in_word, r.non(after)), (out_of_word, after)]
        if not differs:
            pairs = [(in_word, after), (out_of_word, r.non(after))]
        return pairs
