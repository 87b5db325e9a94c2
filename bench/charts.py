"""Charts as SVG: lines over a logarithmic axis, and bars. Readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
HEIGHT: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 20, 58, 56
_COLOURS: Final = ("#1f6feb", "#d2691e", "#2da44e", "#8250df")
_INK: Final = "#57606a"
_BAR_HEIGHT: Final = 22
_BAR_LEFT: Final = 330
_THOUSAND: Final = 1_000
_MILLION: Final = 1_000_000

Series = Mapping[str, Sequence[tuple[float, float]]]


def lines(title: str, x_label: str, y_label: str, series: Series) -> str:
    """Lines with markers; both axes logarithmic.

    Args:
        title: above the chart.
        x_label: with its unit; 0 is drawn at the left edge, a decade before the smallest value that is not 0.
        y_label: with its unit; every value is greater than 0.
        series: by label, points with rising x.
    """
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    smallest = min(x for x in xs if x > 0)
    low_x = math.log10(smallest) - (1 if xs[0] == 0 else 0)
    high_x = math.log10(xs[-1])
    low_y, high_y = _steps_around(min(ys), max(ys))

    def at_x(x: float) -> float:
        share = ((math.log10(x) if x else low_x) - low_x) / ((high_x - low_x) or 1)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        share = (math.log10(y) - math.log10(low_y)) / (math.log10(high_y) - math.log10(low_y))
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    parts = [_text(_LEFT, 20, title, bold=True)]
    for y in _ticks(low_y, high_y):
        parts += [
            _line(_LEFT, at_y(y), WIDTH - _RIGHT, at_y(y)),
            _text(_LEFT - 8, at_y(y) + 4, _short(y), anchor="end"),
        ]
    for x in xs:
        parts += [_text(at_x(x), HEIGHT - _BOTTOM + 18, _short(x), anchor="middle")]
    parts += [
        _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle"),
        _text(18, (HEIGHT - _BOTTOM + _TOP) / 2, y_label, anchor="middle", upright=True),
    ]
    for number, (label, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        way = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(_text(_LEFT + 220 * number, 42, f"\N{BLACK CIRCLE} {label}", colour=colour))
    return _svg(WIDTH, HEIGHT, title, parts)


def bars(title: str, x_label: str, values: Mapping[str, float], marked: Sequence[str] = ()) -> str:
    """Horizontal bars with their values.

    Args:
        title: above the chart.
        x_label: what the values are.
        values: by label, in the order they are drawn.
        marked: labels in another colour.
    """
    longest = max(values.values())
    height = 40 + len(values) * (_BAR_HEIGHT + 6) + 34
    parts = [_text(12, 20, title, bold=True)]
    for number, (label, value) in enumerate(values.items()):
        top = 36 + number * (_BAR_HEIGHT + 6)
        width = value / longest * (WIDTH - _BAR_LEFT - 70)
        colour = _COLOURS[1] if label in marked else _COLOURS[0]
        parts += [
            _text(_BAR_LEFT - 8, top + 15, label, anchor="end"),
            f'<rect x="{_BAR_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT}" fill="{colour}"/>',
            _text(_BAR_LEFT + width + 6, top + 15, f"{value:.2f}"),
        ]
    parts.append(_text((_BAR_LEFT + WIDTH) / 2, height - 10, x_label, anchor="middle"))
    return _svg(WIDTH, height, title, parts)


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _text(  # noqa: PLR0913 - what SVG needs to know about a text
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    bold: bool = False,
    colour: str = _INK,
    upright: bool = False,
) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upright else ""
    weight = ' font-weight="600" font-size="14"' if bold else ""
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {at}{weight}{turned}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d7de"/>'


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten, both ends included; the powers alone where that is too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(exponents) <= 3 else (1,)  # noqa: PLR2004 - about ten labels at most
    found = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


def _steps_around(low: float, high: float) -> tuple[float, float]:
    steps = [step * 10.0**exponent for exponent in range(-6, 12) for step in (1, 2, 5)]
    return max(step for step in steps if step < low), min(step for step in steps if step > high)


def _short(value: float) -> str:
    if value >= _MILLION:
        return f"{value / _MILLION:g}M"
    if value >= _THOUSAND:
        return f"{value / _THOUSAND:g}k"
    return f"{value:g}"
