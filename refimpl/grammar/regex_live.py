"""Whether a language holds any word, which intersections and complements hide.

Every other expression is live unless it is EMPTY.  An alternative is live if one of its parts is, a
concatenation if both are.  An intersection of a plain language with bounds on the length, which is
what `pattern` beside `maxLength` makes, is decided by counting: the lengths of its words.  What is
left is searched for an accepting state of its automaton.

Compiling refuses a search that passes its limit.  Later, while a text is written, there is none:
the states are finitely many, and no text may be given up halfway.
"""

from typing import TYPE_CHECKING, Any

from refimpl.errors import UnsupportedError

if TYPE_CHECKING:
    from refimpl.grammar.regex import Node, Regexes


def is_live(r: "Regexes", node: "Node", limit: int | None) -> bool:
    if node.live is None:
        found = glance(r, node)
        if found is None and node.kind == "cat":
            found = all(is_live(r, part, limit) for part in node.args)
        elif found is None and node.kind == "alt":
            found = any(is_live(r, part, limit) for part in node.args)
        elif found is None and node.kind == "repeat":
            found = is_live(r, node.args[0], limit)
        node.live = search(r, node, limit) if found is None else found
    return node.live


def glance(r: "Regexes", node: "Node") -> bool | None:
    """The answer if it needs no search, else None."""
    if node.live is not None or node.nullable:
        return node.live is not False
    if not node.boolean or node is r.EMPTY:
        return node is not r.EMPTY
    return by_length(r, node) if node.kind == "both" else None


def by_length(r: "Regexes", node: "Node") -> bool | None:
    """An intersection of one plain language and bounds on the length, by its shortest word."""
    counts = [n for n in node.args if n.kind == "repeat" and n.args[0] is r.ANY]
    others = [n for n in node.args if n not in counts]
    if len(others) != 1 or others[0].boolean or any(n.args[1] for n in counts):
        return None
    return all(n.args[2] is None or shortest(r, others[0]) <= n.args[2] for n in counts)


def shortest(r: "Regexes", node: "Node") -> int:
    """The length of the shortest word of a language without intersections and complements."""
    if node not in r.shortest:
        r.shortest[node] = _shortest(r, node)
    return r.shortest[node]


def _shortest(r: "Regexes", node: "Node") -> int:
    match node.kind:
        case "eps":
            return 0
        case "set":
            return 1
        case "words":
            return min(map(len, node.args))
        case "cat":
            return sum(shortest(r, n) for n in node.args)
        case "alt":
            return min(shortest(r, n) for n in node.args)
    return int(node.args[1]) * shortest(r, node.args[0])


def search(r: "Regexes", start: "Node", limit: int | None) -> bool:
    """The definition: some state that can be reached accepts."""
    came_from: dict[Node, Node | None] = {start: None}
    todo = [start]
    while todo:
        node = todo.pop()
        for _, n in r.row(node):
            if n in came_from or n.live is False:
                continue
            came_from[n] = node
            found = glance(r, n)  # looked at now, before a long way past it is taken
            if found:
                _mark_path(n, came_from)
                return True
            if found is None:
                todo.append(n)
        if limit is not None and len(came_from) > limit:
            raise UnsupportedError(
                f"a combination of patterns needs more than {limit} states; "
                "simplify the patterns or their repeat counts"
            )
    for node in came_from:
        node.live = False
    return False


def _mark_path(end: "Node", came_from: dict[Any, Any]) -> None:
    node = end
    while node is not None:
        node.live, node = True, came_from[node]
