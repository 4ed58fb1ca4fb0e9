"""Charts as SVG text: axes with round ticks, lines told apart by colour, dash and label.

>>> chart = line_chart([Line(name="a", points=[(1, 2), (2, 3)])], title="t", x="x", y="y")
>>> chart.startswith("<svg") and chart.count("<polyline") == 1
True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 168, 44, 52  # margins; the legend stands on the right
COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57", "#8a5cd1", "#c77d0a", "#4a4e69", "#008c95")
DASHES = ("", "7 4", "2 3")


Number = float | int


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    points: Sequence[tuple[Number, Number]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values to pixels."""

    low: Number
    high: Number
    start: Number
    end: Number
    log: bool = False

    def __call__(self, value: Number) -> float:
        low, high, at = (log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low or 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**k for k in range(ceil(log10(self.low)), floor(log10(self.high)) + 1)]
        step = round_up((self.high - self.low or 1) / 5)
        return [k * step for k in range(ceil(self.low / step), floor(self.high / step) + 1)]


def round_up(value: Number) -> float:
    """The next of 1, 2, 5, 10, 20, ...

    >>> [round_up(v) for v in (0.03, 1, 3, 7)]
    [0.05, 1.0, 5.0, 10.0]
    """
    power = 10.0 ** floor(log10(value))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= value * (1 - 1e-9))


def line_chart(lines: Sequence[Line], *, title: str, x: str, y: str, log_x: bool = False) -> str:
    points = [point for line in lines for point in line.points]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    across = Scale(low=min(xs), high=max(xs), start=LEFT, end=WIDTH - RIGHT, log=log_x)
    up = Scale(low=min(0, *ys), high=max(ys) * 1.05 or 1, start=HEIGHT - BOTTOM, end=TOP)
    parts = [
        opening(HEIGHT),
        text(LEFT, 24, title, size=15, weight="600"),
        *axes(across, up, x, y),
    ]
    for i, line in enumerate(lines):
        parts += drawn(line, across, up, COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)])
        parts += legend(line.name, i, COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)])
    return "\n".join([*parts, "</svg>\n"])


def bar_chart(
    bars: Sequence[tuple[str, Number]], *, title: str, x: str, kinds: Sequence[int] = ()
) -> str:
    """One horizontal bar for each name, its value behind it; bars of a kind share a colour."""
    height = TOP + 26 * len(bars) + BOTTOM
    left = 40 + 7 * max(len(name) for name, _ in bars)
    across = Scale(low=0, high=max(v for _, v in bars) or 1, start=left, end=WIDTH - 70)
    parts = [opening(height), text(24, 24, title, size=15, weight="600")]
    for i, (name, value) in enumerate(bars):
        y, width = TOP + 26 * i, across(value) - left
        fill = COLOURS[kinds[i] % len(COLOURS)] if kinds else COLOURS[0]
        parts.append(text(left - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{width:.1f}" height="19" fill="{fill}" rx="2"/>'
        )
        parts.append(text(across(value) + 6, y + 14, f"{value:.4g}"))
    parts.append(text((left + WIDTH - 70) / 2, height - 20, x, anchor="middle"))
    return "\n".join([*parts, "</svg>\n"])


def opening(height: Number) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="{WIDTH}" height="{height:g}" fill="white"/>'
    )


def axes(across: Scale, up: Scale, x: str, y: str) -> list[str]:
    parts = []
    for tick in up.ticks():
        h = up(tick)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{h:.1f}" y2="{h:.1f}" stroke="#ddd"/>'
        )
        parts.append(text(LEFT - 8, h + 4, f"{tick:g}", anchor="end"))
    foot = HEIGHT - BOTTOM + 18
    parts += [text(across(t), foot, f"{t:g}", anchor="middle") for t in across.ticks()]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x, anchor="middle"))
    turned = f'transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle"'
    return [*parts, f"<text {turned}>{escape(y)}</text>"]


def drawn(line: Line, across: Scale, up: Scale, colour: str, dash: str) -> list[str]:
    spots = [(across(px), up(py)) for px, py in line.points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in spots)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
        f'stroke-dasharray="{dash}"/>',
        *(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in spots),
    ]


def legend(name: str, i: int, colour: str, dash: str) -> list[str]:
    y = TOP + 8 + 20 * i
    left = WIDTH - RIGHT + 14
    return [
        f'<line x1="{left}" x2="{left + 24}" y1="{y}" y2="{y}" stroke="{colour}" '
        f'stroke-width="2" stroke-dasharray="{dash}"/>',
        text(left + 30, y + 4, name),
    ]


def text(
    x: Number, y: Number, words: str, *, anchor: str = "start", size: int = 12, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )
