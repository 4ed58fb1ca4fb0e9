"""Where schemas are: base URIs, anchors and references (JSON Schema 2020-12 core, section 8 and 9).

A schema may name itself (`$id`), a place inside it (`$anchor`), and point elsewhere (`$ref`).  Only
keywords that hold schemas are searched for names; an `$id` inside `const` is data.

>>> schema = {"$defs": {"n": {"$anchor": "num", "type": "integer"}}, "$ref": "#num"}
>>> Resources(schema, {}).resolve(schema, "#num") is Resources(schema, {}).resolve(
...     schema, "#/$defs/n")
True
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from refimpl.errors import InputError, UnsupportedError

Schema = bool | dict[str, Any]

# What a keyword holds: a map of schemas, a list of them, or one.
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas",
         "dependencies")  # fmt: skip
_OTHERS = ("allOf", "anyOf", "oneOf", "prefixItems", "items", "additionalItems",
           "additionalProperties", "unevaluatedItems", "contains", "unevaluatedProperties",
           "propertyNames", "not", "if", "then", "else", "contentSchema")  # fmt: skip
_HOLDS_MAP = dict.fromkeys(_MAPS, True) | dict.fromkeys(_OTHERS, False)
_OWN = ("http://json-schema.org/", "https://json-schema.org/")
MAX_SCHEMAS = 200_000


def subschemas(schema: Schema) -> Iterator[Schema]:
    """The schemas directly inside a schema."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if (is_map := _HOLDS_MAP.get(key)) is None:
            continue
        if isinstance(value, dict):
            yield from (v for v in value.values() if isinstance(v, dict)) if is_map else (value,)
        elif isinstance(value, list) and not is_map:
            yield from (v for v in value if isinstance(v, dict))


class Resources:
    """Every named schema of a document and of the documents given beside it."""

    def __init__(self, root: Schema, others: Mapping[str, Schema]):
        self.base: dict[int, str] = {}
        self.documents: dict[str, Schema] = {}
        self.anchors: dict[tuple[str, str], Schema] = {}
        self.dynamic: dict[tuple[str, str], Schema] = {}
        self.dialects: dict[str, str] = {}
        self.unevaluated = False  # whether some schema asks what others looked at
        for uri, schema in others.items():
            self._enter(urldefrag(uri)[0], schema, "")
        self._enter("", root, "")

    def _enter(self, uri: str, schema: Schema, dialect: str) -> None:
        self.documents.setdefault(uri, schema)
        self._index(schema, uri, dialect)
        self.documents.setdefault(uri, schema)

    def _index(self, schema: Schema, base: str, dialect: str) -> None:
        todo = [(schema, base, dialect)]
        while todo:
            schema, base, dialect = todo.pop()
            if not isinstance(schema, dict) or id(schema) in self.base:
                continue
            if len(self.base) > MAX_SCHEMAS:
                raise UnsupportedError(f"a document of more than {MAX_SCHEMAS} schemas")
            dialect = known(str(schema.get("$schema", dialect)))
            base = self._named(schema, base, dialect)
            self.base[id(schema)] = base
            self.unevaluated |= "unevaluatedItems" in schema or "unevaluatedProperties" in schema
            self.dialects.setdefault(base, dialect)
            todo += [(s, base, dialect) for s in subschemas(schema)]

    def _named(self, schema: dict[str, Any], base: str, dialect: str) -> str:
        old = is_old(dialect)
        name = schema.get("id" if "draft-04" in dialect else "$id")
        if isinstance(name, str) and not (old and "$ref" in schema):
            uri, fragment = urldefrag(urljoin(base, name))
            if fragment and old:
                self.anchors[base, fragment] = schema
            if not (old and name.startswith("#")):
                base = uri
                self.documents[base] = schema
        for key, table in (("$anchor", self.anchors), ("$dynamicAnchor", self.anchors),
                           ("$dynamicAnchor", self.dynamic)):  # fmt: skip
            if isinstance(anchor := schema.get(key), str):
                table[base, anchor] = schema
        return base

    def base_of(self, schema: Schema) -> str:
        return self.base.get(id(schema), "")

    def dialect_of(self, schema: Schema) -> str:
        return self.dialects.get(self.base_of(schema), "")

    def resolve(self, schema: Schema, reference: str) -> Schema:
        """The schema that a reference inside `schema` points to."""
        return self.locate(self.base_of(schema), reference)

    def locate(self, base: str, reference: str) -> Schema:
        uri, fragment = urldefrag(urljoin(base, reference))
        if reference.startswith("#"):  # urljoin drops a fragment from bases it cannot parse
            uri, fragment = base, reference[1:]
        if uri not in self.documents:
            raise UnsupportedError(
                f"the schema refers to {uri or reference!r}, which is not in the document; "
                "pass that document beside it"
            )
        fragment = unquote(fragment)
        if not fragment:
            return self.documents[uri]
        if fragment.startswith("/"):
            return self._pointer(uri, fragment)
        if (uri, fragment) not in self.anchors:
            raise InputError(f"the schema has no anchor {fragment!r} in {uri or 'the document'}")
        return self.anchors[uri, fragment]

    def _pointer(self, uri: str, pointer: str) -> Schema:
        node: Any = self.documents[uri]
        base, dialect = uri, self.dialect_of(node)
        for part in pointer[1:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            base = self.base.get(id(node), base)
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise InputError(f"the schema has nothing at {pointer!r}") from None
        if not isinstance(node, bool | dict):
            raise InputError(f"the schema has no schema at {pointer!r}")
        self._index(node, base, dialect)
        return node


@lru_cache(maxsize=64)
def known(dialect: str) -> str:
    """The dialect, if it is one of JSON Schema's own; another may give keywords other meanings.

    >>> known("http://json-schema.org/draft-07/schema#")
    'http://json-schema.org/draft-07/schema#'
    """
    if dialect and not dialect.startswith(_OWN):
        raise UnsupportedError(
            f"the dialect {dialect:.200} (`$schema`): only json-schema.org's are known"
        )
    return dialect


@lru_cache(maxsize=64)
def is_old(dialect: str) -> bool:
    """Drafts 3 to 7, where `$ref` hides its siblings."""
    return any(f"draft-0{n}" in dialect for n in (3, 4, 6, 7))
