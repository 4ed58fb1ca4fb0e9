"""Written arithmetic, as taught at school: one column a line, from the right, carries written out.

Adding two long numbers in one's head is hard for a small transformer: the first digit it must say
depends on the last carry it would compute.  On paper each line is one look-up.  The layout makes it
local: every line is equally wide, so the digits of column k stand at fixed distances from line k.

    48351+7962
    1+2+0=03        digit + digit + carry in = carry out, digit written
    5+6+0=11
    3+9+1=13
    8+7+1=16
    4+0+1=05
    56313

Subtraction writes the borrow before it is used ("13-9-0=4": ten was borrowed, so the next line
takes one away), and multiplication by one digit carries like addition ("4*6+0=24").

>>> print(add(57, 68))
57+68
7+8+0=15
5+6+1=12
125
>>> print(subtract(402, 38))
402-38
12-8-0=4
10-3-1=6
04-0-1=3
364
>>> print(times(14, 6))
14*6
4*6+0=24
1*6+2=08
84
"""

from collections.abc import Iterator


def digits(n: int, width: int) -> list[int]:
    """The digits of n, the least significant first, padded with zeros to `width`.

    >>> digits(38, 3)
    [8, 3, 0]
    """
    return [n // 10**k % 10 for k in range(width)]


def columns(a: int, b: int) -> Iterator[tuple[int, int]]:
    width = max(len(str(a)), len(str(b)))
    return zip(digits(a, width), digits(b, width), strict=True)


def add(a: int, b: int) -> str:
    lines, carry = [f"{a}+{b}"], 0
    for x, y in columns(a, b):
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02}")
        carry = total // 10
    return "\n".join([*lines, str(a + b)])


def subtract(a: int, b: int) -> str:
    """a - b for a >= b."""
    lines, borrowed = [f"{a}-{b}"], 0
    for x, y in columns(a, b):
        borrow = int(x - y - borrowed < 0)
        lines.append(f"{borrow}{x}-{y}-{borrowed}={10 * borrow + x - y - borrowed}")
        borrowed = borrow
    return "\n".join([*lines, str(a - b)])


def times(a: int, b: int) -> str:
    """a * b for one digit b."""
    lines, carry = [f"{a}*{b}"], 0
    for x in digits(a, len(str(a))):
        total = x * b + carry
        lines.append(f"{x}*{b}+{carry}={total:02}")
        carry = total // 10
    return "\n".join([*lines, str(a * b)])


def compare(a: int, b: int) -> str:
    """Which is larger, on paper: by length, and from the left where the lengths agree.

    >>> print(compare(4821, 4812))
    4 4
    4=4
    8=8
    2>1
    4821>4812
    >>> print(compare(99, 100))
    2 3
    99<100
    """
    left, right = str(a), str(b)
    lines = [f"{len(left)} {len(right)}"]
    if len(left) == len(right):
        for x, y in zip(left, right, strict=True):
            lines.append(f"{x}{sign(int(x), int(y))}{y}")
            if x != y:
                break
    return "\n".join([*lines, f"{a}{sign(a, b)}{b}"])


def sign(a: int, b: int) -> str:
    return "<" if a < b else ">" if a > b else "="
