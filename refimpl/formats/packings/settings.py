"""Reading `quantization_config`: values of the right type and range, or a named error.

Out of range for any file is a `PackingError`; a value that has a meaning, but not one that is read
here, is an `UnsupportedError` that lists what is.

>>> whole({"bits": 4}, "bits", 1, 32), whole({"group_size": None}, "group_size", -1, 10**6, 128)
(4, 128)
>>> one_of({"format": "gptq_v2"}, "format", ("gptq", "gptq_v2"), "gptq")
'gptq_v2'
"""

from collections.abc import Mapping
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.formats.packings.parts import PackingError

MAX_GROUP = 1 << 24  # far above any matrix's width


def whole(
    config: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None
) -> int:
    """An integer low..high; an absent key or null is the default, if there is one."""
    value = config.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise PackingError(
            f"quantization_config: {key} is {value!r}, not an integer from {low} to {high}"
        )
    return value


def one_of(
    config: Mapping[str, Any], key: str, supported: tuple[Any, ...], default: Any = None
) -> Any:
    """One of the supported values; strings are compared in lower case."""
    value = config.get(key)
    value = default if value is None else value.lower() if isinstance(value, str) else value
    if not isinstance(value, type(supported[0])) or value not in supported:
        names = ", ".join(repr(s) for s in supported)
        raise UnsupportedError(
            f"quantization_config: {key} {value!r} is not supported (supported: {names})"
        )
    return value


def section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the config; absent or null is an empty one."""
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PackingError(f"quantization_config: {key} is {value!r}, not an object")
    return value


def strings(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of strings; absent or null is an empty one."""
    value = config.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PackingError(f"quantization_config: {key} is {value!r}, not a list of names")
    return tuple(value)


def group_size(config: Mapping[str, Any], key: str = "group_size", default: int = 128) -> int:
    """Columns that share a scale; -1 stands for all of a row."""
    size = whole(config, key, -1, MAX_GROUP, default)
    if size == 0:
        raise PackingError(f"quantization_config: {key} is 0; -1 stands for a whole row")
    return size


def no_section(config: Mapping[str, Any], key: str, why: str) -> None:
    """Refuse a setting that changes what the weights mean."""
    if section(config, key):
        raise UnsupportedError(f"quantization_config: {key} is not supported: {why}")
