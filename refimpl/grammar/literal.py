"""Reading one JSON string byte by byte: UTF-8 sequences and escapes become characters.

A character can be spelled raw, as `\\n`, as `\\u000a`, or as a pair of surrogate escapes.  The
schema speaks about characters, so every spelling must lead to the same state.  After part of a
spelling, the characters still possible form one or two ranges; `read` returns them, and a prefix
lives as long as one of them does.  Lone surrogates are no characters and are never allowed.

Glossary: a position is () between characters, or a tuple that names the part read so far.

>>> read((), ord("a"))
Char(code_point=97)
>>> read(("hex", 0, 0), ord("d"))
Part(position=('hex', 13, 1), ranges=((53248, 55295), (65536, 1114111)))
"""

from dataclasses import dataclass

from refimpl.grammar import charset as cs

Position = tuple[str | int, ...]
_SHORT = {ord(k): ord(v) for k, v in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
_HEX = {ord(c): int(c, 16) for c in "0123456789abcdefABCDEF"}
_FIRST = {1: 0xC0, 2: 0xE0, 3: 0xF0}  # first bytes, by the number of bytes that follow
_SHORTEST = {1: 0x80, 2: 0x800, 3: 0x10000}


@dataclass(frozen=True)
class Char:
    code_point: int


@dataclass(frozen=True)
class Part:
    position: Position
    ranges: cs.CharSet


def read(position: Position, byte: int) -> Char | Part | None:
    """What one more byte inside the quotes makes of a position; None if it cannot stand there."""
    if not position:
        return _start(byte)
    match position[0]:
        case "utf8":
            return _continue(position, byte)
        case "escape":
            return _escape(byte)
        case "hex":
            return _hex(position, byte)
        case "low":  # the first half of a pair was read
            expected = (ord("\\"), ord("u"))[int(position[2])]
            if byte != expected:
                return None
            high = int(position[1])
            step = ("low", high, 1) if position[2] == 0 else ("lowhex", high, 0, 0)
            return Part(step, _pairs(high, 0, 0))
        case _:
            return _low_hex(position, byte)


def _start(byte: int) -> Char | Part | None:
    if byte == ord("\\"):
        return Part(("escape",), cs.ALL)
    if byte < 0x80:
        return Char(byte) if byte >= 0x20 and byte != ord('"') else None
    for n, bits in _FIRST.items():
        if bits <= byte < bits + (0x20 >> (n - 1)):
            return _utf8(byte - bits, n, _SHORTEST[n])
    return None


def ranges_of(position: Position) -> cs.CharSet:
    """The characters that a part of a spelling can still become."""
    kind, *numbers = position
    value, n, *more = (*map(int, numbers), 0, 0)
    match kind:
        case "utf8":
            part = _utf8(value, n, more[0])
            return part.ranges if part else ()
        case "hex" if n:
            return _units(value << 4 * (4 - n), ((value + 1) << 4 * (4 - n)) - 1)
        case "low":
            return _pairs(value, 0, 0)
        case "lowhex":
            return _pairs(value, n, more[0])
    return cs.ALL


def finish(position: Position, code_point: int) -> bytes:
    r"""The fewest bytes that make this part the character, one of its `ranges_of`.

    >>> [finish(p, ord("\n")) for p in (("escape",), ("hex", 0, 2))]
    [b'n', b'0a']
    >>> finish(("low", 0xD83D, 0), 0x1F600)
    b'\\ude00'
    """
    kind, *numbers = position
    if kind == "utf8":
        return chr(code_point).encode()[-int(numbers[1]) :]
    letter = next((e for e, c in _SHORT.items() if c == code_point), None)
    if kind == "escape" and letter is not None:
        return bytes((letter,))
    units = [code_point]
    if code_point > 0xFFFF:
        high, low = divmod(code_point - 0x10000, 0x400)
        units = [0xD800 + high, 0xDC00 + low]
    spelled = b"\\".join(b"u%04x" % unit for unit in units)
    read = {"escape": 0, "hex": 1, "low": 5, "lowhex": 7}[str(kind)]
    return spelled[read + (0 if kind == "escape" else int(numbers[-1])) :]


def _utf8(value: int, left: int, shortest: int) -> Part | None:
    """`left` continuation bytes are missing; a value below `shortest` would be overlong."""
    lo, hi = value << 6 * left, ((value + 1) << 6 * left) - 1
    lo, hi = max(lo, shortest), min(hi, cs.MAX_CODE_POINT)
    ranges = cs.charset((lo, hi)) if lo <= hi else ()
    return Part(("utf8", value, left, shortest), ranges) if ranges else None


def _continue(position: Position, byte: int) -> Char | Part | None:
    _, value, left, shortest = position
    if not 0x80 <= byte < 0xC0:
        return None
    part = _utf8((int(value) << 6) + byte - 0x80, int(left) - 1, int(shortest))
    if part is None or part.position[2] != 0:
        return part
    return Char(part.ranges[0][0])


def _escape(byte: int) -> Char | Part | None:
    if byte == ord("u"):
        return Part(("hex", 0, 0), cs.ALL)
    return Char(_SHORT[byte]) if byte in _SHORT else None


def _hex(position: Position, byte: int) -> Char | Part | None:
    if byte not in _HEX:
        return None
    value, digits = (int(position[1]) << 4) + _HEX[byte], int(position[2]) + 1
    if digits < 4:
        ranges = _units(value << 4 * (4 - digits), ((value + 1) << 4 * (4 - digits)) - 1)
        return Part(("hex", value, digits), ranges) if ranges else None
    if 0xD800 <= value <= 0xDBFF:
        return Part(("low", value, 0), _pairs(value, 0, 0))
    return None if 0xDC00 <= value <= 0xDFFF else Char(value)


def _units(lo: int, hi: int) -> cs.CharSet:
    """The characters whose first UTF-16 unit lies in lo..hi."""
    first, last = max(lo, 0xD800), min(hi, 0xDBFF)
    astral: cs.CharSet = ()
    if first <= last:
        astral = ((0x10000 + ((first - 0xD800) << 10), 0xFFFF + ((last - 0xD7FF) << 10)),)
    return cs.charset((lo, hi), *astral)


def _pairs(high: int, value: int, digits: int) -> cs.CharSet:
    """The characters of pairs that begin with `high` and these digits of the second half."""
    shift = 4 * (4 - digits)
    lo, hi = max(value << shift, 0xDC00), min(((value + 1) << shift) - 1, 0xDFFF)
    base = 0x10000 + ((high - 0xD800) << 10) - 0xDC00
    return ((base + lo, base + hi),) if lo <= hi else ()


def _low_hex(position: Position, byte: int) -> Char | Part | None:
    if byte not in _HEX:
        return None
    high, value, digits = (int(x) for x in position[1:])
    value, digits = (value << 4) + _HEX[byte], digits + 1
    ranges = _pairs(high, value, digits)
    if not ranges:
        return None
    return Part(("lowhex", high, value, digits), ranges) if digits < 4 else Char(ranges[0][0])
