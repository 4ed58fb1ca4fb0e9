"""Train the target: a few minutes on one GPU.

    python -m golden.tiny.train --corpus PATH --out FOLDER

Every step reads rows of stories (which repeat: dropout) and rows of fresh skills, in bfloat16 with
float32 weights.  The learning rate rises, stays, and falls to zero over the last three fifths.
`target.safetensors` (float16) and `target.json` (the curve) are what comes out.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from golden.tiny import bpe
from golden.tiny.chat import BOS
from golden.tiny.corpus import read_stories, split
from golden.tiny.feed import Feeds
from golden.tiny.network import TARGET, Llama, Shape
from golden.tiny.optimiser import Descent, learning_rate


def losses(model: Llama, tokens: Tensor, drop: Tensor | None) -> Tensor:
    """Nats of each target: [rows, 1025] tokens -> [rows, 1024]."""
    logits = model(tokens[:, :-1], drop).float()
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(
        len(tokens), -1
    )


class HeldOut:
    """Loss per byte on stories the model never saw, <|endoftext|> after each included."""

    def __init__(self, stories: list[str], device: str):
        tokenizer = bpe.load()
        encoded = [e.ids for e in tokenizer.encode_batch([BOS + s + BOS for s in stories])]
        encoded = [(ids, len(s.encode())) for ids, s in zip(encoded, stories, strict=True)]
        fitting = sorted((x for x in encoded if len(x[0]) <= 1025), key=lambda x: len(x[0]))
        self.n_bytes = sum(n for _, n in fitting)
        self.batches = []
        for i in range(0, len(fitting), 64):
            rows = [ids for ids, _ in fitting[i : i + 64]]
            width = -(-len(rows[-1]) // 128) * 128 + 1  # few widths, few compilations
            padded = torch.zeros(len(rows), min(width, 1025), dtype=torch.long, device=device)
            learn = torch.zeros_like(padded, dtype=torch.bool)
            for r, ids in enumerate(rows):
                padded[r, : len(ids)] = torch.tensor(ids)
                learn[r, 1 : len(ids)] = True
            self.batches.append((padded, learn[:, 1:]))

    @torch.no_grad()
    def nats_per_byte(self, model: Llama) -> float:
        total = sum(float((losses(model, t, None) * m).double().sum()) for t, m in self.batches)
        return total / self.n_bytes


def train(
    model: Llama, feeds: Feeds, held: HeldOut, *, steps: int, n_stories: int, n_skills: int,
    drop: float, matrix_lr: float, other_lr: float, decay: float, device: str,
    say: Callable[[dict], None],
) -> None:  # fmt: skip
    """The loop.  `say` receives a record of the curve every now and then."""
    descent = Descent(model, matrix_lr=matrix_lr, other_lr=other_lr, decay=decay)
    dropped = torch.tensor([drop] * n_stories + [0.0] * n_skills, device=device)
    compiled = torch.compile(losses) if device == "cuda" else losses
    began = time.perf_counter()
    for step in range(steps):
        tokens, learn = feeds.batch(n_stories, n_skills, device)
        with torch.autocast(device, torch.bfloat16):
            nats = compiled(model, tokens, dropped)
        loss = (nats * learn).sum() / learn.sum()
        descent.step(loss, learning_rate(step + 1, steps))
        if (step + 1) % 200 == 0 or step + 1 == steps:
            say(
                {
                    "step": step + 1,
                    "tokens": (step + 1) * learn.numel(),
                    "seconds": round(time.perf_counter() - began, 1),
                    "stories": mean_of(nats[:n_stories], learn[:n_stories]),
                    "skills": mean_of(nats[n_stories:], learn[n_stories:]),
                    "held_out_nats_per_byte": round(held.nats_per_byte(model), 5),
                }
            )


def mean_of(nats: Tensor, learn: Tensor) -> float:
    return round(float((nats.detach() * learn).sum() / learn.sum().clamp(min=1)), 5)


def save(model: Llama, path: Path) -> None:
    """float16: what is lost is far below the step of Q8_0."""
    state = {name: w.half().contiguous() for name, w in model.state_dict().items()}
    metadata = {"shape": json.dumps(asdict(model.shape))}
    save_file(state, path, metadata=metadata)


def load(path: Path, device: str = "cpu") -> Llama:
    with safe_open(path, "pt") as file:
        shape = Shape(**json.loads(file.metadata()["shape"]))
    model = Llama(shape).to(device)
    model.load_state_dict({name: w.float() for name, w in load_file(path).items()})
    return model.eval()


class Curve:
    """Prints each record, and keeps them all in a file that survives an interruption."""

    def __init__(self, path: Path, **about):
        self.path, self.about, self.records = path, about, []

    def __call__(self, record: dict) -> None:
        print(record, flush=True)
        self.records.append(record)
        self.path.write_text(json.dumps({**self.about, "curve": self.records}, indent=1) + "\n")


@click.command()
@click.option("--corpus", type=Path, required=True)
@click.option("--out", type=Path, required=True)
@click.option("--steps", default=5600)
@click.option("--stories", "n_stories", default=14, help="rows of stories in a step")
@click.option("--skills", "n_skills", default=114, help="rows of skills in a step")
@click.option("--drop", default=0.4, help="dropout of the rows of stories")
@click.option("--matrix-lr", default=0.02)
@click.option("--other-lr", default=0.003)
@click.option("--decay", default=0.1)
@click.option("--workers", default=14)
@click.option("--start", type=Path, help="a checkpoint to go on from, with fresh questions")
@click.option("--device", default="cuda")
def main(corpus: Path, out: Path, device: str, workers: int, start, **options) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _, unseen = split(read_stories(corpus))
    steps, n_stories, n_skills = (options[k] for k in ("steps", "n_stories", "n_skills"))
    feeds = Feeds(
        corpus,
        workers,
        first_seed=1_000_000 if start else 0,
        skill_shards=steps * n_skills // 380 + 1,
        story_epochs=steps * n_stories // 2000 + 1,
    )
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = load(start, device).train() if start else Llama(TARGET).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    curve = Curve(out / "target.json", shape=asdict(model.shape), parameters=parameters, **options)
    train(model, feeds, HeldOut(unseen, device), device=device, say=curve, **options)
    feeds.close()
    save(model, out / "target.safetensors")


if __name__ == "__main__":
    main()
