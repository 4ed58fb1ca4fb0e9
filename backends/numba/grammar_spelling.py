"""How a character of a JSON string is spelled, byte by byte, in compiled code.

The same as `refimpl.grammar.literal.read`, with a position packed into two numbers: a part, which
names the place in the spelling, and the value of the digits or bits read so far.

>>> read(0, 0, ord("a")), read(0, 0, 0xC3), read(*read(0, 0, 0xC3), 0xA9)
((0, 97), (1, 3), (0, 233))
"""

from backends.numba.compile import jit_masks, jit_masks_cached

DEAD = -1
MAX_CODE_POINT = 0x10FFFF

# Parts: 1 one more byte of two; 2, 3 two more or one more of three; 4, 5, 6 of four; 7 after a
# backslash; 8..11 after 0..3 digits; 12, 13 a second escape must follow, its `u` must; 14..17 its
# digits.  From 12 on the value holds the first half in its upper 16 bits.


@jit_masks
def _hex(byte: int) -> int:
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    lower = byte | 0x20
    return lower - 0x57 if 0x61 <= lower <= 0x66 else DEAD


@jit_masks
def _short(byte: int) -> int:
    """What a one-letter escape stands for."""
    if byte == 0x22 or byte == 0x5C or byte == 0x2F:
        return byte
    if byte == 0x62:
        return 8
    if byte == 0x66:
        return 12
    if byte == 0x6E:
        return 10
    if byte == 0x72:
        return 13
    return 9 if byte == 0x74 else DEAD


@jit_masks
def span(part: int, value: int) -> tuple[int, int]:
    """The first and last character (surrogates included) that a part can become."""
    if part <= 6:
        left = 1 if part == 1 else 4 - part if part <= 3 else 7 - part
        shortest = 0x80 if part == 1 else 0x800 if part <= 3 else 0x10000
        return max(value << 6 * left, shortest), min(((value + 1) << 6 * left) - 1, MAX_CODE_POINT)
    if part == 7:
        return 0, MAX_CODE_POINT
    if part <= 11:
        shift = 4 * (12 - part)
        return value << shift, ((value + 1) << shift) - 1
    shift = 16 if part <= 13 else 4 * (18 - part)
    high, low = value >> 16, value & 0xFFFF if part > 13 else 0
    lo, hi = max(low << shift, 0xDC00), min(((low + 1) << shift) - 1, 0xDFFF)
    base = 0x10000 + ((high - 0xD800) << 10) - 0xDC00
    return base + lo, base + hi


@jit_masks
def within(part: int, value: int, point: int) -> bool:
    """Whether a half-read character can become this one."""
    lo, hi = span(part, value)
    if lo <= point <= hi:
        return True
    if 8 <= part <= 11 and point >= 0x10000:  # as the first half of a pair
        unit = 0xD800 + ((point - 0x10000) >> 10)
        return lo <= unit <= hi
    return False


@jit_masks
def _some(part: int, value: int) -> tuple[int, int]:
    """The position, if some character can still come of it."""
    lo, hi = span(part, value)
    if part <= 6 and lo >= 0xD800 and hi <= 0xDFFF:
        return DEAD, 0
    if 8 <= part <= 11 and lo >= 0xDC00 and hi <= 0xDFFF:
        return DEAD, 0
    return (part, value) if lo <= hi else (DEAD, 0)


@jit_masks_cached
def read(part: int, value: int, byte: int) -> tuple[int, int]:
    """(0, character), or the next position, or (DEAD, 0)."""
    if part == 0:
        if byte < 0x80:
            if byte == 0x5C:
                return 7, 0
            return (0, byte) if byte >= 0x20 and byte != 0x22 else (DEAD, 0)
        if 0xC0 <= byte < 0xE0:
            return _some(1, byte - 0xC0)
        if 0xE0 <= byte < 0xF0:
            return _some(2, byte - 0xE0)
        return _some(4, byte - 0xF0) if 0xF0 <= byte < 0xF8 else (DEAD, 0)
    if part <= 6:
        if not 0x80 <= byte < 0xC0:
            return DEAD, 0
        value = (value << 6) + byte - 0x80
        last = part == 1 or part == 3 or part == 6
        return (0, value) if last else _some(part + 1, value)
    if part == 7:
        if byte == 0x75:
            return 8, 0
        value = _short(byte)
        return (0, value) if value >= 0 else (DEAD, 0)
    if part == 12:
        return (13, value) if byte == 0x5C else (DEAD, 0)
    if part == 13:
        return (14, value) if byte == 0x75 else (DEAD, 0)
    digit = _hex(byte)
    if digit < 0:
        return DEAD, 0
    return _second(part, value, digit) if part >= 14 else _first(part, value << 4 | digit)


@jit_masks
def _first(part: int, value: int) -> tuple[int, int]:
    if part < 11:
        return _some(part + 1, value)
    if 0xD800 <= value <= 0xDBFF:
        return 12, value << 16
    return (DEAD, 0) if 0xDC00 <= value <= 0xDFFF else (0, value)


@jit_masks
def _second(part: int, value: int, digit: int) -> tuple[int, int]:
    value = (value & ~0xFFFF) | ((value & 0xFFFF) << 4 | digit)
    if part < 17:
        return _some(part + 1, value)
    low, high = value & 0xFFFF, value >> 16
    if not 0xDC00 <= low <= 0xDFFF:
        return DEAD, 0
    return 0, 0x10000 + ((high - 0xD800) << 10) + low - 0xDC00
