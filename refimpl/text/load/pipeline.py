"""The `normalizer` and `pre_tokenizer` of a tokenizer.json, as this project's steps and splits.

Both are trees of small objects, `{"type": "Sequence", "normalizers": [...]}` down to `{"type":
"NFC"}`. What cannot be expressed is an error that names it: to ignore a step would give plausible
wrong ids.

Source: Hugging Face tokenizers, `normalizers/` and `pre_tokenizers/`.

>>> read_pre_tokenizer({"type": "Digits", "individual_digits": True}).splits[0].pattern
'\\\\p{N}'
>>> read_normalizer({"type": "Prepend", "prepend": "▁"}).space_prefix
'always'
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.text.errors import TokenizerError
from refimpl.text.load.jsonfile import typed
from refimpl.text.normalizing import LONGEST_REPLACEMENT, UNICODE_FORMS
from refimpl.text.pretokenizers import GPT2
from refimpl.text.splitting import Behavior, Split
from refimpl.text.strangers import stranger
from refimpl.text.vocabulary import ESCAPE_SPACES, SPACE, SpacePrefix

Tree = dict[str, Any]
DEEPEST = 8
BEHAVIORS: dict[str, Behavior] = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]"
"""tokenizers counts all ASCII punctuation, of which `\\p{P}` leaves out these nine."""
ASCII_ONLY = re.compile(r"[\[\]0-9A-Za-z{},+*?|()-]*")
"""Patterns that mean the same on bytes written in the byte alphabet as on text."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a tree says, or a part of one."""

    steps: tuple[tuple[str, ...], ...] = ()
    splits: tuple[Split, ...] = ()
    space_prefix: SpacePrefix = "never"
    byte_level: bool = False

    def then(self, other: "Preparation") -> "Preparation":
        """This one's work, followed by the other's."""
        if self.byte_level and not all(ASCII_ONLY.fullmatch(s.pattern) for s in other.splits):
            raise UnsupportedError("this tokenizer cuts text after it was turned into bytes")
        prefixes: list[SpacePrefix] = [self.space_prefix, other.space_prefix]
        if "never" not in prefixes and prefixes != ["always", "unless_space"]:
            raise UnsupportedError("this tokenizer puts two spaces in front of a text")
        return Preparation(
            steps=self.steps + other.steps,
            splits=self.splits + other.splits,
            space_prefix=next((prefix for prefix in prefixes if prefix != "never"), "never"),
            byte_level=self.byte_level or other.byte_level,
        )

    def without_dead_splits(self) -> "Preparation":
        """Gemma cuts at spaces after writing them all as U+2581.  Without that cut, which never
        happens, its texts can be cut at words (`refimpl.text.spm`)."""
        dead = {Split(pattern=re.escape(" "), behavior=behavior) for behavior in BEHAVIORS.values()}
        if ESCAPE_SPACES not in self.steps:
            return self
        return replace(self, splits=tuple(split for split in self.splits if split not in dead))


def read_normalizer(tree: object) -> Preparation:
    parts = map(normalizer, leaves(tree, "normalizers"))
    return reduce(Preparation.then, parts, Preparation())


def read_pre_tokenizer(tree: object) -> Preparation:
    parts = map(pre_tokenizer, leaves(tree, "pretokenizers"))
    return reduce(Preparation.then, parts, Preparation())


def leaves(tree: object, children: str, depth: int = 0) -> Iterator[Tree]:
    """The steps of a tree in order, its `Sequence`s taken apart."""
    if tree is None:
        return
    if not isinstance(tree, dict) or not isinstance(tree.get("type"), str) or depth > DEEPEST:
        raise TokenizerError(
            f"tokenizer.json has {repr(tree)[:60]} where a step with a type belongs"
        )
    if tree["type"] != "Sequence":
        yield tree
        return
    for child in typed(tree, children, list):
        yield from leaves(child, children, depth + 1)


def unsupported(tree: Tree) -> UnsupportedError:
    return UnsupportedError(f"this project does not implement {repr(tree)[:120]}")


def normalizer(tree: Tree) -> Preparation:
    name = tree["type"]
    if name.lower() in UNICODE_FORMS:
        return Preparation(steps=((name.lower(),),))
    if name == "Prepend" and tree.get("prepend") == SPACE:
        return Preparation(space_prefix="always")
    if name == "Replace":
        old, new = typed(tree, "pattern", dict).get("String"), tree.get("content")
        if (
            isinstance(old, str)
            and isinstance(new, str)
            and old
            and len(new) <= LONGEST_REPLACEMENT
        ):
            return Preparation(steps=(("replace", old, new),))
    raise unsupported(tree)


def pre_tokenizer(tree: Tree) -> Preparation:
    read = PRE_TOKENIZERS.get(tree["type"])
    if read is None:
        raise unsupported(tree)
    return read(tree)


def byte_level(tree: Tree) -> Preparation:
    cuts = typed(tree, "use_regex", bool, True)
    prefixed = typed(tree, "add_prefix_space", bool, True)
    return Preparation(
        splits=(Split(pattern=GPT2),) if cuts else (),
        space_prefix="unless_space" if prefixed else "never",
        byte_level=True,
    )


def split(tree: Tree) -> Preparation:
    behavior = BEHAVIORS.get(typed(tree, "behavior", str))
    match tree.get("pattern"):
        case {"Regex": str(pattern)} if behavior:
            pass
        case {"String": str(text)} if behavior and text:
            pattern = re.escape(text)
        case _:
            raise unsupported(tree)
    return Preparation(splits=(stranger(pattern, behavior, typed(tree, "invert", bool, False)),))


def digits(tree: Tree) -> Preparation:
    each = typed(tree, "individual_digits", bool, False)
    return Preparation(splits=(Split(pattern=r"\p{N}" if each else r"\p{N}+"),))


def punctuation(tree: Tree) -> Preparation:
    behavior = BEHAVIORS.get(typed(tree, "behavior", str, "Isolated"))
    if behavior is None:
        raise unsupported(tree)
    if behavior == "contiguous":
        return Preparation(splits=(Split(pattern=PUNCTUATION + "+"),))
    return Preparation(splits=(Split(pattern=PUNCTUATION, behavior=behavior),))


def metaspace(tree: Tree) -> Preparation:
    """The space written U+2581; older files say `add_prefix_space` for the scheme "always"."""
    prefixes: dict[str, SpacePrefix] = {
        "always": "unless_space",
        "first": "at_start",
        "never": "never",
    }
    older = "always" if typed(tree, "add_prefix_space", bool, True) else "never"
    scheme = typed(tree, "prepend_scheme", str, older)
    if tree.get("replacement") != SPACE or scheme not in prefixes:
        raise unsupported(tree)
    cuts = typed(tree, "split", bool, True)
    return Preparation(
        steps=(ESCAPE_SPACES,),
        splits=(Split(pattern=SPACE, behavior="merged_with_next"),) if cuts else (),
        space_prefix=prefixes[scheme],
    )


PRE_TOKENIZERS: dict[str, Callable[[Tree], Preparation]] = {
    "ByteLevel": byte_level,
    "Split": split,
    "Digits": digits,
    "Punctuation": punctuation,
    "Metaspace": metaspace,
}
