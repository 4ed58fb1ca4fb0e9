"""Files are mapped whole to be read, and replaced in one step when written.

A mapping costs no memory until its pages are touched, and the views into it keep it alive: nothing
here has to be closed.  (A file that another program cuts short while it is mapped ends the process
with a bus error; that is the operating system's rule.)  Whoever has moved a view's bytes to a place
of their own gives its pages back (`forget`).

A written file appears under its name only when it is complete.  Until then it is a hidden draft
beside it, which goes away on any error and on Ctrl-C.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder, "greeting")
...     with replacing(path) as draft:
...         _ = draft.write_bytes(b"hello")
...         print(path.exists())
...     print(map_file(path, FormatError)[:])
False
b'hello'
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

import numpy as np
from numpy import ndarray

from refimpl.errors import FormatError, InputError

PAGE = 4096


def map_file(path: Path, error: type[FormatError]) -> mmap.mmap:
    """The bytes of a file, read-only.  `error` is what the caller's format raises."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise error(f"{path}: not a regular file")
        if status.st_size == 0:
            raise error(f"{path}: the file is empty; download or convert it again")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        raise error(f"{path}: cannot be read: {cause}") from None


def forget(array: ndarray) -> None:
    """Let go of the pages behind a mapped, read-only array; reading it again reads the file again.

    They would count as this process's memory until someone else needed them.
    """
    if sys.platform != "linux" or array.flags.writeable or not is_mapped(array):
        return
    start = -(-array.ctypes.data // PAGE) * PAGE
    stop = (array.ctypes.data + array.nbytes) // PAGE * PAGE
    if stop > start:
        libc = ctypes.CDLL(None)
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)


def is_mapped(array: ndarray) -> bool:
    """Whether the bytes are a mapped file's."""
    base: object = array
    while base is not None:
        if isinstance(base, (np.memmap, mmap.mmap)):
            return True
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path this yields; it takes the place of `path` if the block ends well."""
    draft = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield draft
        draft.replace(path)
    except OSError as cause:
        raise InputError(f"cannot write {path}: {cause}") from cause
    finally:
        with suppress(OSError):
            draft.unlink()
