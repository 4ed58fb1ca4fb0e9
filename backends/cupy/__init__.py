"""The CUDA backend, through CuPy: see `backends.cupy.backend`, and docs/cuda.md."""

from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.ops.reference import Act


def make_backend(*, act: Act = "none", cache: str = "float32", threads: int | None = None) -> Any:
    """The backend, or one line on what it lacks.  (`threads` is the CPU backends' matter.)"""
    try:
        import cupy

        devices = cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        raise UnsupportedError(
            'the cupy backend needs CuPy: pip install "refimpl[cuda13]" (or cuda12)'
        ) from None
    except Exception as error:
        raise UnsupportedError(f"the cupy backend finds no CUDA device: {error}") from None
    if not devices:
        raise UnsupportedError("the cupy backend finds no CUDA device: is there an NVIDIA GPU?")
    from backends.cupy.backend import CudaBackend

    return CudaBackend(act=act, cache=cache)
