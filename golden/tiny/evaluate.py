"""Every figure of docs/tiny.md, measured on held-out data and written to one JSON file.

    python -m golden.tiny.evaluate --corpus PATH --json docs/tiny.json && python -m golden.tiny.card

The default engine is `refimpl`: no PyTorch, no GPU, about half an hour on two cores.  `--samples 9
--stories 9` gives a rough picture in minutes.  Nothing is chosen: questions come from seeded
generators, stories are the first held-out ones of the corpus, samples have the seeds 0 to 9.
"""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from golden.tiny import bpe
from golden.tiny.chat import BOS, render
from golden.tiny.corpus import read_stories, split
from golden.tiny.engines import Engine, open_engine
from golden.tiny.exam import FORMS, examine, wilson
from golden.tiny.skills import EXAMINED
from golden.tiny.words import ANIMALS

DATA = Path(__file__).parents[2] / "refimpl" / "data"
FILES = {"tiny": DATA / "tiny.gguf", "tiny-draft": DATA / "tiny-draft.gguf"}


def about(path: Path) -> dict:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def story_loss(engine: Engine, stories: list[str]) -> dict:
    """Nats of each story and of the token that ends it, by the bytes of the story."""
    texts = [e.ids for e in bpe.load().encode_batch([BOS + story + BOS for story in stories])]
    total = 0.0
    for text, logits in zip(texts, engine.logits([text[:-1] for text in texts]), strict=True):
        wide = logits.astype(np.float64)
        logsum = np.logaddexp.reduce(wide, axis=1)
        total += float((logsum - wide[np.arange(len(wide)), text[1:]]).sum())
    n_bytes = sum(len(story.encode()) for story in stories)
    n_tokens = sum(len(text) - 1 for text in texts)
    return {
        "stories": len(stories),
        "bytes": n_bytes,
        "tokens": n_tokens,
        "nats_per_byte": round(total / n_bytes, 4),
        "bits_per_byte": round(total / n_bytes / np.log(2), 4),
        "nats_per_token": round(total / n_tokens, 4),
    }


def draft_agreement(target: Engine, draft: Engine, stories: list[str]) -> dict:
    """After the first third of a story the target goes on, greedily, for up to 160 tokens.  How
    many of these would the draft have chosen?  And how many in a row?"""
    texts = [e.ids for e in bpe.load().encode_batch([BOS + story for story in stories])]
    starts = [text[: max(2, len(text) // 3)] for text in texts]
    said = target.complete(starts, 160)
    whole = [[*start, *answer] for start, answer in zip(starts, said, strict=True)]
    hits: list[bool] = []
    for text, start, logits in zip(whole, starts, draft.logits(whole), strict=True):
        choices = logits.argmax(axis=1)
        hits += [bool(choices[i - 1] == text[i]) for i in range(len(start), len(text))]
    misses = [-1, *(i for i, hit in enumerate(hits) if not hit), len(hits)]
    runs = [b - a - 1 for a, b in pairwise(misses)]
    return {
        "stories": len(stories),
        "tokens": len(hits),
        "share": round(sum(hits) / len(hits), 4),
        "interval": wilson(sum(hits), len(hits)),
        "mean_run": round(sum(runs) / len(runs), 2),
    }


def stories_on_request(engine: Engine) -> dict:
    """Asked for a story about an animal: does the story speak of it?"""
    tokenizer = bpe.load()
    animals = [animal for animal in ANIMALS if animal[0] not in "aeiou"]
    asks = [render([("user", f"Tell me a story about a {x}.")], prompt=True) for x in animals]
    prompts = [e.ids for e in tokenizer.encode_batch(asks)]
    said = tokenizer.decode_batch(engine.complete(prompts, 200))
    hits = sum(animal in story for animal, story in zip(animals, said, strict=True))
    return {"samples": len(said), "right": hits, "interval": wilson(hits, len(said))}


def samples(path: Path, seeds: range) -> list[str]:
    """What `refimpl` writes from nothing but <|endoftext|>, one story for each seed."""
    from refimpl.model.generate import generate, incremental
    from refimpl.model.load import load
    from refimpl.sampling import SamplingParams

    loaded, stories = load(path), []
    for seed in seeds:
        params = SamplingParams(temperature=0.8, top_p=0.95, seed=seed, max_tokens=220)
        steps = generate(
            incremental(loaded.model, 256), [0], params, eog_ids={0, 2}, context_length=256
        )
        stories.append(loaded.tokenizer.decode([step.sampled.token for step in steps]))
    return [story.removesuffix(BOS) for story in stories]


@click.command()
@click.option("--corpus", type=Path, required=True)
@click.option("--json", "out", type=Path, required=True)
@click.option("--samples", "count", default=100, help="questions for each skill and form")
@click.option("--stories", "n_stories", default=100)
@click.option("--engine", "name", type=click.Choice(["refimpl", "torch"]), default="refimpl")
@click.option("--forms", default="think,direct", help=f"some of {', '.join(FORMS)}")
@click.option("--workers", default=2)
@click.option("--device", default="cpu")
def main(
    corpus: Path,
    out: Path,
    count: int,
    n_stories: int,
    name: str,
    forms: str,
    workers: int,
    device: str,
) -> None:
    target, draft = (open_engine(name, path, workers, device) for path in FILES.values())
    _, unseen = split(read_stories(corpus))
    chosen = unseen[:n_stories]
    record = {
        "files": {name: about(path) for name, path in FILES.items()},
        "engine": name,
        "loss": {"tiny": story_loss(target, chosen), "tiny-draft": story_loss(draft, chosen)},
        "draft": draft_agreement(target, draft, chosen),
        "requests": stories_on_request(target),
        "samples": samples(FILES["tiny"], range(10)),
        "exam": [],
    }
    for skill in EXAMINED:
        for form in forms.split(","):
            result = examine(target.complete, bpe.load(), skill, form, count)
            print(f"{skill:20} {form:7} {result['right']:4} of {count}", flush=True)
            record["exam"].append(result)
            out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
