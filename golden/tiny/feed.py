"""Rows from worker processes to the GPU, in the order of their seeds whatever finishes first."""

import multiprocessing
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from golden.tiny import bpe, mix
from golden.tiny.corpus import read_stories, split


def shards_of_skills(seed: int) -> ndarray:
    return mix.skill_rows(bpe.load(), seed)


def shards_of_stories(corpus: Path, epoch: int) -> ndarray:
    kept, _ = split(read_stories(corpus))
    return mix.story_rows(bpe.load(), kept, epoch)


class Feed:
    """`take(n)`: the next n rows of an endless stream of shards."""

    def __init__(self, shards: Iterator[ndarray]):
        self.shards, self.rows, self.used = shards, next(shards), 0

    def take(self, n: int) -> ndarray:
        while len(self.rows) - self.used < n:
            self.rows = np.concatenate([self.rows[self.used :], next(self.shards)])
            self.used = 0
        self.used += n
        return self.rows[self.used - n : self.used]


class Feeds:
    """Both streams.  Make it before the first use of the GPU: the workers are forked."""

    def __init__(
        self,
        corpus: Path,
        workers: int,
        *,
        skill_shards: int,
        story_epochs: int,
        first_seed: int = 0,
    ):
        context = multiprocessing.get_context("fork")
        self.pool = context.Pool(workers)
        stories = self.pool.imap(
            partial(shards_of_stories, corpus), range(first_seed, first_seed + story_epochs)
        )
        skills = self.pool.imap(shards_of_skills, range(first_seed, first_seed + skill_shards))
        self.stories, self.skills = Feed(repeated(stories)), Feed(repeated(skills))

    def batch(self, n_stories: int, n_skills: int, device: str) -> tuple[Tensor, Tensor]:
        """(tokens [rows, 1025], learn [rows, 1024]: whether each target is to be learnt).

        The stories come first.
        """
        rows = np.concatenate([self.stories.take(n_stories), self.skills.take(n_skills)])
        marked = torch.from_numpy(rows.astype(np.int64)).to(device)
        return marked & (mix.LEARN - 1), marked[:, 1:] >= mix.LEARN

    def close(self) -> None:
        self.pool.terminate()


def repeated(shards: Iterator[ndarray]) -> Iterator[ndarray]:
    """The shards as they come, and again from the first if the run outlasts them."""
    kept: list[ndarray] = []
    for shard in shards:
        kept.append(shard)
        yield shard
    for turn in count():
        yield kept[turn % len(kept)]
