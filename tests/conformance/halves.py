"""Backends made of two, as `refimpl conform --backend tests.conformance.halves:NAME` takes them."""

from backends.numba import make_backend
from refimpl.backend import ReferenceBackend
from refimpl.offload import Offload


def numba_first():
    """The first of two layers compiled, the second and the output by the reference."""
    return Offload(make_backend(), ReferenceBackend(), 2)


def numba_last():
    return Offload(ReferenceBackend(), make_backend(), 2)


def numba_output():
    """Nothing but the output on the last: a half without layers."""
    return Offload(ReferenceBackend(), make_backend(), 1)


def numba_all():
    """Nothing but the embedding on the first."""
    return Offload(ReferenceBackend(), make_backend(), 9)
