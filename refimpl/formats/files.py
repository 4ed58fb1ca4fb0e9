"""Files are mapped whole to be read, and replaced in one step when written.

A mapping costs no memory until its pages are touched, and the views into it keep it alive: nothing
here has to be closed.  (A file that another program cuts short while it is mapped ends the process
with a bus error; that is the operating system's rule.)

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

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from refimpl.errors import FormatError, InputError


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
