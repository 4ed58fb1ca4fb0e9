"""NVRTC, NVIDIA's compiler as a library: CUDA C++ in, machine code out, no GPU needed.

CuPy can call it too, but always adds `-ftz=true`: numbers below 2**-126 would become zero, and the
definition's do not.  (And a test on a machine without a GPU has no use for the rest of CuPy.)

Source: the NVRTC documentation, https://docs.nvidia.com/cuda/nvrtc/.
"""

import ctypes
from collections.abc import Iterator, Sequence
from functools import cache
from glob import glob
from importlib.util import find_spec
from typing import Any

from refimpl.errors import UnsupportedError

PLACES = ("/usr/local/cuda*/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib")


def libraries() -> Iterator[str]:
    """Where libnvrtc may be: NVIDIA's wheels first, newest first, then the system's places."""
    spec = find_spec("nvidia")
    wheels = list(spec.submodule_search_locations or ()) if spec else []
    for place in [*(f"{root}/*/lib" for root in wheels), *PLACES]:
        found = glob(f"{place}/libnvrtc.so.[0-9]*")
        yield from sorted((f for f in found if "alt" not in f), reverse=True)
    yield "libnvrtc.so"


@cache
def library() -> Any:
    """The loaded library, or an error that says how to get it."""
    for path in libraries():
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise UnsupportedError("NVRTC is not installed: pip install nvidia-cuda-nvrtc")


def version() -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_cubin(source: str, name: str, options: Sequence[str], arch: str) -> bytes:
    """Machine code for `arch` (sm_80, sm_90, ...); an error carries the compiler's own words."""
    lib, program = library(), ctypes.c_void_p()
    lib.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0, None, None
    )
    words = [option.encode() for option in (f"-arch={arch}", *options)]
    failed = lib.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    try:
        if failed:
            raise UnsupportedError(f"{name}.cu: {taken(program, 'ProgramLog').decode()}")
        return taken(program, "CUBIN")
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def taken(program: ctypes.c_void_p, what: str) -> bytes:
    """What NVRTC has to give under this name: first its size, then its bytes."""
    size = ctypes.c_size_t()
    getattr(library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    getattr(library(), f"nvrtcGet{what}")(program, room)
    return room.raw if what == "CUBIN" else room.value
