"""From .cu files to kernels: headers put in by name, NVRTC, and one compilation per set of names.

A kernel is compiled for its shapes: `defines` say which format, how many tokens, which activation.
What NVRTC sees is the text alone (`source`), with the project's headers in place of their
`#include` lines and none of CUDA's, so a hash of it says everything about what ran
(`backends.cupy.record`).

>>> "mma_f16" in source("linear_half") and "#include" not in source("linear_half")
True
>>> flags({"FORMAT": 6, "NORM": None})
('-std=c++17', '-DFORMAT=6', '-DNORM')
"""

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from backends.cupy.nvrtc import compile_cubin

FOLDER = Path(__file__).parent / "kernels"
INCLUDE = re.compile(r'^#include "(.*)"\n', re.MULTILINE)

Defines = dict[str, Any]


def names() -> list[str]:
    """Every kernel, by the name of its file, which is also its function's."""
    return sorted(path.stem for path in FOLDER.glob("*.cu"))


@cache
def source(name: str) -> str:
    """The text of a kernel with its headers in it."""
    text = (FOLDER / f"{name}.cu").read_text()
    return INCLUDE.sub(lambda found: (FOLDER / found[1]).read_text(), text)


def flags(defines: Defines) -> tuple[str, ...]:
    """The compiler's arguments; a name without a value is only defined."""
    return (
        "-std=c++17",
        *(f"-D{name}" if value is None else f"-D{name}={value}" for name, value in defines.items()),
    )


class Kernels:
    """Compiled kernels, each made when it is first asked for."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, tuple[str, ...]], Any] = {}

    def __call__(self, name: str, **defines: Any) -> Any:
        key = name, flags(defines)
        if key not in self.made:
            self.made[key] = load(name, key[1])
        return self.made[key]


class Kernel(NamedTuple):
    """CuPy's kernel, and whether it may begin early, since it waits by itself (driver.py)."""

    kernel: Any
    waits: bool


@cache
def capability() -> int:
    """The device's: 80, 90, ..."""
    import cupy

    return int(cupy.cuda.Device().compute_capability)


def architecture(capability: int) -> str:
    """What to compile for; Hopper's own instructions (wgmma) need the "a".

    >>> architecture(80), architecture(90)
    ('sm_80', 'sm_90a')
    """
    return f"sm_{capability}{'a' if capability == 90 else ''}"


def load(name: str, options: tuple[str, ...]) -> Kernel:
    """The kernel on this device."""
    import cupy

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.cubin"
        path.write_bytes(compile_cubin(source(name), name, options, architecture(capability())))
        kernel = cupy.RawModule(path=str(path)).get_function(name)
    return Kernel(kernel, capability() >= 90 and "wait_for_previous();" in source(name))
