"""The stories: 10,340 short texts in the English of a three-year-old, tidied and split in two.

They come from TinyStories (Eldan and Li, 2023, "How small can language models be and still speak
coherent English?", arXiv:2305.07759; licence CDLA-Sharing-1.0).  The corpus is not part of this
tree; every command that needs it takes its path.

Invariant: whether a text is held out depends on the text alone, so no order of reading, no seed and
no duplicate can move one across.  Generated questions (`skills.py`) use the same rule.

>>> tidy(" “Hi!” said Tim.\\nâ€œHoâ€™s thereâ€ ")
'"Hi!" said Tim.\\n"Ho\\'s there"'
>>> [text for text in ("17+21", "17+22", "17+23", "17+24", "17+25") if held_out(text)]
['17+24']
"""

import re
from pathlib import Path
from zlib import crc32

SEPARATOR = "<|endoftext|>"

# UTF-8 quotation marks that someone once read as Windows-1252, longest first; then the real ones.
PLAIN = {
    "â€œ": '"', "â€™": "'", "â€”": "-", "â€“": "-", "â€": '"',
    "“": '"', "”": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...",
}  # fmt: skip


def tidy(text: str) -> str:
    """One story in plain quotation marks, without spaces at the ends of lines."""
    for written, plain in PLAIN.items():
        text = text.replace(written, plain)
    return re.sub(r" *\n\s*", "\n", re.sub(r" {2,}", " ", text)).strip()


def held_out(text: str) -> bool:
    """One text in ten, chosen by a checksum of its bytes."""
    return crc32(text.encode()) % 10 == 0


def read_stories(path: Path) -> list[str]:
    """Every story of the corpus, tidied, in the corpus's order."""
    parts = path.read_text(encoding="utf-8").split(SEPARATOR)
    return [story for part in parts if (story := tidy(part))]


def split(stories: list[str]) -> tuple[list[str], list[str]]:
    """(training, held out)."""
    kept = [story for story in stories if not held_out(story)]
    return kept, [story for story in stories if held_out(story)]
