"""What a device has room for."""

from functools import cache


@cache
def multiprocessors() -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"])


@cache
def most_shared() -> int:
    """Bytes of shared memory that a block can ask for."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(0)["sharedMemPerBlockOptin"])
