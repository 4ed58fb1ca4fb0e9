"""The keywords of JSON Schema that assert something about one type, as shapes of that type."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from refimpl.errors import InputError
from refimpl.grammar.algebra import Algebra, possible_array
from refimpl.grammar.constants import But, ConstantSets
from refimpl.grammar.doubles import INFINITE
from refimpl.grammar.formats import format_language, outer_language
from refimpl.grammar.json_values import (
    KINDS,
    count,
    fraction,
    is_infinite,
    is_number,
    list_of,
    object_of,
    text_of,
)
from refimpl.grammar.number_sets import DIGITS, INTEGERS, NUMBERS, NumberSet
from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.regex_language import search
from refimpl.grammar.resources import Resources, Schema
from refimpl.grammar.shapes import (
    ANY_OBJECT,
    EVERY_KEY,
    LITERALS,
    NO_KEY,
    NOTHING,
    ArrayShape,
    Contains,
    Expr,
    Exprs,
    KeySet,
    ObjectShape,
    StringSet,
    Union,
)


@dataclass(frozen=True, kw_only=True)
class SchemaOptions:
    """`formats`: assert known formats, or read them as annotations as 2020-12 does by default.

    `resources` are documents that references may point to, by their URI.
    """

    formats: bool = True
    resources: Mapping[str, Schema] = field(default_factory=dict)


# Keywords that `assertions` reads; `types` reads "type", "const" and "enum".
ASSERTIONS = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "pattern", "format", "minLength", "maxLength",
    "items", "prefixItems", "additionalItems", "contains", "minContains", "maxContains",
    "minItems", "maxItems", "uniqueItems",
    "properties", "patternProperties", "additionalProperties", "propertyNames", "required",
    "minProperties", "maxProperties",
})  # fmt: skip
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


class Assertions:
    """Reads the assertions of one schema object; `SchemaReader` combines them with the rest.

    `tracks`: some schema asks what was evaluated, so alternatives must carry it.
    """

    def __init__(
        self, options: SchemaOptions, resources: Resources, tracks: bool, regexes: Regexes
    ):
        self.options, self.resources, self.tracks = options, resources, tracks
        self.r, self.e = regexes, Exprs()
        self.algebra = Algebra(self.r, self.e)
        self.constants = ConstantSets()
        self.patterns: dict[str, Node] = {}
        self._types: dict[tuple[str, ...], Union] = {}

    def const(self, value: Any) -> Expr:
        raise NotImplementedError  # a SchemaReader knows expressions

    def union(self, expr: Expr) -> Union:
        raise NotImplementedError

    def const_union(self, value: Any) -> Union:
        if value is None or isinstance(value, bool):
            return Union(literals=frozenset({json.dumps(value)}))
        if is_infinite(value):
            return Union(numbers=(beyond_doubles(value),))
        if isinstance(value, int | float | Fraction):
            return Union(numbers=(NumberSet(only=frozenset({fraction(value)})),))
        if isinstance(value, str):
            node = self.r.words([value])
            return NOTHING if node is self.r.EMPTY else Union(strings=(StringSet(node),))
        if isinstance(value, list):
            items = tuple(map(self.const, value))
            return Union(arrays=(ArrayShape(items, self.e.NONE, len(items), len(items)),))
        rules = {(KeySet(frozenset({k})), self.const(v)) for k, v in value.items()}
        rules.add((KeySet(frozenset(value)).others(), self.e.NONE))
        return Union(objects=(ObjectShape(frozenset(rules), frozenset(value)),))

    def unlike_union(self, but: But) -> Union:
        """All values but these constants; arrays and objects are told apart as they are written."""
        kinds = {k: self.constants.of_kind(but, k) for k in KINDS}
        literals = LITERALS.difference(*(part.values for part in kinds["literal"]))
        numbers = [v for part in kinds["number"] for v in part.values.values()]
        words = [part.values.values() for part in kinds["string"]]
        return Union(
            frozenset(literals),
            (without(numbers),),
            (StringSet(self.r.both(self.r.ALL, *(self.r.non(self.r.words(w)) for w in words))),),
            (self.algebra.any_array._replace(but=kinds["array"]),),
            (ANY_OBJECT._replace(but=kinds["object"]),),
        )

    def enum(self, values: list[Any]) -> Union:
        numbers = frozenset(fraction(v) for v in values if is_number(v) and not is_infinite(v))
        words = self.r.words(v for v in values if isinstance(v, str))
        rest = (v for v in values if not isinstance(v, str))
        unions = [self.const_union(v) for v in rest if not is_number(v) or is_infinite(v)]
        if numbers:
            unions.append(Union(numbers=(NumberSet(only=numbers),)))
        if words is not self.r.EMPTY:
            unions.append(Union(strings=(StringSet(words),)))
        return self.algebra.either(NOTHING, *unions)

    # --- one schema

    def types(self, schema: dict[str, Any]) -> Union:
        types = schema.get("type", "any")
        types = [types] if isinstance(types, str) else types
        if not isinstance(types, list) or any(t not in (*_TYPES, "any") for t in types):
            raise InputError(f"`type` {types!r:.60} names no JSON type")
        if "integer" in types and "draft-04" in self.resources.dialect_of(schema):
            types = [*types, "digits"]
        key = tuple(types)
        if key not in self._types:
            self._types[key] = self._union_of_types(key)
        u = self._types[key]
        if "const" in schema:
            u = self.algebra.both(u, self.const_union(schema["const"]))
        if "enum" in schema:
            u = self.algebra.both(u, self.enum(list_of(schema, "enum")))
        return u

    def _union_of_types(self, types: tuple[str, ...]) -> Union:
        """All values of these types; of integers only those spelled as digits, if that is said."""
        types = _TYPES if "any" in types else types
        literals = {"null"} if "null" in types else set()
        literals |= {"true", "false"} if "boolean" in types else set()
        integer = DIGITS if "digits" in types else INTEGERS
        numbers = (NUMBERS,) if "number" in types else (integer,) if "integer" in types else ()
        return Union(
            frozenset(literals),
            numbers,
            (self.algebra.any_string,) if "string" in types else (),
            (self.algebra.any_array,) if "array" in types else (),
            (ANY_OBJECT,) if "object" in types else (),
        )

    def numbers(self, schema: dict[str, Any]) -> tuple[NumberSet, ...]:
        out: NumberSet | None = None
        for part in list(self.bounds(schema)):
            out = part if out is None else out.both(part)
            if out is None:
                return ()
        return (out or NUMBERS,)

    def bounds(self, schema: dict[str, Any]) -> Iterator[NumberSet]:
        """What each keyword about numbers says."""
        for key, name in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            strict = schema.get(name) is True  # draft 4 has a flag beside the bound
            for bound, open_ in ((schema.get(key), strict), (schema.get(name), True)):
                if is_number(bound):
                    x = fraction(bound)
                    low = key == "minimum"
                    yield NumberSet(lo=x, lo_open=open_) if low else NumberSet(hi=x, hi_open=open_)
        if "multipleOf" in schema:
            step = schema["multipleOf"]
            if not is_number(step) or step <= 0:
                raise InputError(f"`multipleOf` must be a positive number, not {step!r:.60}")
            yield NumberSet(step=fraction(step))

    def string(self, schema: dict[str, Any]) -> StringSet | None:
        node, outer = self.r.ALL, None
        if "pattern" in schema:
            node = self.pattern(text_of(schema, "pattern"))
        if self.options.formats and isinstance(name := schema.get("format"), str):
            outer = outer_language(self.r, name)
            outer = self.r.both(node, outer) if outer else None
            node = self.r.both(node, format_language(self.r, name) or self.r.ALL)
        lo, hi = count(schema, "minLength"), count(schema, "maxLength")
        return self.algebra.string(node, lo or 0, hi, outer)

    def pattern(self, pattern: str) -> Node:
        if pattern not in self.patterns:
            self.patterns[pattern] = search(self.r, pattern)
        return self.patterns[pattern]

    def array(self, schema: dict[str, Any], sub: Callable[[Any], Expr]) -> ArrayShape | None:
        items, rest = schema.get("prefixItems", []), schema.get("items")
        if isinstance(rest, list):
            items, rest = rest, schema.get("additionalItems")
        prefix = tuple(map(sub, items))
        contains: set[Contains] = set()
        evaluated: set[Expr] = set()
        if "contains" in schema:
            lo, hi = count(schema, "minContains"), count(schema, "maxContains")
            expr = sub(schema["contains"])
            contains = {Contains(0, expr, 1 if lo is None else lo, hi)}
            if "2019-09" not in self.resources.dialect_of(schema):
                evaluated = {expr}
        shape = ArrayShape(
            prefix,
            self.e.ALL if rest is None else sub(rest),
            count(schema, "minItems") or 0,
            count(schema, "maxItems"),
            frozenset(c for c in contains if c.lo or c.hi is not None),
            schema.get("uniqueItems") is True,
        )
        if self.tracks:
            done = None if rest is not None else len(prefix)
            shape = shape._replace(evaluated=done, evaluated_items=frozenset(evaluated))
        return possible_array(shape)

    def object(self, schema: dict[str, Any], sub: Callable[[Any], Expr]) -> ObjectShape | None:
        named = object_of(schema, "properties")
        rules = [(KeySet(frozenset((k,))), sub(v)) for k, v in named.items()]
        by_pattern = object_of(schema, "patternProperties")
        patterns = {self.pattern(p): sub(v) for p, v in by_pattern.items()}
        known = KeySet(frozenset(named), frozenset(patterns))
        rules += [(KeySet(patterns=frozenset((p,))), e) for p, e in patterns.items()]
        evaluated = known
        if "additionalProperties" in schema:
            rules.append((known.others(), sub(schema["additionalProperties"])))
            evaluated = EVERY_KEY
        if "propertyNames" in schema:
            names = self.key_language(sub(schema["propertyNames"]))
            rules.append((KeySet(patterns=frozenset((names,))).others(), self.e.NONE))
        required = schema.get("required", [])
        required = required if isinstance(required, list) else []  # draft 3 has a flag here
        shape = ObjectShape(
            frozenset((k, e) for k, e in rules if e is not self.e.ALL),
            frozenset(k for k in required if isinstance(k, str)),
            count(schema, "minProperties") or 0,
            count(schema, "maxProperties"),
            evaluated=evaluated if self.tracks else NO_KEY,
        )
        return self.algebra.possible_object(shape)

    def key_language(self, expr: Expr) -> Node:
        """The keys that are valid strings under a schema."""
        sets = self.union(expr).strings
        counted = (self.r.both(s.node, self.r.repeat(self.r.ANY, s.lo, s.hi)) for s in sets)
        return self.r.alt(*counted)

    # --- keywords that apply schemas to the same value


def beyond_doubles(value: float) -> NumberSet:
    if value > 0:
        return NumberSet(lo=INFINITE, spelled="dotted")
    return NumberSet(hi=-INFINITE, spelled="dotted")


def without(values: list[Any]) -> NumberSet:
    """All numbers but those that are read as one of these."""
    lo = -INFINITE if -math.inf in values else None
    hi = INFINITE if math.inf in values else None
    finite = frozenset(fraction(x) for x in values if not is_infinite(x))
    return NumberSet(lo=lo, hi=hi, lo_open=lo is not None, hi_open=hi is not None, without=finite)
