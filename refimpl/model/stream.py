"""From tokens to text as it appears: stop strings, and pieces that are safe to print.

A stop string may arrive in halves, so text that could be the beginning of one is held back until
the next token decides.  Nothing of the stop string itself is ever emitted.

>>> watch = StopWatch(("END",))
>>> [watch.push(piece) for piece in ("one E", "N", "Dtwo")], watch.stopped
(['one ', '', ''], True)
>>> watch = StopWatch(("END",))
>>> watch.push("the E") + watch.push("N") + watch.flush()
'the EN'
"""

from dataclasses import dataclass, field


@dataclass
class StopWatch:
    """Lets text through up to the first occurrence of a stop string (the earliest to begin)."""

    stops: tuple[str, ...]
    stopped: bool = False
    held: str = field(default="", init=False)

    def push(self, piece: str) -> str:
        """The part of the text so far that no later piece can take back."""
        if self.stopped:
            return ""
        text = self.held + piece
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self.held = True, ""
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self.stops), default=0)
        cut = len(text) - keep
        self.held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What is still held when the text is over."""
        held, self.held = self.held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """The length of the longest proper beginning of `stop` that `text` ends with.

    >>> overlap("abcEN", "END"), overlap("abc", "END")
    (2, 0)
    """
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
