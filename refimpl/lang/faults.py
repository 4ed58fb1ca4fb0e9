"""What can go wrong with a program, by name.

Inside a program an error is what it is: a `TimeoutError`, a `SchemaError`, a `BackendError`.  Out
of a program comes exactly one kind, `ProgramError`, which says which program, at which line, and
what happened there; the first error is its cause.

>>> def broken():
...     return 1 // 0
>>> try:
...     broken()
... except ZeroDivisionError as error:
...     fault = blame("divide", broken.__code__, error)
>>> fault.program, fault.line - broken.__code__.co_firstlineno, str(fault).split(": ", 1)[1]
('divide', 1, 'ZeroDivisionError: integer division or modulo by zero')
"""

from pathlib import Path
from types import CodeType, TracebackType

from refimpl.errors import InputError, RefimplError


class ProgramError(RefimplError):
    """A program has failed: its name, the file and line of it, and why."""

    def __init__(self, program: str, path: str, line: int, error: BaseException) -> None:
        where = "".join(f" {note}" for note in getattr(error, "__notes__", []))
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        super().__init__(f"program {program!r}, {Path(path).name}:{line}{where}: {what}")
        self.program, self.path, self.line, self.cause = program, path, line, error


class SchemaError(RefimplError):
    """The model's text is no value of the schema it was asked for."""


class StoppedError(RefimplError):
    """The engine is not running: it was not entered, was left, or has broken down."""


class ServerError(RefimplError):
    """A server answered, but not what was asked of it."""


class ServerGoneError(ServerError):
    """A server does not answer."""


class BusyError(InputError):
    """Two things were asked of one text at the same time."""


def blame(program: str, code: CodeType, error: BaseException) -> ProgramError:
    """The error, and the innermost line of the program's own file that led to it."""
    while isinstance(error, BaseExceptionGroup):  # of a program's own task group
        error = error.exceptions[0]
    line = code.co_firstlineno
    at: BaseException | None = error
    while at is not None:
        line = line_in(code.co_filename, at.__traceback__) or line
        at = at.__cause__ if isinstance(at, TimeoutError) else None  # where time ran out
    return ProgramError(program, code.co_filename, line, error)


def line_in(path: str, trace: TracebackType | None) -> int | None:
    """The innermost line of a file in a traceback."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
