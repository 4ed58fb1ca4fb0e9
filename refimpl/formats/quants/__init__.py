"""How GGUF stores weights: every block type of ggml, by its id.

>>> block_type("Q4_0").bits_per_weight, block_type(8).name
(4.5, 'Q8_0')
"""

from collections.abc import Mapping
from types import MappingProxyType

from refimpl.errors import UnsupportedError
from refimpl.formats.quants import iq1, iq4, iq23, k, legacy, mx, plain, ternary
from refimpl.formats.quants.block import BlockType, Packed, Tensor, widen

__all__ = ["BLOCK_TYPES", "BlockType", "Packed", "Tensor", "block_type", "widen"]

_FAMILIES = (plain, legacy, k, iq1, iq23, iq4, ternary, mx)

BLOCK_TYPES: Mapping[int, BlockType] = MappingProxyType(
    {t.id: t for t in sorted((t for f in _FAMILIES for t in f.TYPES), key=lambda t: t.id)}
)
"""ggml type id -> block type, in the order of the ids."""


def block_type(name_or_id: str | int) -> BlockType:
    """The type of that ggml id (as files store it) or name (in any case: "q4_k", "Q4_K")."""
    for t in BLOCK_TYPES.values():
        if name_or_id == t.id or (isinstance(name_or_id, str) and name_or_id.upper() == t.name):
            return t
    known = ", ".join(f"{t.name}={t.id}" for t in BLOCK_TYPES.values())
    raise UnsupportedError(f"no ggml block type {name_or_id!r}; known are {known}")
