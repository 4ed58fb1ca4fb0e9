"""What can be wrong with a tokenizer file or a chat template."""

from refimpl.errors import FormatError, InputError


class TokenizerError(FormatError):
    """A tokenizer's file contradicts itself, is truncated, or is hostile."""


class ChatTemplateError(InputError):
    """A chat template refused the messages, is malformed, or did more than a template may."""
