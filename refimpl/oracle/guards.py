"""Calls that cannot cheat unnoticed: guard zones, poisoned memory, inputs compared afterwards.

A kernel that reads one element too far, writes one too many, leaves an element of its result
unwritten or scribbles on its input mostly gets away with it: the neighbours are zero, the page was
fresh.  So every call is made twice.  The first is plain.  In the second each input lies between
guard zones full of NaN, freed memory of the result's size is full of NaN, and every array that
`numpy.empty` or `numpy.zeros` (or CuPy's) makes for the backend starts as NaN or zero and is
guarded as well.  Both results must be equal in every bit, inputs and guard zones must be as they
were, and the first result must have survived the second call.

>>> zoned = Zone.of(np.float32([1, 2]))
>>> zoned.inside.tolist(), zoned.intact()
([1.0, 2.0], True)
>>> np.lib.stride_tricks.as_strided(zoned.inside, (3,))[2] = 0       # one too far
>>> zoned.intact()
False
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.oracle.comparison import ContractError, same_bits

MARGIN = 128
"""Bytes of each guard zone: two cache lines, so the alignment of what lies between is kept."""
POISON = 0xFF
"""Four of these bytes are a float32 NaN, eight a float64 NaN."""
CALM = 3
"""What guards integers: an index read too far still lies within every table here."""


@dataclass(frozen=True, eq=False)
class Zone:
    """An array in the middle of a larger buffer."""

    buffer: Any
    inside: Any
    before: ndarray

    @staticmethod
    def of(x: ndarray) -> "Zone":
        """A copy of x between guards."""
        zone = Zone.empty(np.empty, x.shape, x.dtype)
        zone.inside[...] = x
        if x.dtype.kind in "iu":
            for end in zone.ends():
                end.view(x.dtype)[:] = CALM
        return Zone(zone.buffer, zone.inside, zone.guards())

    @staticmethod
    def empty(make: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> "Zone":
        """Poisoned memory, guards and all; `make` is NumPy's `empty`, or one like it."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        buffer = make(size + 2 * MARGIN, np.uint8)
        buffer[...] = POISON
        inside = buffer[MARGIN : MARGIN + size].view(dtype).reshape(shape)
        return Zone(buffer, inside, np.full(2 * MARGIN, POISON, np.uint8))

    def ends(self) -> list[Any]:
        return [self.buffer[:MARGIN], self.buffer[-MARGIN:]]

    def guards(self) -> ndarray:
        """The bytes on both sides."""
        return np.concatenate([end.get() if hasattr(end, "get") else end for end in self.ends()])

    def intact(self) -> bool:
        return bool((self.guards() == self.before).all())


@dataclass(frozen=True, eq=False)
class Given:
    """An input array, and how the backend takes it: `put`, or `weight`, whose result is opaque."""

    array: ndarray
    carry: Callable[[ndarray], Any]
    is_opaque: bool = False


def twice(call: Callable[..., Any], inputs: Sequence[Any], backend: Backend) -> ndarray:
    """The result of `call(*inputs)`, if the call is honest; `Given` inputs are carried over."""
    first = plainly(call, inputs)
    seen = np.array(backend.host(first))
    poison(seen.nbytes)
    zones = [Zone.of(x.array) if isinstance(x, Given) else None for x in inputs]
    carried = [x.carry(z.inside) if z else x for x, z in zip(inputs, zones, strict=True)]
    with guarded_allocations(module_of(backend.put)) as allocated:
        second = np.array(backend.host(call(*carried)))
    for x, zone, there in zip(inputs, zones, carried, strict=True):
        if zone:
            check_input(x.array, zone, zone.inside if x.is_opaque else backend.host(there))
    if not all(zone.intact() for zone in allocated):
        raise ContractError("the backend wrote outside of an array it had allocated")
    if not same_bits(np.asarray(backend.host(first)), seen):
        raise ContractError("a later call changed an earlier result: they share memory")
    if not same_bits(seen, second):
        raise ContractError(
            "the same call gave other bits in poisoned memory: it reads what it was not given, or "
            "it leaves a part of its result unwritten"
        )
    return seen


def plainly(call: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    return call(*(x.carry(x.array) if isinstance(x, Given) else x for x in inputs))


def check_input(x: ndarray, zone: Zone, there: ndarray) -> None:
    if not same_bits(x, zone.inside) or not same_bits(x, np.asarray(there)):
        raise ContractError("the backend changed one of its inputs")
    if not zone.intact():
        raise ContractError("the backend wrote beside one of its inputs")


def poison(n_bytes: int) -> None:
    """Leave NaN in the freed memory that the next arrays of this size are likely to get."""
    for size in (n_bytes, n_bytes + 16):
        held = [np.full(size, POISON, np.uint8) for _ in range(4)]
        del held


def module_of(put: Callable[[ndarray], Any]) -> ModuleType:
    """numpy, or the module whose arrays the backend works on, if it allocates as NumPy does."""
    name = type(put(np.zeros(1, np.float32))).__module__.split(".")[0]
    module = sys.modules.get(name, np)
    return module if name in ("numpy", "cupy") else np


@contextmanager
def guarded_allocations(module: ModuleType) -> Iterator[list[Zone]]:
    """Within, `module.empty` and `module.zeros` give guarded arrays; yields their zones.

    What is compiled at its first call has been compiled by the plain call before this one.
    """
    zones: list[Zone] = []
    real = {name: getattr(module, name) for name in ("empty", "zeros", "empty_like", "zeros_like")}

    def guarded(fill: int | None, shape: Any, dtype: Any) -> Any:
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        zone = Zone.empty(real["empty"], shape, dtype)
        zones.append(zone)
        if fill is not None:
            zone.inside[...] = fill
        return zone.inside

    def maker(name: str, fill: int | None) -> Callable[..., Any]:
        def make(shape: Any, dtype: Any = float, *rest: Any, **options: Any) -> Any:
            if rest or options or np.dtype(dtype).hasobject:
                return real[name](shape, dtype, *rest, **options)
            return guarded(fill, shape, dtype)

        def make_like(x: Any, dtype: Any = None, *rest: Any, **options: Any) -> Any:
            if rest or options or not hasattr(x, "dtype") or not x.flags.c_contiguous:
                return real[name](x, dtype, *rest, **options)
            return guarded(fill, x.shape, dtype or x.dtype)

        return make_like if name.endswith("_like") else make

    try:
        for name in real:
            setattr(module, name, maker(name, 0 if name.startswith("zeros") else None))
        yield zones
    finally:
        for name, function in real.items():
            setattr(module, name, function)
