"""Pictures of figures, as SVG: bars on a logarithmic scale, and lines on two of them. Nothing but text is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bars", "Lines", "draw_bars", "draw_lines"]

WIDTH = 860
BAR, GAP, LEFT, RIGHT = 16, 5, 215, 70
COLOURS = ("#1f5fbf", "#d9822b", "#3a8f5c", "#a0449b", "#8a6d3b", "#c0392b", "#4c9fb5", "#777777")
OWN_COLOUR, OTHER_COLOUR = COLOURS[0], "#b9c2cf"
STYLE = "font-family='Helvetica, Arial, sans-serif' font-size='12' fill='#222222'"


@dataclass(frozen=True)
class Bars:
    """One panel: a value for each name; *ours* are drawn in another colour."""

    title: str
    values: Mapping[str, float]
    ours: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Lines:
    """One panel: points for each name, in the order of x."""

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def draw_bars(panels: Sequence[Bars], unit: str) -> str:
    """The panels one below the other, on one scale with a line at 1; the longest bar first."""
    everything = [value for panel in panels for value in panel.values.values() if value > 0]
    low = 10 ** math.floor(math.log10(min(*everything, 0.1, 1)))
    high = 10 ** math.ceil(math.log10(max(*everything, 1, 1)) * 1.0001)
    scale = _Scale(low, high, LEFT, WIDTH - RIGHT)
    parts: list[str] = []
    y = 10
    for panel in panels:
        y += 22
        parts.append(_text(8, y, panel.title, weight="bold"))
        top, y = y + 8, y + 8
        for name, value in sorted(panel.values.items(), key=lambda item: -item[1]):
            end = scale.at(max(value, low))
            colour = OWN_COLOUR if name in panel.ours else OTHER_COLOUR
            parts.append(_text(LEFT - 8, y + 12, name, anchor="end"))
            parts.append(f"<rect x='{LEFT}' y='{y}' width='{max(end - LEFT, 1):.1f}' height='{BAR}' fill='{colour}'/>")
            parts.append(_text(end + 5, y + 12, _short(value)))
            y += BAR + GAP
        for mark in scale.marks():
            dash = "" if mark == 1 else " stroke-dasharray='2 3'"
            x = f"{scale.at(mark):.1f}"
            colour = "#444444" if mark == 1 else "#cccccc"
            parts.insert(0, f"<line x1='{x}' x2='{x}' y1='{top}' y2='{y}' stroke='{colour}'{dash}/>")
    y += 16
    parts += [_text(scale.at(mark), y, _short(mark), anchor="middle") for mark in scale.marks()]
    parts.append(_text(WIDTH - 8, y + 18, unit, anchor="end"))
    return _document(parts, y + 28)


def draw_lines(panels: Sequence[Lines]) -> str:
    """Two panels beside each other, then the next two."""
    parts: list[str] = []
    width, height = WIDTH // 2, 270 + 15 * max(len(panel.series) for panel in panels)
    for number, panel in enumerate(panels):
        parts.append(f"<g transform='translate({number % 2 * width} {number // 2 * height})'>")
        parts += _panel(panel, width, height)
        parts.append("</g>")
    return _document(parts, -(-len(panels) // 2) * height)


def _panel(panel: Lines, width: int, height: int) -> list[str]:
    points = [point for line in panel.series.values() for point in line]
    xs, ys = [x for x, _ in points], [max(y, 1e-9) for _, y in points]
    legend = 15 * len(panel.series)
    across = _Scale(min(xs), max(xs), 64, width - 20)
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)) + 1e-9)
    up = _Scale(low, high if high > low else low * 10, height - 48, 34 + legend)
    parts = [_text(8, 18, panel.title, weight="bold")]
    for mark in up.marks():
        parts.append(
            f"<line x1='64' x2='{width - 20}' y1='{up.at(mark):.1f}' y2='{up.at(mark):.1f}' stroke='#dddddd'/>"
        )
        parts.append(_text(58, up.at(mark) + 4, _short(mark), anchor="end"))
    parts += [_text(across.at(mark), height - 30, _short(mark), anchor="middle") for mark in across.marks()]
    parts.append(_text(width - 20, height - 12, panel.x, anchor="end"))
    parts.append(_text(64, height - 12, panel.y))
    for number, (name, line) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across.at(x):.1f},{up.at(max(y, 1e-9)):.1f}" for x, y in line)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [
            f"<circle cx='{across.at(x):.1f}' cy='{up.at(max(y, 1e-9)):.1f}' r='3' fill='{colour}'/>" for x, y in line
        ]
        parts.append(f"<rect x='70' y='{26 + 15 * number}' width='10' height='10' fill='{colour}'/>")
        parts.append(_text(86, 35 + 15 * number, name))
    return parts


class _Scale:
    """Logarithmic, from one place to another."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high = low, high if high > low else low * 10
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        part = math.log(value / self._low) / math.log(self._high / self._low)
        return self._start + part * (self._end - self._start)

    def marks(self) -> list[float]:
        first, last = math.ceil(math.log10(self._low) - 1e-9), math.floor(math.log10(self._high) + 1e-9)
        return [10.0**power for power in range(first, last + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.2g}" if value < 10 else f"{value:.3g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}' {STYLE}>{escape(text)}</text>"


def _document(parts: Sequence[str], height: float) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' width='{WIDTH}'>"
    return "\n".join((head, f"<rect width='{WIDTH}' height='{height:.0f}' fill='#ffffff'/>", *parts, "</svg>")) + "\n"
