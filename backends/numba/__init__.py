"""The CPU backend: kernels written in Python with vectors, compiled by Numba.

A reading path, from the machine up: `simd` (vectors as values), `simd_memory` (where they come from
and go), `processor` (what differs between machines), `tile` and `int_tile` (a few tokens at once),
`kernels` (a file per family of formats), `activations` (what they are multiplied with), `matmul`,
`repack` and `one_row` (whole matrices), `functions` and `rows` (what happens to a row), `kv` and
`attention`, `atomics` and `pool` (threads), `shares` and `step` (a whole forward pass), `penalise`,
`powers`, `filters`, `mirostat` and `sample` (its last token); then the Python around it: `compile`,
`memory`, `formats`, `layout`, `records`, `program`, `cache`, `plans`, `runtime`, `ops` and
`backend`.
"""

from typing import TYPE_CHECKING

from refimpl.errors import UnsupportedError

if TYPE_CHECKING:
    from backends.numba.backend import NumbaBackend
    from refimpl.ops.reference import Act


def make_backend(
    *, act: "Act" = "none", cache: str = "float32", threads: int | None = None
) -> "NumbaBackend":
    """What `--backend numba` makes, or one line on what is missing."""
    try:
        import numba  # noqa: F401
    except ImportError:
        raise UnsupportedError(
            'the numba backend needs Numba: pip install "refimpl[numba]"'
        ) from None
    from backends.numba.backend import NumbaBackend

    return NumbaBackend(act=act, cache=cache, threads=threads)
