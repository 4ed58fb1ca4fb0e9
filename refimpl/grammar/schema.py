"""JSON Schema, keyword by keyword, as unions of shapes.

Source: JSON Schema 2020-12, Core and Validation, with the keywords of 2019-09 and of drafts 4 to 7
where a document declares them (and `dependencies`, `definitions`, tuple `items` always).  Each
keyword is a union of shapes that says nothing about the other types; a schema is their
intersection.  What has no shape is refused by name, here, before any text is generated.

`evaluated`.  `unevaluatedProperties` asks which members the other keywords looked at, and that
depends on which branches held.  Every alternative carries that set.  With `anyOf`, several branches
may hold at once, so their intersections become alternatives of their own; an alternative that
claims less than it could only forbids more, so the union stays exact.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

from refimpl.errors import InputError, UnsupportedError
from refimpl.grammar.assertions import ASSERTIONS, Assertions, SchemaOptions
from refimpl.grammar.json_values import (
    list_of,
    object_of,
    text_of,
)
from refimpl.grammar.regex import Regexes
from refimpl.grammar.resources import Resources, Schema, is_old
from refimpl.grammar.shapes import (
    EVERY_KEY,
    LITERALS,
    NOTHING,
    ArrayShape,
    Expr,
    KeySet,
    ObjectShape,
    Union,
)

_REFUSED = ("$recursiveRef",)
_DEPENDENCIES = ("dependencies", "dependentRequired", "dependentSchemas")
_APPLICATORS = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "not", "if", *_DEPENDENCIES})


class OpenExpressionError(UnsupportedError):
    """The shapes of an expression were asked for while they were being worked out."""


class SchemaReader(Assertions):
    """Turns expressions about one document into unions of shapes, on demand, once each.

    Schemas may share `regexes`: patterns that return are then known already.
    """

    def __init__(self, root: Any, options: SchemaOptions, regexes: Regexes | None = None):
        if not isinstance(root, bool | dict):
            raise InputError(f"a schema is true, false or an object, not {root!r:.60}")
        resources = Resources(root, options.resources)
        super().__init__(options, resources, resources.unevaluated, regexes or Regexes())
        self.root = root
        self.schemas: dict[int, Schema] = {}
        self.unions: dict[Expr, Union] = {}
        self.open: set[Expr] = set()
        self.dynamic = bool(self.resources.dynamic)

    def start(self) -> Expr:
        return self.expr(self.root, ())

    # --- expressions

    def expr(self, schema: Any, scope: tuple[str, ...]) -> Expr:
        passed: set[int] = set()
        while isinstance(schema, dict) and self.is_alias(schema) and id(schema) not in passed:
            passed.add(id(schema))
            scope = self.scope(schema, scope)
            schema = self.resources.resolve(schema, text_of(schema, "$ref"))
        if isinstance(schema, bool) or schema == {}:
            return self.e.NONE if schema is False else self.e.ALL
        if not isinstance(schema, dict):
            raise InputError(f"a schema is true, false or an object, not {schema!r:.60}")
        self.schemas[id(schema)] = schema
        return self.e.leaf("schema", id(schema), self.scope(schema, scope))

    def is_alias(self, schema: dict[str, Any]) -> bool:
        return "$ref" in schema and (len(schema) == 1 or self.is_old(schema))

    def scope(self, schema: dict[str, Any], scope: tuple[str, ...]) -> tuple[str, ...]:
        """The resources passed on the way here, outermost first: what `$dynamicRef` looks at."""
        if not self.dynamic:
            return scope
        base = self.resources.base_of(schema)
        return scope if base in scope else (*scope, base)

    def is_old(self, schema: Schema) -> bool:
        return is_old(self.resources.dialect_of(schema))

    def const(self, value: Any) -> Expr:
        return self.e.leaf("const", self.constants.text(value))

    def union(self, expr: Expr) -> Union:
        """The shapes of an expression."""
        known = self.unions.get(expr)
        if known is not None:
            return known
        if expr in self.open:
            raise OpenExpressionError("a schema that refers to itself with no value in between")
        self.open.add(expr)
        try:
            self.unions[expr] = self._union(expr)
        finally:
            self.open.discard(expr)
        return self.unions[expr]

    def _union(self, expr: Expr) -> Union:
        match expr.kind:
            case "all":
                return self.algebra.everything
            case "none":
                return NOTHING
            case "not":
                return self.algebra.non(self.union(expr.args[0]))
            case "or":
                return self.algebra.either(*map(self.union, expr.args))
            case "and":
                return self.meet(map(self.union, expr.args))
        if expr.args[0] == "const":
            return self.const_union(self.constants.value[expr.args[1]])
        if expr.args[0] == "unlike":
            return self.unlike_union(expr.args[1])
        _, key, scope = expr.args
        return self.keywords(self.schemas[key], scope)

    def meet(self, unions: Any) -> Union:
        out = self.algebra.everything
        for u in unions:
            out = self.algebra.both(out, u)
        return out

    # --- constants

    def keywords(self, schema: Schema, scope: tuple[str, ...]) -> Union:
        if isinstance(schema, bool):
            return self.algebra.everything if schema else NOTHING
        sub: Callable[[Any], Expr] = lambda s: self.expr(s, scope)
        if self.is_alias(schema):
            return self.union(self.reference(schema, scope))
        for key in _REFUSED:
            if key in schema:
                raise UnsupportedError(f"the keyword {key}; use $dynamicRef")
        out = self.types(schema)
        if not ASSERTIONS.isdisjoint(schema):
            out = self.algebra.both(out, self.assertions(schema, sub, out))
        if not _APPLICATORS.isdisjoint(schema):
            for union in self.applicators(schema, sub, scope):
                out = self.algebra.both(out, union)
        if "oneOf" in schema:
            out = self.one_of([sub(s) for s in list_of(schema, "oneOf")], out)
        return self.unevaluated(schema, out, sub)

    def assertions(self, schema: dict[str, Any], sub: Callable[[Any], Expr], types: Union) -> Union:
        """What the schema asserts about values of these types."""
        string = self.string(schema) if types.strings else None
        array = self.array(schema, sub) if types.arrays else None
        object_ = self.object(schema, sub) if types.objects else None
        return Union(
            LITERALS,
            self.numbers(schema) if types.numbers else (),
            (string,) if string else (),
            (array,) if array else (),
            (object_,) if object_ else (),
        )

    def applicators(
        self, schema: dict[str, Any], sub: Callable[[Any], Expr], scope: tuple[str, ...]
    ) -> "list[Union]":
        out: list[Union] = []
        if "$ref" in schema:
            out.append(self.union(self.reference(schema, scope)))
        if "$dynamicRef" in schema:
            out.append(self.union(self.dynamic_reference(schema, scope)))
        out += [self.union(sub(s)) for s in list_of(schema, "allOf")]
        if "anyOf" in schema:
            out.append(self.any_of([sub(s) for s in list_of(schema, "anyOf")]))
        if "not" in schema:
            out.append(self.union(self.e.non(sub(schema["not"]))))
        if "if" in schema:
            out.append(self.condition(schema, sub))
        out += self.dependencies(schema, sub)
        return out

    def reference(self, schema: dict[str, Any], scope: tuple[str, ...]) -> Expr:
        return self.expr(self.resources.resolve(schema, text_of(schema, "$ref")), scope)

    def dynamic_reference(self, schema: dict[str, Any], scope: tuple[str, ...]) -> Expr:
        """A reference to the outermost resource that declares the same dynamic anchor."""
        reference = text_of(schema, "$dynamicRef")
        target = self.resources.resolve(schema, reference)
        anchor = reference.partition("#")[2]
        if isinstance(target, dict) and target.get("$dynamicAnchor") == anchor:
            for base in scope:
                if (base, anchor) in self.resources.dynamic:
                    target = self.resources.dynamic[base, anchor]
                    break
        return self.expr(target, scope)

    def any_of(self, options: list[Expr]) -> Union:
        unions = [self.union(e) for e in options]
        if self.tracks and len({_evaluated(u) for u in unions}) > 1:
            if len(unions) > 6:
                raise UnsupportedError("unevaluated* beside an anyOf of more than six branches")
            sizes = range(1, len(unions) + 1)
            groups = (g for n in sizes for g in combinations(unions, n))
            return self.algebra.either(*(self.meet(g) for g in groups))
        return self.algebra.either(*unions)

    def one_of(self, options: list[Expr], context: Union) -> Union:
        """Exactly one: each branch without those others that it overlaps, given the rest."""
        branches = [self.pruned(self.algebra.both(context, self.union(e))) for e in options]
        out = []
        for i, branch in enumerate(branches):
            for j, e in enumerate(options):
                if j != i and not self.are_disjoint(branch, branches[j]):
                    other = self.algebra.non(self.union(e))
                    branch = self.pruned(self.algebra.both(branch, other))
            out.append(branch)
        return self.algebra.either(NOTHING, *out)

    def are_disjoint(self, u: Union, v: Union) -> bool:
        return self.pruned(self.algebra.both(u, v)).is_empty()

    def pruned(self, u: Union, depth: int = 3) -> Union:
        """Without arrays and objects that a small search shows to be empty."""
        return u._replace(
            arrays=tuple(a for a in u.arrays if not self._no_array(a, depth)),
            objects=tuple(o for o in u.objects if not self._no_object(o, depth)),
        )

    def _no_array(self, a: ArrayShape, depth: int) -> bool:
        return any(self._no_value(a.item(i), depth) for i in range(min(a.lo, len(a.prefix) + 1)))

    def _no_object(self, o: ObjectShape, depth: int) -> bool:
        return any(
            self._no_value(self.e.both(*(e for k, e in o.rules if k.has(key, self.r))), depth)
            for key in o.required
        )

    def _no_value(self, expr: Expr, depth: int) -> bool:
        if expr is self.e.NONE or depth == 0 or expr is self.e.ALL:
            return expr is self.e.NONE
        try:
            return self.pruned(self.union(expr), depth - 1).is_empty()
        except OpenExpressionError:
            return False  # part of what is being worked out: nothing is known about it yet

    def condition(self, schema: dict[str, Any], sub: Callable[[Any], Expr]) -> Union:
        test = sub(schema["if"])
        then, other = sub(schema.get("then", True)), sub(schema.get("else", True))
        yes = self.algebra.both(self.union(test), self.union(then))
        no = self.algebra.both(self.union(self.e.non(test)), self.union(other))
        return self.algebra.either(yes, no)

    def dependencies(self, schema: dict[str, Any], sub: Callable[[Any], Expr]) -> list[Union]:
        pairs = [(k, v) for key in _DEPENDENCIES for k, v in object_of(schema, key).items()]
        return [self.dependency(k, v, sub) for k, v in pairs]

    def dependency(self, key: str, then: Any, sub: Callable[[Any], Expr]) -> Union:
        absent = ObjectShape(rules=frozenset({(KeySet(frozenset({key})), self.e.NONE)}))
        without = self.algebra.everything._replace(objects=(absent,))
        if isinstance(then, str | list):
            needed = frozenset([then] if isinstance(then, str) else then)
            present = self.algebra.everything._replace(objects=(ObjectShape(required=needed),))
        else:
            has_key = ObjectShape(required=frozenset({key}))
            required = self.algebra.everything._replace(objects=(has_key,))
            present = self.algebra.both(self.union(sub(then)), required)
        return self.algebra.either(without, present)

    def unevaluated(self, schema: dict[str, Any], u: Union, sub: Callable[[Any], Expr]) -> Union:
        if "unevaluatedProperties" in schema:
            other = sub(schema["unevaluatedProperties"])
            u = u._replace(objects=tuple(self._close_object(o, other) for o in u.objects))
        if "unevaluatedItems" in schema:
            other = sub(schema["unevaluatedItems"])
            u = u._replace(arrays=tuple(self._close_array(a, other) for a in u.arrays))
        return u

    def _close_object(self, o: ObjectShape, other: Expr) -> ObjectShape:
        if o.evaluated == EVERY_KEY:
            return o
        rules = {(o.evaluated.others(), other)} if other is not self.e.ALL else set()
        return o._replace(rules=o.rules | rules, evaluated=EVERY_KEY)

    def _close_array(self, a: ArrayShape, other: Expr) -> ArrayShape:
        if a.evaluated is None:
            return a
        n = max(a.evaluated, len(a.prefix))
        allowed = self.e.either(other, *sorted(a.evaluated_items))
        prefix = tuple(
            a.item(i) if i < a.evaluated else self.e.both(a.item(i), allowed) for i in range(n)
        )
        return a._replace(prefix=prefix, rest=self.e.both(a.rest, allowed), evaluated=None)


def _evaluated(u: Union) -> tuple[frozenset[Any], frozenset[Any]]:
    return (
        frozenset(o.evaluated for o in u.objects),
        frozenset((a.evaluated, a.evaluated_items) for a in u.arrays),
    )
