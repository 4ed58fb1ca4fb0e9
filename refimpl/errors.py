"""Errors a user can act on: each message says what was found and what to do about it.

The command line prints these as one line and exits with status 1; anything else that escapes is a
bug in this project.
"""


class RefimplError(Exception):
    """Base of every error this project raises on purpose."""


class FormatError(RefimplError):
    """A file is truncated, inconsistent or hostile.  Raised before any large allocation."""


class UnsupportedError(RefimplError):
    """The file or request is well formed, but names something this project does not implement."""


class InputError(RefimplError):
    """An argument is out of range or contradicts another."""
