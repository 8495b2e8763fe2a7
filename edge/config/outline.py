"""What makes a polygon usable: enough points, none repeated, some area, no edge across another."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]

POINTS_MAX = 100
_FLAT = 1e-12  # far below a pixel, far above the rounding of numbers in 0..1


def outline_fault(points: Sequence[Point]) -> str | None:
    """Why these points are no polygon, as the end of a sentence; None when they are one. Points count from 1."""
    count = len(points)
    if count < 3:
        return f"needs 3 points, has {count}"
    if count > POINTS_MAX:
        return f"may have {POINTS_MAX} points, has {count}"
    return _repeated(points) or _flat(points) or _crossing(points)


def _repeated(points: Sequence[Point]) -> str | None:
    if all(point == points[0] for point in points):
        return "has no area: all its points lie at one place"
    for row, point in enumerate(points):
        following = (row + 1) % len(points)
        if point == points[following]:
            return f"has points {row + 1} and {following + 1} at the same place; leave one out (it closes by itself)"
    return None


def _flat(points: Sequence[Point]) -> str | None:
    if all(_side(points[0], points[1], point) == 0 for point in points[2:]):
        return "has no area: all its points lie on one line"
    return None


def _crossing(points: Sequence[Point]) -> str | None:
    count = len(points)
    edges = [(points[row], points[(row + 1) % count]) for row in range(count)]
    for first in range(count):
        for second in range(first + 1, count):
            if second == first + 1:
                meet = _folds_back(*edges[first], edges[second][1])
            elif first == 0 and second == count - 1:
                meet = _folds_back(*edges[second], edges[first][1])
            else:
                meet = _meet(edges[first], edges[second])
            if meet:
                return (
                    f"crosses itself: the edges after points {first + 1} and {second + 1} meet; "
                    "list the points in order round it"
                )
    return None


def _turn(a: Point, b: Point, c: Point) -> float:
    """Twice the area of the triangle; positive when c lies left of the line from a to b, 0 on it."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _side(a: Point, b: Point, c: Point) -> int:
    turn = _turn(a, b, c)
    return 0 if abs(turn) <= _FLAT else (1 if turn > 0 else -1)


def _folds_back(a: Point, b: Point, c: Point) -> bool:
    """Whether the way a, b, c returns over itself."""
    ahead = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1])
    return _side(a, b, c) == 0 and ahead < 0


def _meet(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    """Whether two edges that are not neighbours touch or cross."""
    (a, b), (c, d) = first, second
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    return (
        (sides[0] == 0 and _between(a, b, c))
        or (sides[1] == 0 and _between(a, b, d))
        or (sides[2] == 0 and _between(c, d, a))
        or (sides[3] == 0 and _between(c, d, b))
    )


def _between(a: Point, b: Point, c: Point) -> bool:
    """Whether c, which lies on the line through a and b, lies between them."""
    return (
        min(a[0], b[0]) - _FLAT <= c[0] <= max(a[0], b[0]) + _FLAT
        and min(a[1], b[1]) - _FLAT <= c[1] <= max(a[1], b[1]) + _FLAT
    )
