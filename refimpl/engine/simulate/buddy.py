"""A buddy allocator: the contiguous memory that PagedAttention was measured against.

Space is handed out in powers of two.  A free piece twice too large is cut into two buddies; when
both are free again they are one.  Whoever needs 600 slots in a row gets 1024, and may have to wait
for them while 2000 lie free in pieces.

Source: Knuth, The Art of Computer Programming, section 2.5; the vLLM paper assumes that Orca
allocates so (section 6.1).

>>> memory = Buddy(1500)                      # pieces of 1024, 256, 128, 64, 16, 8 and 4
>>> memory.can_take(1000), memory.can_take(300)
(True, True)
>>> first = memory.take(600)
>>> first.size, memory.can_take(300), memory.can_take(200)
(1024, False, True)
>>> memory.give_back(first)
>>> memory.can_take(1000)
True
"""

from typing import NamedTuple


class Piece(NamedTuple):
    start: int
    size: int


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n.

    >>> [power_of_two(n) for n in (1, 2, 3, 25)]
    [1, 2, 4, 32]
    """
    return 1 << (n - 1).bit_length()


class Buddy:
    """`n_slots` slots, the lowest free piece first."""

    def __init__(self, n_slots: int) -> None:
        self.free: dict[int, list[int]] = {}
        start = 0
        for power in range(n_slots.bit_length() - 1, -1, -1):
            if n_slots & 1 << power:
                self.free[1 << power] = [start]
                start += 1 << power

    def can_take(self, n: int) -> bool:
        return any(starts and size >= n for size, starts in self.free.items())

    def take(self, n: int) -> Piece:
        """The smallest free piece that is large enough, cut in half while half would do."""
        wanted = power_of_two(n)
        size = min(size for size, starts in self.free.items() if starts and size >= wanted)
        start = min(self.free[size])
        self.free[size].remove(start)
        while size > wanted:
            size //= 2
            self.free.setdefault(size, []).append(start + size)
        return Piece(start, size)

    def give_back(self, piece: Piece) -> None:
        start, size = piece
        while (buddy := start ^ size) in self.free.get(size, []):
            self.free[size].remove(buddy)
            start, size = min(start, buddy), 2 * size
        self.free.setdefault(size, []).append(start)
