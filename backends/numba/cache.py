"""The paged cache: keys and values of every layer in pages of sixteen tokens (`kv`)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Integer, UInt8
from numpy import ndarray

from backends.numba.attention import entries
from backends.numba.kv import BYTES_PER_COORDINATE, head_width
from backends.numba.memory import huge
from backends.numba.records import CACHE
from refimpl.errors import InputError

Slots = Integer[ndarray, " slots"]


@dataclass(kw_only=True, eq=False)
class Cache:
    """Room for `n_slots` tokens in every layer, zero until written."""

    kind: str
    n_layers: int
    n_slots: int
    block_size: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        if self.kind == "q8_0" and self.head_dim % 32:
            raise InputError(
                f"a q8_0 cache cuts heads into blocks of 32; {self.head_dim} coordinates do not "
                "divide: choose float16"
            )

    @property
    def width(self) -> int:
        return head_width(self.kind, self.head_dim)

    @property
    def page_bytes(self) -> int:
        """Of one head."""
        return BYTES_PER_COORDINATE[self.kind] * self.width

    @property
    def pages(self) -> int:
        return -(-self.n_slots // 16)

    @property
    def head_bytes(self) -> int:
        return self.pages * self.page_bytes

    @property
    def layer_bytes(self) -> int:
        return self.kv_heads * self.head_bytes

    @cached_property
    def keys(self) -> UInt8[ndarray, " bytes"]:
        return huge(self.n_layers * self.layer_bytes)

    @cached_property
    def values(self) -> UInt8[ndarray, " bytes"]:
        return huge(self.n_layers * self.layer_bytes)

    @cached_property
    def record(self) -> ndarray:
        store, attend = entries(self.kind)
        record = np.zeros((), CACHE)
        record["store"], record["attend"] = store.address, attend.address
        record["keys"], record["values"] = self.keys.ctypes.data, self.values.ctypes.data
        for size in ("layer_bytes", "head_bytes", "page_bytes"):
            record[size] = getattr(self, size)
        record["width"] = self.width
        return record

    def slots_of(self, blocks: list[int]) -> Slots:
        """Every slot of some blocks, in order."""
        first = np.array(blocks, dtype=np.int64)[:, None] * self.block_size
        return (first + np.arange(self.block_size)).ravel()

    def parts(self) -> list[ndarray]:
        """Keys, values and (in q8_0) their scales as arrays whose last axes but one or two are
        [layer, page, head, ...]: each with its token axis moved to the front of a slot's place."""
        w, shape = self.width, (self.n_layers, self.pages, self.kv_heads)
        stored = (self.n_layers, self.kv_heads, self.pages, self.page_bytes)
        keys, values = (x.reshape(stored).swapaxes(1, 2) for x in (self.keys, self.values))
        if self.kind == "q8_0":
            codes = 16 * w
            return [
                keys[..., :codes].reshape(*shape, w, 16).swapaxes(3, 4),
                values[..., :codes].reshape(*shape, 16, w),
                keys[..., codes:].reshape(*shape, w // 32, 16, 2).swapaxes(3, 4),
                values[..., codes:].reshape(*shape, 16, w // 32, 2),
            ]
        unit = f"u{BYTES_PER_COORDINATE[self.kind] // 16}"
        return [
            keys.view(unit).reshape(*shape, w, 16).swapaxes(3, 4),
            values.view(unit).reshape(*shape, 16, w),
        ]

    def read(self, slots: Slots) -> list[ndarray]:
        return [part[:, slots // 16, :, slots % 16] for part in self.parts()]

    def write(self, slots: Slots, contents: list[ndarray]) -> None:
        for part, content in zip(self.parts(), contents, strict=True):
            part[:, slots // 16, :, slots % 16] = content
