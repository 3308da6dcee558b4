"""Lines in a small drawing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Curves = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]  # heading, line, points (x, y)
COLORS = (
    *("#1b6ca8", "#c8553d", "#4a8f3c", "#7d4fa3"),
    *("#e0a100", "#2aa9a9", "#8a5a2b", "#d64f9c"),
)


def charts(curves: Curves, *, fractions: bool = False) -> dict[str, dict[str, Any]]:
    """Drawings by heading: finite points only, without lines and headings that have none.

    Axes end at the smallest and the largest value, or at 0 and 1 if both are ``fractions``.
    """
    result = {}
    for heading, lines in curves.items():
        finite = {name: [p for p in line if math.isfinite(p[1])] for name, line in lines.items()}
        drawn = {name: line for name, line in finite.items() if line}
        if drawn:
            result[heading] = _chart(drawn, [(0.0, 0.0), (1.0, 1.0)] if fractions else [])
    return result


def _chart(
    lines: Mapping[str, Sequence[tuple[float, float]]], ends: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Lines in a 560x220 drawing, with axes that cover the points ``ends`` too."""
    points = [*ends, *(point for line in lines.values() for point in line)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, low = min(xs), min(0.0, *ys)
    width, height = (max(xs) - left) or 1, (max(ys) - low) or 1

    def place(x: float, y: float) -> str:
        return f"{50 + 500 * (x - left) / width:.1f},{200 - 180 * (y - low) / height:.1f}"

    return {
        "lines": [
            {"name": name, "color": color, "points": " ".join(place(x, y) for x, y in line)}
            for (name, line), color in zip(lines.items(), COLORS * 8, strict=False)
        ],
        "x": (f"{left:g}", f"{max(xs):g}"),
        "y": (f"{low:.3g}", f"{max(ys):.3g}"),
    }
