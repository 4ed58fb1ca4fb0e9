"""Train the draft: a network a ninth of the size that guesses what the target will say.

    python -m golden.tiny.distil --corpus PATH --target FOLDER/target.safetensors --out FOLDER

Speculative decoding accepts a greedy draft token when it is the target's own choice, so the draft
learns the target rather than the language: its loss is the divergence from the target's
distribution plus the surprise at the target's choice (Hinton et al., 2015; Zhou et al., 2023,
"DistillSpec").  A third of what it reads is what the target itself goes on to say after the opening
of a training story.
"""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import click
import numpy as np
import torch
from torch import Tensor

from golden.tiny import bpe, mix
from golden.tiny.chat import BOS
from golden.tiny.corpus import read_stories, split
from golden.tiny.feed import Feed, Feeds, repeated
from golden.tiny.network import DRAFT, Llama, continue_, quantised
from golden.tiny.optimiser import Descent, learning_rate
from golden.tiny.train import Curve, load, save


def continuations(
    target: Llama, openings: list[list[int]], *, temperature: float, seed: int, length: int = 320
) -> np.ndarray:
    """Rows of what the target says after each opening, documents end to end."""
    said = continue_(target, openings, length=length, stop=(0,), temperature=temperature, seed=seed)
    documents = [np.array([*o, *s, 0], np.uint16) for o, s in zip(openings, said, strict=True)]
    return mix.cut(documents)


def openings(stories: list[str], rng: Random, count: int) -> list[list[int]]:
    """Beginnings of stories, of 2 to 160 tokens."""
    chosen = rng.sample(stories, min(count, len(stories)))
    encoded = bpe.load().encode_batch([BOS + story for story in chosen])
    return [e.ids[: rng.randint(2, 160)] for e in encoded]


def sayings(target: Llama, stories: list[str], *, rounds: int = 3, count: int = 4096) -> np.ndarray:
    """Rows of the target's own stories: greedy ones, sampled ones, greedy ones."""
    shards = []
    for k in range(rounds):
        starts = openings(stories, Random(f"openings {k}"), count)
        shards.append(continuations(target, starts, temperature=0.8 * (k % 2), seed=k))
    return np.random.default_rng(0).permutation(np.concatenate(shards))


def imitation(draft: Llama, target: Llama, tokens: Tensor) -> Tensor:
    """Divergence and surprise at each position: [rows, n] -> [rows, n]."""
    with torch.no_grad():
        wanted = target(tokens).float().log_softmax(-1)
    guess = draft(tokens).float().log_softmax(-1)
    divergence = (wanted.exp() * (wanted - guess)).sum(-1)
    surprise = -guess.gather(-1, wanted.argmax(-1, keepdim=True))[..., 0]
    return divergence + surprise


def distil(
    draft: Llama, target: Llama, feeds: Feeds, own: Feed, *, steps: int, n_said: int,
    n_stories: int, n_skills: int, matrix_lr: float, other_lr: float, decay: float, device: str,
    say: Callable[[dict], None],
) -> None:  # fmt: skip
    """The loop.  The target's own stories are learnt whole, the rest as the target learnt it."""
    descent = Descent(draft, matrix_lr=matrix_lr, other_lr=other_lr, decay=decay)
    compiled = torch.compile(imitation) if device == "cuda" else imitation
    began = time.perf_counter()
    for step in range(steps):
        tokens, learn = feeds.batch(n_stories, n_skills, device)
        said = torch.from_numpy(own.take(n_said).astype(np.int64)).to(device)
        tokens = torch.cat([said, tokens])
        learn = torch.cat([torch.ones_like(said[:, 1:], dtype=torch.bool), learn])
        with torch.autocast(device, torch.bfloat16):
            nats = compiled(draft, target, tokens[:, :-1])
        loss = (nats * learn).sum() / learn.sum()
        descent.step(loss, learning_rate(step + 1, steps))
        if (step + 1) % 500 == 0 or step + 1 == steps:
            say(
                {
                    "step": step + 1,
                    "tokens": (step + 1) * learn.numel(),
                    "seconds": round(time.perf_counter() - began, 1),
                    "loss": round(float(loss.detach()), 4),
                }
            )


@click.command()
@click.option("--corpus", type=Path, required=True)
@click.option("--target", "target_file", type=Path, required=True)
@click.option("--out", type=Path, required=True)
@click.option("--steps", default=2500)
@click.option("--said", "n_said", default=48, help="rows of the target's own stories in a step")
@click.option("--stories", "n_stories", default=32)
@click.option("--skills", "n_skills", default=48)
@click.option("--matrix-lr", default=0.02)
@click.option("--other-lr", default=0.005)
@click.option("--decay", default=0.02)
@click.option("--workers", default=14)
@click.option("--device", default="cuda")
def main(corpus: Path, target_file: Path, out: Path, device: str, workers: int, **options) -> None:
    out.mkdir(parents=True, exist_ok=True)
    kept, _ = split(read_stories(corpus))
    steps, n_stories, n_skills = (options[k] for k in ("steps", "n_stories", "n_skills"))
    feeds = Feeds(
        corpus,
        workers,
        first_seed=2_000_000,
        skill_shards=steps * n_skills // 380 + 1,
        story_epochs=min(40, steps * n_stories // 2000 + 1),
    )
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    target, draft = quantised(load(target_file, device)), Llama(DRAFT).to(device)
    target.requires_grad_(False)
    own = Feed(repeated(iter([sayings(copy.deepcopy(target).bfloat16(), kept)])))
    parameters = sum(p.numel() for p in draft.parameters())
    curve = Curve(out / "draft.json", parameters=parameters, own_rows=len(own.rows), **options)
    distil(draft, target, feeds, own, device=device, say=curve, **options)
    feeds.close()
    save(draft, out / "draft.safetensors")


if __name__ == "__main__":
    main()
