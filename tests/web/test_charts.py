"""Where the lines and marks of the loss chart stand."""

import pytest

from app.web.charts import NARROW, WIDE, Frame, LossChart, loss_chart, loss_charts

FALLING = [(float(step), 3.0 - step / 50) for step in range(0, 101, 5)]


@pytest.mark.parametrize("frame", [WIDE, NARROW])
def test_every_point_stands_inside_the_frame(frame: Frame) -> None:
    chart = loss_chart(FALLING, [(0, 3.1), (100, 1.2)], total_steps=200, frame=frame)
    assert chart.training is not None
    assert chart.held_out is not None
    for x, y in (*chart.training.points, *chart.held_out.points):
        assert frame.left <= x <= frame.right
        assert frame.top <= y <= frame.bottom


def test_the_axis_runs_to_the_planned_end() -> None:
    chart = loss_chart(FALLING, [], total_steps=200)
    assert chart.training is not None
    assert chart.training.end[0] == pytest.approx((WIDE.left + WIDE.right) / 2)
    assert chart.x_ticks[-1].label == "200"
    assert chart.held_out is None


def test_a_lower_loss_stands_lower() -> None:
    chart = loss_chart(FALLING, [])
    assert chart.training is not None
    heights = [y for _, y in chart.training.points]
    assert heights == sorted(heights)


def test_ticks_are_round_and_enclose_the_values() -> None:
    chart = loss_chart([(0, 0.413), (10, 0.287)], [])
    assert [tick.label for tick in chart.y_ticks] == ["0.25", "0.30", "0.35", "0.40", "0.45"]


def test_ticks_say_what_they_stand_for() -> None:
    chart = loss_chart([(0, 9.4), (10, 0.7)], [])
    assert [tick.label for tick in chart.y_ticks] == ["0.0", "2.5", "5.0", "7.5", "10.0"]


@pytest.mark.parametrize(
    "training", [[], [(1.0, 2.5)], [(1.0, 2.5), (2.0, 2.5)], [(1.0, float("nan")), (2.0, 2.5)]]
)
def test_little_or_broken_data_still_makes_a_chart(training: list[tuple[float, float]]) -> None:
    chart = loss_chart(training, [])
    assert len(chart.y_ticks) >= 2
    assert "nan" not in (chart.training.path if chart.training else "")


def test_a_long_run_is_thinned_and_keeps_its_ends() -> None:
    chart = loss_chart([(float(step), 1 / step) for step in range(1, 50_001)], [])
    assert chart.training is not None
    assert len(chart.training.points) <= 242
    assert chart.training.end[0] == WIDE.right
    assert chart.training.end_label == "0.0000200"


def test_end_labels_do_not_cover_each_other() -> None:
    chart = loss_chart([(0, 3.0), (100, 1.0)], [(0, 3.0), (100, 1.01)])
    assert chart.training is not None
    assert chart.held_out is not None
    assert abs(chart.training.end_y - chart.held_out.end_y) >= 15.8


def test_the_summary_says_in_words_what_the_lines_show() -> None:
    chart = loss_chart([(0, 3.0), (1000, 1.0)], [(0, 3.1)])
    assert "training examples it went from 3.00 at step 0 to 1.00 at step 1,000" in chart.summary
    assert "held-out examples" in chart.summary
    assert loss_chart([], []).summary == "Nothing has been measured yet."


def test_both_drawings_show_the_same() -> None:
    wide, narrow = loss_charts(FALLING, [], 200, 50)
    assert isinstance(wide, LossChart)
    assert wide.summary == narrow.summary
    assert (wide.frame, narrow.frame) == (WIDE, NARROW)
    assert wide.best_x is not None


@pytest.mark.parametrize("frame", [WIDE, NARROW])
def test_labels_at_the_bottom_stand_apart_and_above_the_axis(frame: Frame) -> None:
    down = [(0.0, 0.7), (100.0, 0.0001)]
    chart = loss_chart(down, [(0.0, 0.7), (100.0, 0.0)], frame=frame)
    assert chart.training is not None
    assert chart.held_out is not None
    ends = chart.training.end_y, chart.held_out.end_y
    assert abs(ends[0] - ends[1]) >= 15
    # Half a line of text: nearer, the axis would strike it through.
    assert max(ends) <= frame.bottom - 7
