"""What happens to text before it is cut into words: a short list of named steps.

Most byte-level tokenizers change nothing.  Qwen composes characters (NFC); vocabularies of
characters write the space as U+2581; sentencepiece can also fold runs of spaces into one.  A step
is a tuple of strings, so that a file can hold it.

Sources: Unicode Standard Annex 15 for the four normal forms; `NormalizerSpec` of sentencepiece for
"squeeze", its `remove_extra_whitespaces`, which at the end of a text removes U+2581 as well.

>>> normalize("  two   words ", (("squeeze",), ("replace", " ", "▁")))
'two▁words'
>>> normalize("e\\u0301", (("nfc",),))
'é'
"""

import re
from collections.abc import Sequence
from typing import Literal
from unicodedata import normalize as to_normal_form

UNICODE_FORMS: dict[str, Literal["NFC", "NFD", "NFKC", "NFKD"]] = {
    "nfc": "NFC",
    "nfd": "NFD",
    "nfkc": "NFKC",
    "nfkd": "NFKD",
}


def normalize(text: str, steps: Sequence[tuple[str, ...]]) -> str:
    """Apply the steps in order."""
    for step in steps:
        match step:
            case ("replace", old, new):
                text = text.replace(old, new)
            case ("squeeze",):
                text = re.sub(" +", " ", text.lstrip(" ").rstrip(" ▁"))
            case (form,):
                text = to_normal_form(UNICODE_FORMS[form], text)
    return text


LONGEST_REPLACEMENT = 64


def is_step(step: object) -> bool:
    """Is this, read from a file, a step that `normalize` knows?"""
    match step:
        case ["replace", str(old), str(new)]:
            return old != "" and len(new) <= LONGEST_REPLACEMENT
        case [str(name)]:
            return name == "squeeze" or name in UNICODE_FORMS
    return False
