"""How two results are compared: in every bit, or by the share of a bound that was used.

>>> fraction(np.float32([1.0]), np.float32([1.0]), np.array([0.0]))      # equal: nothing is used
0.0
>>> fraction(np.float32([1.5]), np.float32([1.0]), np.array([2.0]))
0.25
"""

import numpy as np
from numpy import ndarray

from refimpl.errors import RefimplError


class ContractError(RefimplError):
    """A backend does not keep its contract."""


def same_bits(a: ndarray, b: ndarray) -> bool:
    """Same shape, same dtype, same bytes (so that NaN equals itself and -0 is not 0)."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def fraction(actual: ndarray, expected: ndarray, bound: ndarray) -> float:
    """The largest share of the bound that was used; where the bound is infinite nothing counts."""
    if actual.shape != expected.shape:
        raise ContractError(
            f"the result has shape {actual.shape}, and should have {expected.shape}"
        )
    if actual.dtype.kind != "f" and "float" not in str(actual.dtype):
        raise ContractError(f"the result is {actual.dtype}, and should be floating point")
    if not actual.size:
        return 0.0
    claimed = np.isfinite(bound)
    wrong = ~np.isfinite(actual.astype(np.float64)) & np.isfinite(expected.astype(np.float64))
    if (wrong & claimed).any():
        raise ContractError("the result has NaN or Inf where the definition has a number")
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
        used = np.where(claimed & (gap > 0), gap / bound, 0.0)
    return float(used.max())


def where_worst(actual: ndarray, expected: ndarray, bound: ndarray) -> str:
    """The component that used most of its bound."""
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(np.isfinite(bound) & (gap > 0), gap / bound, 0.0)
    at = np.unravel_index(int(used.argmax()), used.shape)
    place = ", ".join(map(str, at))
    return (
        f"component [{place}] is {float(actual[at])!r}, should be {float(expected[at])!r} "
        f"within {float(bound[at]):.3g}"
    )
