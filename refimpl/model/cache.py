"""The plain cache: keys and values of the past in one contiguous array a layer.

It exists because of one fact: attention reads the past only through its keys and values, and those
never change once computed.  The paged cache of `refimpl.kv` stores the same rows in blocks.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from refimpl.errors import InputError
from refimpl.model.config import Config
from refimpl.model.forward import REFERENCE, Attend
from refimpl.ops.reference import Reference


def attend_to_itself(
    config: Config, positions: Integer[ndarray, " tokens"], ops: Reference = REFERENCE
) -> Attend:
    """No cache: the tokens given are the whole sequence, and attend to one another."""

    def attend(layer: int, q: ndarray, k: ndarray, v: ndarray) -> ndarray:
        return ops.attend(q, k, v, positions, **config.attention(layer))

    return attend


@dataclass(kw_only=True)
class ContiguousCache:
    """Room for `capacity` tokens; the first `length` rows are in use.

    Rows are written layer by layer during a step and counted by `advance` once it is done, so a
    step that fails leaves the cache as it was.
    """

    config: Config
    capacity: int
    length: int = 0
    keys: list[Float[ndarray, "capacity kv_heads head_dim"]] = field(default_factory=list)
    values: list[Float[ndarray, "capacity kv_heads head_dim"]] = field(default_factory=list)

    def check(self) -> None:
        """The invariants: as many keys as values, and no more rows than room."""
        assert 0 <= self.length <= self.capacity
        assert len(self.keys) == len(self.values) in (0, self.config.n_layers)

    def attend(self, positions: Integer[ndarray, " tokens"], ops: Reference = REFERENCE) -> Attend:
        """Store the new tokens' keys and values, then attend to everything up to each position."""
        end = self.length + len(positions)
        if end > self.capacity:
            raise InputError(f"the cache holds {self.capacity} tokens, and {end} are needed")
        new = slice(self.length, end)

        def attend(layer: int, q: ndarray, k: ndarray, v: ndarray) -> ndarray:
            if layer == len(self.keys):  # room is made when the dtype is first seen
                self.keys.append(np.empty((self.capacity, *k.shape[1:]), k.dtype))
                self.values.append(np.empty((self.capacity, *v.shape[1:]), v.dtype))
            self.keys[layer][new], self.values[layer][new] = k, v
            keys, values = self.keys[layer][:end], self.values[layer][:end]
            return ops.attend(q, keys, values, positions, **self.config.attention(layer))

        return attend

    def advance(self, n_tokens: int) -> None:
        """The step is done: its rows belong to the past now."""
        self.length += n_tokens
        self.check()
