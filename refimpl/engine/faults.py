"""What can go wrong with one request, by name.  The others never notice."""

from refimpl.errors import InputError, RefimplError


class EmptyPromptError(InputError):
    """There is nothing to continue."""


class DuplicateIdError(InputError):
    """A request with this id is being served."""


class ContextOverflowError(InputError):
    """The prompt alone fills the model's context."""


class TooLargeError(RefimplError):
    """The request cannot fit the pool, even alone."""


class BackendError(RefimplError):
    """The backend raised while it computed this request."""


class BadLogitsError(RefimplError):
    """The model's output for this request is not a distribution (NaN, infinity)."""


class UnknownIdError(RefimplError):
    """There is no such request to abort."""
