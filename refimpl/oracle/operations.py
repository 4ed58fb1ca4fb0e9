"""One operation at a time: within its bound, and every row by itself.

L2: the backend's result against the definition's, componentwise, within the bound the backend
declares.  What is measured is the largest fraction of the bound used; beyond 1 is a violation.

L1: each row alone gives the bits it gave among the others.  This is what makes a batch harmless,
and a matrix product of a library mostly does not have it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from refimpl.backend import Backend
from refimpl.formats.quants.block import Packed
from refimpl.ops.tensor import linear
from refimpl.oracle.comparison import ContractError, fraction, same_bits, where_worst
from refimpl.oracle.guards import Given, plainly, twice

ROW_WISE: Mapping[str, tuple[int, ...]] = {
    "embed": (1,),
    "linear": (0,),
    "add": (0, 1),
    "rms_norm": (0,),
    "layer_norm": (0,),
    "rope": (0, 1),
    "attend": (0, 3),
    "activate": (0,),
    "glu": (0, 1),
    "soft_cap": (0,),
    "moe": (0, 1),
}
"""Which arguments have a row for each token."""
WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "embed": (0,),
    "linear": (1, 2),
    "rms_norm": (1,),
    "layer_norm": (1, 2),
}
"""Which arguments are a model's, and go through `Backend.weight`."""


def within_bound(backend: Backend, op: str, args: list[Any], options: Mapping[str, Any]) -> float:
    """The fraction of the declared bound that the backend's result uses."""
    defined = for_reference(op, args)
    expected = getattr(backend.reference, op)(*defined, **options)
    bound = backend.bound(op, *defined, **options)
    actual = run(backend, op, args, options)
    used = fraction(actual, expected, bound)
    if not used <= 1:
        raise ContractError(f"{op} leaves its bound: {where_worst(actual, expected, bound)}")
    return used


def answer(
    backend: Backend, op: str, args: list[Any], options: Mapping[str, Any]
) -> dict[str, ndarray]:
    """What is right, and how far off it may be: for those who read a saved case."""
    defined = for_reference(op, args)
    expected = getattr(backend.reference, op)(*defined, **options)
    return {"expected": expected, "bound": backend.bound(op, *defined, **options)}


def row_by_row(backend: Backend, op: str, args: list[Any], options: Mapping[str, Any]) -> float:
    """Every row alone, and all in reverse order, equal in every bit to the rows of the batch."""
    batch = run(backend, op, args, options, honest=True)
    n = len(args[ROW_WISE[op][0]])
    for t in range(n):
        alone = run(backend, op, taken(op, args, np.array([t])), options, honest=True)
        if not same_bits(alone[0], batch[t]):
            raise ContractError(f"{op}: row {t} of {n} has other bits when it is alone")
    backwards = run(backend, op, taken(op, args, np.arange(n)[::-1]), options, honest=True)
    if not same_bits(backwards[::-1].copy(), batch):
        raise ContractError(f"{op}: rows have other bits in another order")
    return 0.0


def taken(op: str, args: list[Any], rows: ndarray) -> list[Any]:
    """The same arguments with these rows only."""
    return [np.ascontiguousarray(x[rows]) if i in ROW_WISE[op] else x for i, x in enumerate(args)]


def run(
    backend: Backend, op: str, args: list[Any], options: Mapping[str, Any], honest: bool = False
) -> ndarray:
    """The backend's result, on the host.  Guarded (`guards.twice`) unless taken for `honest`."""
    operation = getattr(backend.ops, op)
    names, n = list(options), len(args)
    inputs = [given(backend, x, i in WEIGHTS.get(op, ())) for i, x in enumerate(args)]
    inputs += [given(backend, options[name], False) for name in names]
    if op == "moe":
        inputs[2] = expert_of(args[2], backend.put, backend.host)

    def call(*values: Any) -> Any:
        return operation(*values[:n], **dict(zip(names, values[n:], strict=True)))

    if honest:
        return np.array(backend.host(plainly(call, inputs)))
    return twice(call, inputs, backend)


def given(backend: Backend, x: Any, is_weight: bool) -> Any:
    """An array with its way to the backend; anything else is itself."""
    if isinstance(x, Packed):
        kind = x.type
        return Given(x.blocks, lambda b: backend.weight(Packed(type=kind, blocks=b)), True)
    if not isinstance(x, ndarray):
        return x
    return Given(x, backend.weight, True) if is_weight else Given(x, backend.put)


def for_reference(op: str, args: list[Any]) -> list[Any]:
    """The arguments as `refimpl.ops` takes them."""
    if op != "moe":
        return args
    same = lambda x: x
    return [*args[:2], expert_of(args[2], same, same), *args[3:]]


def expert_of(
    matrices: ndarray, put: Callable[[ndarray], Any], host: Callable[[Any], ndarray]
) -> Callable[[int, Any], Any]:
    """Expert e multiplies with matrices[e], by the definition: only the mixing is tested."""
    return lambda e, rows: put(linear(np.asarray(host(rows)), matrices[e]))
