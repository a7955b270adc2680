"""The drawings of a report as inline SVG. Colours come from the page's style sheet, so that they follow its light or dark side."""

import math
from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 150, 44, 20, 8
POINTS = 240  # most points of a curve


def curve(steps: Sequence[float], values: Sequence[float], label: str) -> Markup:
    """One learning curve: raw values thin, their running mean on top, three grid lines with values."""
    pairs = [(x, y) for x, y in zip(steps, values, strict=True) if y is not None and math.isfinite(y)]
    if not pairs:
        return Markup("")
    xs, ys = reduce_points(pairs)
    low, high = span(ys)
    x0, x1 = xs[0], max(xs[-1], xs[0] + 1)
    place = [
        (LEFT + (WIDTH - LEFT - 6) * (x - x0) / (x1 - x0), TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low))
        for x, y in zip(xs, ys, strict=True)
    ]
    smooth = running_mean([p[1] for p in place], max(1, len(place) // 24))
    grid = Markup()
    for share in (0.0, 0.5, 1.0):
        y = TOP + (HEIGHT - TOP - BOTTOM) * share
        value = number(high - (high - low) * share)
        grid += Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="tick" x="{}" y="{:.1f}">{}</text>').format(
            LEFT, WIDTH - 6, y, y, LEFT - 6, y + 3.5, value
        )
    ends = Markup('<text class="tick start" x="{}" y="{}">{}</text><text class="tick" x="{}" y="{}">{}</text>').format(
        LEFT, HEIGHT - 4, number(xs[0]), WIDTH - 6, HEIGHT - 4, number(xs[-1])
    )
    return Markup(
        '<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">{}<path class="raw" d="{}"/><path class="line" d="{}"/>{}</svg>'
    ).format(
        WIDTH,
        HEIGHT,
        f"{label}: {number(ys[0])} to {number(ys[-1])}",
        grid,
        path(place),
        path([(p[0], y) for p, y in zip(place, smooth, strict=True)]),
        ends,
    )


def reduce_points(pairs: Sequence[tuple[float, float]], most: int = POINTS) -> tuple[list[float], list[float]]:
    """At most `most` points: means over equal runs of points."""
    size = math.ceil(len(pairs) / most)
    runs = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [sum(x for x, _ in r) / len(r) for r in runs], [sum(y for _, y in r) / len(r) for r in runs]


def span(values: Sequence[float]) -> tuple[float, float]:
    """(low, high) of the drawing: the values' range, from zero where that wastes little, never empty."""
    low, high = min(values), max(values)
    if 0 <= low < 0.5 * high:
        low = 0.0
    return (low - 0.5 * abs(low) - 1e-9, high + 0.5 * abs(high) + 1e-9) if low == high else (low, high)


def running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean over a window of `half` values to each side, cut at the ends."""
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(w) / len(w) for w in windows]


def path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def number(value: float) -> str:
    """Three significant digits, thousands as k, without a needless exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000:
        return f"{value / 1000:.0f}k"
    if size >= 100:
        return f"{value:.0f}"
    if size < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.3g}"
