"""What a step may hold, and what is done when the pool is full: the scheduler's settings.

>>> Limits(max_batched_tokens=64).max_seqs
256
"""

from dataclasses import dataclass
from enum import Enum

from refimpl.errors import InputError
from refimpl.kv.blocks import Sharing


class Preemption(Enum):
    """What happens to the keys and values of a request that gives way."""

    RECOMPUTE = "recompute"
    SWAP = "swap"  # where the host has room; else recompute


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Tokens and sequences of one step; `long_prefill_threshold` bounds one prompt's part of it."""

    max_batched_tokens: int = 2048
    max_seqs: int = 256
    long_prefill_threshold: int = 0  # 0: a prompt may take the whole budget
    preemption: Preemption = Preemption.RECOMPUTE
    sharing: Sharing = Sharing.COPY_ON_WRITE

    def __post_init__(self) -> None:
        if self.max_batched_tokens < 1 or self.max_seqs < 1 or self.long_prefill_threshold < 0:
            raise InputError("a step needs a budget of at least one token and one sequence")
