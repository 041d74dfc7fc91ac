"""What comes next, from nothing to a version that was tried."""

from dataclasses import replace

import pytest

from app.projects.stepper import Counts, StepState, progress

READY = Counts(examples=200, base_model_name="Tailor Starter", base_model_ready=True)


@pytest.mark.parametrize(
    ("counts", "current", "label"),
    [
        (Counts(), "examples", "Add examples"),
        (Counts(busy_imports=1), "examples", "See how far it is"),
        (Counts(open_imports=1), "examples", "Look at it"),
        (Counts(examples=1), "examples", "Add examples"),
        (Counts(examples=200), "base-model", "Choose a base model"),
        (Counts(examples=200, base_model_name="Big"), "base-model", "See how far it is"),
        (READY, "training", "Start training"),
        (
            replace(READY, active_run_id="r", active_version=1, waiting=True),
            "training",
            "Watch it",
        ),
        (replace(READY, active_run_id="r", active_version=1, paused=True), "training", "Watch it"),
        (replace(READY, active_run_id="r", active_version=1), "training", "Watch it"),
        (replace(READY, last_run_failed=True), "training", "See what happened"),
        (replace(READY, versions=1), "chat", "Try it"),
        (replace(READY, versions=1, conversations=2), "versions", "See the versions"),
        (
            replace(READY, versions=1, conversations=2, active_run_id="r", active_version=2),
            "training",
            "Watch it",
        ),
        (
            replace(READY, versions=1, conversations=2, last_run_failed=True),
            "versions",
            "See what happened",
        ),
    ],
)
def test_the_next_step(counts: Counts, current: str, label: str) -> None:
    result = progress("abc", counts)
    assert [step.key for step in result.steps] == [
        "examples",
        "base-model",
        "training",
        "chat",
        "versions",
    ]
    assert [step.key for step in result.steps if step.state is StepState.CURRENT] == [current]
    assert result.next_step.label == label
    assert result.next_step.url.startswith("/projects/abc/")
    assert result.next_step.sentence.endswith(".")


def test_hints_are_in_plain_words() -> None:
    counts = replace(READY, active_run_id="r", active_version=3, waiting=True, versions=2)
    hints = [step.hint for step in progress("abc", counts).steps]
    assert hints == ["200 examples", "Tailor Starter", "Version 3 on its way", "", "2 versions"]
    assert progress("abc", counts).steps[2].url == "/projects/abc/runs/r"
