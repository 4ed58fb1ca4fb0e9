"""Real traces: not ours to ship, so a folder that holds them is an argument.

    source     file                                what is used
    MOONCAKE   *trace*.jsonl                       `hash_ids`: which blocks of 512 tokens are equal
    AZURE      AzureLLMInferenceTrace*.csv         lengths of prompts and answers

>>> find(Path("/no/such/folder"), AZURE)
Traceback (most recent call last):
refimpl.errors.InputError: /no/such/folder is no folder: give one that holds ...
"""

from dataclasses import dataclass
from pathlib import Path

from refimpl.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Source:
    """The name of its files, and where they are published."""

    pattern: str
    published: str


MOONCAKE = Source(
    pattern="*trace*.jsonl",
    published="github.com/kvcache-ai/Mooncake, folder FAST25-release/traces",
)
AZURE = Source(
    pattern="AzureLLMInferenceTrace*.csv",
    published="github.com/Azure/AzurePublicDataset, folder data",
)


def find(folder: Path | None, source: Source) -> Path:
    """The first file of this source, by name."""
    wanted = f"{source.pattern} (published at {source.published})"
    if folder is None:
        raise InputError(f"this table needs a trace: give --traces DIR with {wanted}")
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one that holds {wanted}")
    files = sorted(folder.glob(source.pattern))
    if not files:
        raise InputError(f"{folder} holds no {wanted}")
    return files[0]
