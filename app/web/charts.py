"""Where the lines, ticks and labels of a chart stand; the macro in charts.html only draws them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.web.formatting import number, significant

Point = tuple[float, float]

# More points than pixels only cost bytes; a long run is drawn by the means of its stretches.
_MOST_POINTS = 240
_HALF_A_LABEL = 8.0


@dataclass(frozen=True)
class Frame:
    """The drawing's size and where its axes stand, in its own units (a pixel at full size)."""

    name: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_marks: int


WIDE = Frame("wide", 860, 340, left=40, right=780, top=22, bottom=300, x_marks=7)
NARROW = Frame("narrow", 380, 270, left=34, right=318, top=22, bottom=232, x_marks=4)


@dataclass(frozen=True)
class Tick:
    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One line of the chart.

    Attributes:
        path: the `d` of an SVG path; empty where there are no points.
        points: where the measured points stand, for marks.
        end: the last point.
        end_label: the last value, written beside the line's end.
        end_y: where that label stands, moved apart from the other line's label.
    """

    path: str
    points: tuple[Point, ...]
    end: Point
    end_label: str
    end_y: float


@dataclass(frozen=True)
class LossChart:
    """A chart of the training loss and the held-out loss over the steps."""

    training: Line | None
    held_out: Line | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    best_x: float | None
    summary: str
    frame: Frame


def loss_chart(
    training: Sequence[Point],
    held_out: Sequence[Point],
    total_steps: int | None = None,
    best_step: int | None = None,
    frame: Frame = WIDE,
) -> LossChart:
    """Lay out a loss chart.

    Args:
        training: (step, loss) on the training examples, in order.
        held_out: (step, loss) on the held-out examples, in order.
        total_steps: the planned steps; the axis runs to there so that the line grows into it.
        best_step: the step whose state was kept, to be marked.
        frame: the size of the drawing.
    """
    training = _finite(training)
    held_out = _finite(held_out)
    every = [*training, *held_out]
    last_step = max([step for step, _ in every] + [float(total_steps or 0), 1.0])
    values = [value for _, value in every] or [0.0, 1.0]
    y_marks = _round_marks(min(values), max(values), 5)
    low, high = y_marks[0], y_marks[-1]
    x_marks = [
        mark
        for mark in _round_marks(0, last_step, frame.x_marks)
        if mark <= last_step and mark == round(mark)
    ]

    def place(point: Point) -> Point:
        x = frame.left + point[0] / last_step * (frame.right - frame.left)
        y = frame.top + (high - point[1]) / (high - low) * (frame.bottom - frame.top)
        return round(x, 1), round(y, 1)

    lowest = frame.bottom - _HALF_A_LABEL
    training_line = _line(_thin(training), place, lowest)
    held_out_line = _line(_thin(held_out), place, lowest)
    if training_line and held_out_line:
        training_line, held_out_line = _apart(training_line, held_out_line, lowest)
    digits = _digits(y_marks[1] - y_marks[0])
    return LossChart(
        training=training_line,
        held_out=held_out_line,
        x_ticks=tuple(Tick(place((mark, low))[0], number(mark)) for mark in x_marks),
        y_ticks=tuple(Tick(place((0, mark))[1], number(mark, digits)) for mark in y_marks),
        best_x=None if best_step is None else place((float(best_step), low))[0],
        summary=_summary(training, held_out),
        frame=frame,
    )


def loss_charts(
    training: Sequence[Point],
    held_out: Sequence[Point],
    total_steps: int | None = None,
    best_step: int | None = None,
) -> list[LossChart]:
    """The same chart for a wide page and for a narrow one."""
    return [
        loss_chart(training, held_out, total_steps, best_step, frame) for frame in (WIDE, NARROW)
    ]


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(float(step), float(value)) for step, value in points if math.isfinite(value)]


def _thin(points: list[Point]) -> list[Point]:
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    means = [
        (stretch[-1][0], sum(value for _, value in stretch) / len(stretch)) for stretch in stretches
    ]
    return [points[0], *means[:-1], points[-1]]


def _line(points: list[Point], place: Callable[[Point], Point], lowest: float) -> Line | None:
    if not points:
        return None
    placed = tuple(place(point) for point in points)
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in placed)
    # On the axis itself a label would be struck through by it.
    label_y = min(placed[-1][1], lowest)
    return Line(path, placed, placed[-1], significant(points[-1][1]), label_y)


def _apart(first: Line, second: Line, lowest: float, distance: float = 16) -> tuple[Line, Line]:
    """Move two end labels apart that would cover each other, but none below the lowest place."""
    gap = second.end_y - first.end_y
    if abs(gap) >= distance or abs(first.end[0] - second.end[0]) > 60:
        return first, second
    shift = (distance - abs(gap)) / 2
    up = max(0.0, max(first.end_y, second.end_y) + shift - lowest)
    sign = 1 if gap >= 0 else -1
    return _moved(first, -sign * shift - up), _moved(second, sign * shift - up)


def _moved(line: Line, shift: float) -> Line:
    return Line(line.path, line.points, line.end, line.end_label, round(line.end_y + shift, 1))


def _digits(step: float) -> int:
    """How many decimals tell marks apart that stand so far from each other: 2.5 needs one."""
    digits = max(0, -math.floor(math.log10(step)))
    return digits if abs(round(step, digits) - step) < step / 100 else digits + 1


def _round_marks(low: float, high: float, count: int) -> list[float]:
    """Round values that enclose low..high, about `count` of them."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _summary(training: list[Point], held_out: list[Point]) -> str:
    parts = []
    for name, points in (("training examples", training), ("held-out examples", held_out)):
        if points:
            (first_step, first), (last_step, last) = points[0], points[-1]
            parts.append(
                f"On the {name} it went from {significant(first)} at step {number(first_step)} "
                f"to {significant(last)} at step {number(last_step)}."
            )
    return " ".join(parts) or "Nothing has been measured yet."
