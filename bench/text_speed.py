"""How fast text becomes tokens, and how long a tokenizer takes to be ready.

    python bench/text_speed.py DATA [--megabytes N]

DATA is a folder with `tokenizers/ggml-vocab/*.gguf`, `corpora/tinystories_merged.txt` and
`tokenizers/chat_templates/*.jinja`.  "First" is a tokenizer that has seen no word yet; "again" the
same text a second time.  Times are this process's CPU seconds, so that neighbours do not count.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain, islice, product
from pathlib import Path
from typing import TypeVar

import click

from refimpl.formats.gguf import GGUF
from refimpl.text import ChatTemplate, IncrementalDecoder, tokenizer_from_gguf

T = TypeVar("T")
VOCABULARIES = ("gpt-2", "starcoder", "deepseek-llm", "llama-spm")


def timed(task: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = task()
    return result, time.process_time() - start


def llama3_sized() -> dict[str, object]:
    """128,256 tokens and 280,147 merges: words of seven letters, and every way to make them."""
    words = chain.from_iterable(product("ethanĠs", repeat=n) for n in range(1, 7))
    tokens = ["".join(word) for word in islice(words, 128_256)]
    merges = (f"{token[:i]} {token[i:]}" for token in tokens for i in range(1, len(token)))
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": list(islice(merges, 280_147)),
        "tokenizer.ggml.bos_token_id": 0,
    }


def import_seconds() -> float:
    """What `import refimpl.text` adds to starting Python."""
    code = (
        "import time; t = time.process_time(); import refimpl.text; print(time.process_time() - t)"
    )
    return float(subprocess.check_output([sys.executable, "-c", code]))


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--megabytes", type=float, default=2.0, show_default=True)
def main(data: Path, megabytes: float) -> None:
    stories = (data / "corpora" / "tinystories_merged.txt").read_text(encoding="utf-8")
    text = stories[: int(megabytes * 1e6)]
    click.echo(f"import refimpl.text          {min(import_seconds() for _ in range(3)):6.3f} s")
    metadata = llama3_sized()
    tokenizer, ready = timed(lambda: tokenizer_from_gguf(metadata))
    _, first = timed(lambda: tokenizer.encode("the"))
    n = len(metadata["tokenizer.ggml.merges"])  # type: ignore[arg-type]
    click.echo(
        f"{tokenizer.vocab_size} tokens, {n} merges: {ready:.3f} s, first word {first:.3f} s"
    )
    for name in VOCABULARIES:
        vocabulary = GGUF.open(
            data / "tokenizers" / "ggml-vocab" / f"ggml-vocab-{name}.gguf"
        ).metadata
        tokenizer, ready = timed(lambda v=vocabulary: tokenizer_from_gguf(v))  # type: ignore[misc]
        ids, first = timed(lambda t=tokenizer: t.encode(text))  # type: ignore[misc]
        _, again = timed(lambda t=tokenizer: t.encode(text))  # type: ignore[misc]
        _, whole = timed(lambda t=tokenizer, i=ids: t.decode(i))  # type: ignore[misc]
        stream = IncrementalDecoder(tokenizer)
        _, pushed = timed(lambda s=stream, i=ids: [s.push(id) for id in i])  # type: ignore[misc]
        mb = len(text.encode()) / 1e6
        click.echo(
            f"{name:13s} ready {ready:.3f} s; encode {mb / first:5.2f} MB/s first, "
            f"{mb / again:5.2f} again; decode {len(ids) / whole / 1e6:.2f} M tokens/s, "
            f"streaming {len(ids) / pushed / 1e6:.2f}"
        )
    conversation = [
        {"role": role, "content": "hello " * 50} for role in ("user", "assistant", "user")
    ]
    for path in sorted((data / "tokenizers" / "chat_templates").glob("*.jinja")):
        template = ChatTemplate(path.read_text(encoding="utf-8"), clock=None)
        if "gpt-oss" not in path.stem:  # which asks for today's date
            _, first = timed(lambda t=template: t.render(conversation))  # type: ignore[misc]
            _, again = timed(lambda t=template: t.render(conversation))  # type: ignore[misc]
            click.echo(f"{path.stem:40s} {first * 1e3:5.1f} ms first, {again * 1e3:4.2f} ms again")


if __name__ == "__main__":
    main()
