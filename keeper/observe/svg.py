"""Plain charts as SVG: axes, lines, areas. No script, no font file, nothing to fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, isfinite, log10

INK, FAINT, PAPER = "#1d2733", "#dde3ea", "#ffffff"
BLUE, RED, AMBER, GREY = "#2c6fbb", "#c0392b", "#d68910", "#8795a5"
SIZE = 12  # of text, px
FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """From data to pixels."""

    low: float
    high: float
    begin: float  # pixel of ``low``
    end: float  # pixel of ``high``

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"an axis from {self.low} to {self.high}")

    def at(self, x: float) -> float:
        part = (min(max(x, self.low), self.high) - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    def ticks(self, about: int = 6) -> list[float]:
        """Round numbers."""
        raw = (self.high - self.low) / about
        step = 10.0 ** floor(log10(raw))
        step *= next(m for m in (1, 2, 5, 10) if m * step >= raw * 0.999)
        first = ceil(self.low / step - 1e-9)
        last = floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


@dataclass
class Chart:
    """One panel. ``y`` grows upwards; ``right`` is a second scale for lines."""

    title: str
    x: Axis
    y: Axis
    show_x: Callable[[float], str]
    show_y: Callable[[float], str]
    right: Axis | None = None
    show_right: Callable[[float], str] = str
    parts: list[str] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # (text, color)

    def line(self, points: Points, color: str, text: str = "", *, right: bool = False, dash: str = "") -> None:
        axis = self.right if right and self.right else self.y
        path = " ".join(f"{self.x.at(x):.1f},{axis.at(y):.1f}" for x, y in points)
        style = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{style}/>')
        self._explain(text, color)

    def area(self, points: Points, color: str, text: str = "", *, opacity: float = 0.25) -> None:
        """Between the points and 0, or the lower edge where there is no 0."""
        low = self.y.at(max(0.0, self.y.low))
        path = " ".join(f"{self.x.at(x):.1f},{self.y.at(y):.1f}" for x, y in points)
        ends = f"{self.x.at(points[0][0]):.1f},{low:.1f} {path} {self.x.at(points[-1][0]):.1f},{low:.1f}"
        self.parts.append(f'<polygon points="{ends}" fill="{color}" fill-opacity="{opacity}"/>')
        self._explain(text, color)

    def level(self, y: float, color: str, text: str) -> None:
        """A horizontal line with its name."""
        at = self.y.at(y)
        self.parts.append(_line(self.x.begin, at, self.x.end, at, color, 1.5, "6 4"))
        self.parts.append(_text(self.x.begin + 6, at - 5, text, color=color))

    def _explain(self, text: str, color: str) -> None:
        if text:
            self.legend.append((text, color))

    def draw(self) -> str:
        return "\n".join([*self._frame(), *self.parts, *self._edges(), *self._legend()])

    def _frame(self) -> list[str]:
        out = [_text(self.x.begin, self.y.end - 30, self.title, size=15, weight="600")]
        for tick in self.y.ticks(5):
            at = self.y.at(tick)
            out.append(_line(self.x.begin, at, self.x.end, at, FAINT))
            out.append(_text(self.x.begin - 8, at + 4, self.show_y(tick), anchor="end", color=GREY))
        for tick in self.x.ticks(10):
            at = self.x.at(tick)
            out.append(_line(at, self.y.end, at, self.y.begin, FAINT))
            out.append(_text(at, self.y.begin + 18, self.show_x(tick), anchor="middle", color=GREY))
        return [*out, *self._right()]

    def _right(self) -> list[str]:
        axis, x = self.right, self.x.end + 8
        if axis is None:
            return []
        return [_text(x, axis.at(tick) + 4, self.show_right(tick), color=GREY) for tick in axis.ticks(10)]

    def _edges(self) -> list[str]:
        out = [_line(self.x.begin, self.y.begin, self.x.end, self.y.begin, INK)]
        if self.y.low < 0 < self.y.high:
            out.append(_line(self.x.begin, self.y.at(0), self.x.end, self.y.at(0), INK))
        return out

    def _legend(self) -> list[str]:
        out, x = [], self.x.begin
        for text, color in self.legend:
            out.append(_rect(x, self.y.end - 18, 10, 10, color, 1.0))
            out.append(_text(x + 15, self.y.end - 9, text))
            x += 34 + 6.6 * len(text)
        return out


def page(width: int, height: int, title: str, lines: Sequence[str], charts: Sequence[Chart]) -> str:
    """A whole file."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {FONT}>',
        f"<title>{escape(title)}</title>",
        _rect(0, 0, width, height, PAPER, 1.0),
        _text(40, 40, title, size=20, weight="700"),
        *(_text(40, 64 + 18 * i, line, color=GREY) for i, line in enumerate(lines)),
    ]
    return "\n".join([*head, *(chart.draw() for chart in charts), "</svg>"]) + "\n"


def _text(
    x: float, y: float, text: str, *, size: int = SIZE, anchor: str = "start", color: str = INK, weight: str = "400"
) -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{color}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1.0, dash: str = "") -> str:
    style = f' stroke-dasharray="{dash}"' if dash else ""
    where = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {where} stroke="{color}" stroke-width="{width}"{style}/>'


def _rect(x: float, y: float, width: float, height: float, color: str, opacity: float) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect {where} fill="{color}" fill-opacity="{opacity}"/>'
