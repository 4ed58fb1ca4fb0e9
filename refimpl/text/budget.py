"""How much a stranger's program may do, in units spent before the work is done.

One unit is one pass of a loop, one filter, one element of a list, or 16 characters; a call is
twenty.  The rule that keeps the rest simple: every value is paid for when it is made, at its size
written out in full, so none is ever larger than the budget.  (A list of two lists of two lists ...
is short to hold and endless to print; written out, it is too large to make.)

>>> budget = Budget(100)
>>> budget.pay_for(["ab", ["c"]])
['ab', ['c']]
>>> budget.left                             # two lists and two short strings
96
>>> list(budget.loop(range(20), 5))
Traceback (most recent call last):
...
refimpl.text.budget.OverBudgetError: it does too much: an endless loop, or an enormous text
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from math import prod
from typing import Any, TypeVar

CHARACTERS_PER_UNIT = 16
LONGEST_INTEGER = 4096  # bits
T = TypeVar("T")


class OverBudgetError(Exception):
    """The program did more than its budget allows."""


class Budget:
    """The units that are left.  Spend first, then work."""

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise OverBudgetError("it does too much: an endless loop, or an enormous text")

    def pay_for(self, value: T) -> T:
        """Pay for a value at its size written out."""
        self.spend(self.weight(value))
        return value

    def weight(self, value: object) -> int:
        """The units of a value written out; counting stops where the budget would end."""
        units, pending = 0, [value]
        while pending and units <= self.left:
            part = pending.pop()
            units += 1
            if isinstance(part, str | bytes):
                units += len(part) // CHARACTERS_PER_UNIT
            elif isinstance(part, list | tuple | set | frozenset):
                pending.extend(part)
            elif isinstance(part, Mapping):
                pending.extend(part.keys())
                pending.extend(part.values())
        return units

    def pay_for_product(self, *values: object) -> None:
        """Pay for a result that may be as large as the product of the sizes of these."""
        self.spend(prod(1 + self.size(value) for value in values) // CHARACTERS_PER_UNIT)

    def size(self, value: object) -> int:
        """What a value can contribute to a length: its own, or what it says as a width."""
        if isinstance(value, int):
            return abs(value)
        return len(value) if isinstance(value, str) else CHARACTERS_PER_UNIT * self.weight(value)

    def pay_for_format(self, template: str, values: Iterable[object]) -> None:
        """Pay for `%` and `str.format`: every field may hold all values, at the widths asked
        for."""
        if re.search(r"%[^a-zA-Z%]*\*|\{[^{}]*\{", template):
            raise OverBudgetError("it formats with a width that is itself computed")
        fields = 1 + template.count("%") + template.count("{")
        widths = sum(int(digits[:20]) for digits in re.findall(r"\d+", template))
        self.spend(widths + fields * self.weight(list(values)))

    def pay_for_operator(self, operator: str, left: Any, right: Any) -> None:
        """Pay for `+`, `*`, `%` and `**` before Python computes them."""
        if isinstance(left, int) and isinstance(right, int):
            self.allow_bits(left.bit_length() * (abs(right) if operator == "**" else 1))
            self.allow_bits(left.bit_length() + right.bit_length())
        elif operator == "%" and isinstance(left, str):
            self.pay_for_format(left, [right])
        elif operator == "*" and (isinstance(left, Sized) or isinstance(right, Sized)):
            self.pay_for_product(left, right)
        else:
            self.spend(1 + self.weight([left, right]))

    def allow_bits(self, bits: int) -> None:
        """No template needs integers of more than a thousand digits, which are slow to compute."""
        self.spend(1)
        if bits > LONGEST_INTEGER:
            raise OverBudgetError("it computes with enormous integers")

    def loop(self, iterable: Any, units: int) -> Any:
        """An iterable whose passes cost `units` each: at once if its length is known."""
        if isinstance(iterable, Sized):
            self.spend(units * len(iterable))
            return iterable
        return self.passes(iterable, units) if isinstance(iterable, Iterable) else iterable

    def passes(self, iterable: Iterable[T], units: int) -> Iterator[T]:
        for element in iterable:
            self.spend(units)
            yield element
