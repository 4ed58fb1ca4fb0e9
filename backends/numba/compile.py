"""Compiling once for a machine: what is compiled is kept on disk, under a key that sees every edit.

Two kinds of functions.  `jit` marks the pieces: they take vectors and addresses, are inlined into
whoever calls them, and are never compiled alone.  `entry` marks what is called from outside, by its
address: by Python, by a worker thread, or by other compiled code that holds a table of such
addresses.  So a whole forward step is compiled without knowing any weight format, and a format that
no model uses is never compiled.

Numba caches compiled code by the modification time of the *calling* file alone, and misses edits in
helpers.  Here the directory's name is a hash of all sources of this package (`STEP` or `MASKS`), of
Numba's version and of the processor; an edit leads to another directory.

>>> @entry(2)
... def nothing(first, second):
...     pass
>>> nothing.name, nothing.arity                       # compiled when its address is first asked for
('compile.nothing', 2)
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba import cfunc, njit, types
from numba.core import config
from numba.core.registry import cpu_target

Report = Callable[[str, Path], None]  # what is compiled, and where it is kept

STEP, MASKS = "[!g]*.py", "grammar*.py"
"""Which sources decide what is compiled: a model's step, and the masks of constraints."""
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}


def jit(function: Callable[..., Any]) -> Any:
    """A piece: inlined where it is called."""
    return njit(forceinline=True, **OPTIONS)(function)


def jit_call(function: Callable[..., Any]) -> Any:
    """A piece too large to be copied into each of its callers."""
    return njit(**OPTIONS)(function)


def jit_cached(function: Callable[..., Any], **options: Any) -> Any:
    """Called from Python with arrays, and kept on disk."""
    with in_our_directory():
        return njit(cache=True, **OPTIONS, **options)(function)


def jit_masks(function: Callable[..., Any]) -> Any:
    """A piece of the masks' code: compiled with its callers only, and not called from Python."""
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def jit_masks_inlined(function: Callable[..., Any]) -> Any:
    """A piece that is called for each byte, from one or two places: its answer need not pass
    through memory."""
    return njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def jit_masks_pasted(function: Callable[..., Any]) -> Any:
    """A piece with one caller, and so much below it that compiling it alone takes seconds."""
    return njit(inline="always")(function)


def jit_masks_cached(function: Callable[..., Any]) -> Any:
    """What Python calls of the masks' code; kept on disk (`grammar_ready`)."""
    with in_our_directory(MASKS):
        return njit(cache=True)(function)


class Entry:
    """Compiled code with an address; `arity` machine words go in, nothing comes out."""

    def __init__(self, function: Callable[..., None], arity: int) -> None:
        self.function, self.arity = function, arity
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    @cached_property
    def address(self) -> int:
        """Where the code is; compiles it when no process on this machine has done so before."""
        marker = directory() / f"{self.name}.compiled"
        if not marker.exists():
            announce(self.name, directory())
        signature = types.void(*[types.intp] * self.arity)
        with in_our_directory():
            self._keep = cfunc(signature, cache=True, error_model="numpy")(self.function)
        marker.touch()
        return int(self._keep.address)

    def __call__(self, *words: int) -> None:
        """Call it from Python, on this thread and without the GIL."""
        self._from_python(*words)

    @cached_property
    def _from_python(self) -> Callable[..., None]:
        import ctypes

        word = ctypes.c_ssize_t
        return ctypes.CFUNCTYPE(None, *[word] * self.arity)(self.address)


def specialise(template: Callable[..., None], name: str, **names: Any) -> Entry:
    """A copy of a function in which some global names have other values.

    Numba takes what a global name stands for as a constant, so each copy is compiled for its own
    (a closure would do the same, but cannot be kept on disk).
    """
    known = {**template.__globals__, **names}
    copy = FunctionType(template.__code__, known, name)
    copy.__qualname__ = name
    return Entry(copy, template.__code__.co_argcount)


def entry(arity: int) -> Callable[[Callable[..., None]], Entry]:
    return lambda function: Entry(function, arity)


@cache
def directory(sources: str = STEP) -> Path:
    """Where compiled code is kept: NUMBA_CACHE_DIR, or the user's cache directory."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else user_cache() / "refimpl" / "numba"
    path = root / key(sources)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written: compile again in each process
        import tempfile

        path = Path(tempfile.mkdtemp(prefix="refimpl-numba-"))
    return path


def user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def key(sources: str) -> str:
    """One name for these sources, this Numba and this processor."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob(sources)):
        digest.update(source.read_bytes())
    codegen = cpu_target.target_context.codegen().magic_tuple()
    digest.update(repr((numba.__version__, llvmlite.__version__, sys.version, codegen)).encode())
    return digest.hexdigest()[:16]


@contextmanager
def in_our_directory(sources: str = STEP) -> Iterator[None]:
    """Numba reads its cache directory when a function is decorated; others keep theirs."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(directory(sources))
    try:
        yield
    finally:
        config.CACHE_DIR = before


@cache
def reports() -> list[Report]:
    """Who is told that something is compiled: a list, in which a command may put itself."""
    return [say_once]


def say_once(name: str, where: Path) -> None:
    """One line for whoever wonders why the first run takes its time."""
    said = said_so_far()
    if not said:
        sys.stderr.write(f"numba: compiling for this machine, once (kept in {where})\n")
    said.append(name)


@cache
def said_so_far() -> list[str]:
    """What has been compiled by this process."""
    return []


def announce(name: str, where: Path) -> None:
    for report in reports():
        report(name, where)
