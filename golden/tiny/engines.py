"""Two engines that can sit the examination: `refimpl` itself, and PyTorch.

An engine answers prompts greedily and gives the logits of a text.  `Refimpl` needs nothing but this
project: every worker process opens the model and takes one prompt at a time.  `Torch` runs all
prompts in step and is the one for a GPU.
"""

import multiprocessing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

Tokens = list[int]
ENDS = (0, 2)  # <|endoftext|>, <|im_end|>


class Engine(Protocol):
    def complete(self, prompts: list[Tokens], room: int) -> list[Tokens]:
        """Greedy answers of at most `room` tokens, without the token that ends them."""

    def logits(self, texts: list[Tokens]) -> list[ndarray]:
        """[tokens, vocab] for each text."""


class Refimpl:
    def __init__(self, path: Path, workers: int):
        self.pool = multiprocessing.get_context("spawn").Pool(workers, open_model, (path,))

    def complete(self, prompts: list[Tokens], room: int) -> list[Tokens]:
        return self.pool.map(answer, [(prompt, room) for prompt in prompts], chunksize=2)

    def logits(self, texts: list[Tokens]) -> list[ndarray]:
        return self.pool.map(logits_of, texts, chunksize=2)


opened: list[Any] = []  # a worker's model


def open_model(path: Path) -> None:
    from refimpl.model.load import load

    opened[:] = [load(path).model]


def answer(task: tuple[Tokens, int]) -> Tokens:
    from refimpl.model.generate import incremental

    prompt, room = task
    most = min(len(prompt) + room, opened[0].config.context_length)
    next_logits, sequence = incremental(opened[0], most), list(prompt)
    while len(sequence) < most:
        token = int(next_logits(sequence).argmax())
        if token in ENDS:
            break
        sequence.append(token)
    return sequence[len(prompt) :]


def logits_of(text: Tokens) -> ndarray:
    from refimpl.model.cache import attend_to_itself
    from refimpl.model.forward import forward

    tokens, positions = np.array(text), np.arange(len(text))
    attend = attend_to_itself(opened[0].config, positions)
    return forward(opened[0], tokens, positions, attend)


class Torch:
    def __init__(self, path: Path, device: str):
        import torch

        from golden.tiny.export import read

        torch.set_float32_matmul_precision("highest")
        self.device, self.model = device, read(path).to(device)

    def complete(self, prompts: list[Tokens], room: int) -> list[Tokens]:
        from golden.tiny.network import continue_

        length = min(max(map(len, prompts)) + room, self.model.shape.context)
        said = continue_(self.model, prompts, length=length, stop=ENDS)
        return [answer[:room] for answer in said]

    def logits(self, texts: list[Tokens]) -> list[ndarray]:
        import torch

        with torch.no_grad():
            rows = [torch.tensor([text], device=self.device) for text in texts]
            return [self.model(row)[0].cpu().numpy() for row in rows]


def open_engine(name: str, path: Path, workers: int, device: str) -> Engine:
    return Refimpl(path, workers) if name == "refimpl" else Torch(path, device)
