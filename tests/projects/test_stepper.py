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


@pytest.mark.parametrize(
    ("counts", "sentence", "label"),
    [
        (Counts(), "has to add examples.", "See who that is"),
        (Counts(open_imports=1), "owner or editor to look at its columns.", "See who that is"),
        (Counts(busy_imports=1), "is being read.", "See how far it is"),
        (replace(READY, examples=0), "has to add examples.", "Talk to the base model"),
        (Counts(examples=200), "has to choose its base model.", "See who that is"),
        (Counts(examples=200, base_model_name="Big"), "is not ready yet.", "See how far it is"),
        (READY, "An owner or editor of this project can start.", "Talk to the base model"),
        (
            replace(READY, active_run_id="r", active_version=1, paused=True),
            "until someone lets it go on.",
            "Watch it",
        ),
        (replace(READY, last_run_failed=True), "says what to do.", "See what happened"),
        (
            replace(READY, examples=0, versions=1, last_run_failed=True),
            "has to add examples.",
            "See the versions",
        ),
        (replace(READY, versions=1), "see how it answers.", "Try it"),
        (replace(READY, versions=1, conversations=2), "with you.", "See the versions"),
    ],
)
def test_who_may_only_look_is_offered_what_they_can_do(
    counts: Counts, sentence: str, label: str
) -> None:
    result = progress("abc", counts, may_edit=False)
    assert result.steps == progress("abc", counts).steps
    assert result.next_step.sentence.endswith(sentence)
    assert result.next_step.label == label


def test_hints_are_in_plain_words() -> None:
    counts = replace(READY, active_run_id="r", active_version=3, waiting=True, versions=2)
    hints = [step.hint for step in progress("abc", counts).steps]
    assert hints == ["200 examples", "Tailor Starter", "Version 3 on its way", "", "2 versions"]
    assert progress("abc", counts).steps[2].url == "/projects/abc/runs/r"
