"""Is this a log that a page can draw?  A stranger's file ends up in HTML, so it is looked at first.

A shape is a type, a set of words, a list of things of one shape, a tuple of shapes in order, a dict
of what must be there, or `Maybe` of a shape, for what may be null.

>>> fits([1, 2], [int]), fits([1, "2"], [int]), fits("used", {"used", "free"})
(True, False, True)
>>> fits(["a", 1], (str, int)), fits({"n": None, "m": 0}, {"n": Maybe(int)}), fits({}, {"n": int})
(True, True, False)
"""

from typing import Any, NamedTuple

from refimpl.errors import FormatError

FORMAT, VERSION = "refimpl-events", 1


class Maybe(NamedTuple):
    shape: Any


HEADER = {
    "cache": {"none", "hashed", "radix"},
    "n_blocks": int,
    "block_size": int,
    "budget": int,
    "max_seqs": int,
    "words": {},
}
STEP = {
    "shares": [{"id": str, "start": int, "n": int, "draws": [str]}],
    "preempted": [str],
    "moves": [({"Copy", "SwapOut", "SwapIn"}, int, int, str)],
    "news": [
        {
            "id": str,
            "token": Maybe(int),
            "finish": Maybe({"stop", "length", "abort", "error"}),
        }
    ],
    "requests": [
        {
            "id": str,
            "status": {"waiting", "running", "swapped"},
            "table": [int],
            "n_prompt": int,
            "n_computed": int,
            "n_tokens": int,
        }
    ],
    "blocks": [({"used", "cached", "free"}, int, [Maybe(int)])],
    "tree": [
        {"id": int, "parent": int, "tokens": [int], "pages": [int], "locks": int, "last_used": int}
    ],
}


def fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, Maybe):
        return value is None or fits(value, shape.shape)
    if isinstance(shape, set):
        return isinstance(value, str) and value in shape
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if isinstance(shape, tuple):
        together = isinstance(value, list) and len(value) == len(shape)
        return together and all(map(fits, value, shape))
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], inner) for key, inner in shape.items()
        )
    return type(value) is shape


def check_header(event: Any) -> None:
    if not isinstance(event, dict) or event.get("format") != FORMAT:
        raise FormatError(f"the log does not begin with a header of format {FORMAT!r}")
    if event.get("version") != VERSION:
        raise FormatError(
            f"the log is of version {event.get('version')!r}, and this program reads {VERSION}: "
            "record it again"
        )
    wrong = [
        key for key, shape in HEADER.items() if key not in event or not fits(event[key], shape)
    ]
    if wrong or not all(fits(word, str) for word in event["words"].values()):
        raise FormatError(f"the log's header has no usable {(wrong or ['words'])[0]!r}")


def check_step(number: int, event: Any, header: dict[str, Any]) -> None:
    """Every part has its shape, and every block that is named exists."""
    wrong = [
        key
        for key, shape in STEP.items()
        if not isinstance(event, dict) or key not in event or not fits(event[key], shape)
    ]
    if wrong:
        raise FormatError(f"line {number} of the log is no step: it has no usable {wrong[0]!r}")
    named = [block for request in event["requests"] for block in request["table"]]
    if len(event["blocks"]) != header["n_blocks"] or any(
        not 0 <= block < header["n_blocks"] for block in named
    ):
        raise FormatError(f"line {number} of the log names blocks that the pool does not have")
