"""Kernels of plain CUDA C++ on the CPU: compiled by g++ with emulator.h in place of CUDA.

It says nothing about speed, nor about races between blocks; it does say whether a kernel computes
what it should, with every thread, barrier and shuffle in its place.
"""

import ctypes
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.cupy.compile import FOLDER

HEADER = Path(__file__).with_name("emulator.h")
INCLUDE = re.compile(r'^#include "(.*)"\n', re.MULTILINE)


def text_of(file):
    """A kernel's text; the small numbers that numbers.cuh has in assembly are the emulator's."""
    text = (FOLDER / file).read_text()
    return INCLUDE.sub(lambda m: "" if m[1] == "numbers.cuh" else text_of(m[1]), text)


def parameters(text, name):
    """The kernel's parameters as (declaration, name)."""
    inside = re.search(rf"\b{name}\(([^)]*)\)\s*{{", text)[1].replace("__restrict__", "")
    return [(" ".join(one.split()), one.split()[-1].lstrip("*")) for one in inside.split(",")]


@cache
def library(name, folder):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    text = text_of(f"{name}.cu")
    declared, names = zip(*parameters(text, name), strict=True)
    call = f"launch(gx, gy, threads, [&] {{ {name}({', '.join(names)}); }});"
    whole = (
        f'#include "{HEADER}"\n'
        + text.replace('extern "C" __global__', "static")
        + f'extern "C" void go(int gx, int gy, int threads, {", ".join(declared)}) {{ {call} }}'
    )
    source, made = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(whole)
    flags = ["-std=c++20", "-O1", "-w", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, source, "-o", made], check=True)
    return ctypes.CDLL(str(made))


def launch(folder, name, grid, threads, *args):
    """Run it; NumPy's arrays are written in place, numbers are C's int or double."""
    values = [
        ctypes.c_void_p(a.ctypes.data)
        if isinstance(a, np.ndarray)
        else (ctypes.c_double if isinstance(a, float) else ctypes.c_int)(a)
        for a in args
    ]
    x, y = (*grid, 1)[:2]
    library(name, folder).go(x, y, threads, *values)
