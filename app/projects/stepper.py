"""The five steps of a project, and what comes next. Nothing but arithmetic on counts."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ENOUGH_TO_TRAIN: Final = 2
"""One to learn from and one to check with."""


class StepState(StrEnum):
    DONE = "done"
    CURRENT = "current"
    UPCOMING = "upcoming"


@dataclass(frozen=True)
class Counts:
    """What a project has so far."""

    examples: int = 0
    open_imports: int = 0
    """Uploads that wait for the maker to look at their columns."""
    busy_imports: int = 0
    base_model_name: str | None = None
    """None until one is chosen."""
    base_model_ready: bool = False
    active_run_id: str | None = None
    active_version: int | None = None
    waiting: bool = False
    paused: bool = False
    """The active run waits for its turn."""
    last_run_failed: bool = False
    versions: int = 0
    conversations: int = 0


@dataclass(frozen=True)
class Step:
    key: str
    title: str
    state: StepState
    url: str
    hint: str


@dataclass(frozen=True)
class NextStep:
    sentence: str
    url: str
    label: str
    for_viewers: str = ""
    """Who does it, for those who may only look; empty where they can do it too."""


@dataclass(frozen=True)
class Progress:
    steps: tuple[Step, ...]
    next_step: NextStep


def progress(project_id: str, counts: Counts, *, may_edit: bool = True) -> Progress:
    """Return the steps of a project and what comes next for someone who may edit it, or not."""
    base = f"/projects/{project_id}"
    done = {
        "examples": counts.examples >= ENOUGH_TO_TRAIN,
        "base-model": counts.base_model_name is not None and counts.base_model_ready,
        "training": counts.versions > 0 and counts.active_run_id is None,
        "chat": counts.conversations > 0,
        "versions": False,
    }
    current = next(key for key, is_done in done.items() if not is_done)
    parts = (
        ("examples", "Examples", f"{base}/examples", _examples_hint(counts)),
        ("base-model", "Base model", f"{base}/base-model", _base_model_hint(counts)),
        ("training", "Training", _training_url(base, counts), _training_hint(counts)),
        ("chat", "Try it", f"{base}/chat", ""),
        ("versions", "Take it", f"{base}/versions", _versions_hint(counts)),
    )
    steps = tuple(
        Step(key, title, _state(key, current, is_done=done[key]), url, hint)
        for key, title, url, hint in parts
    )
    next_step = _next_step(base, counts)
    if next_step.for_viewers and not may_edit:
        next_step = _meanwhile(base, counts, next_step.for_viewers)
    return Progress(steps, next_step)


def _state(key: str, current: str, *, is_done: bool) -> StepState:
    if key == current:
        return StepState.CURRENT
    return StepState.DONE if is_done else StepState.UPCOMING


def _training_url(base: str, counts: Counts) -> str:
    return f"{base}/runs/{counts.active_run_id}" if counts.active_run_id else f"{base}/training"


def _examples_hint(counts: Counts) -> str:
    if counts.open_imports:
        return "An upload to look at"
    if counts.busy_imports:
        return "Being read"
    return _counted(counts.examples, "example") if counts.examples else ""


def _base_model_hint(counts: Counts) -> str:
    if counts.base_model_name is None:
        return ""
    return counts.base_model_name if counts.base_model_ready else "Not ready yet"


def _training_hint(counts: Counts) -> str:
    if counts.active_run_id:
        # One word for both: an open page of the run renews the run, not this line.
        return f"Version {counts.active_version} on its way"
    return "Stopped by a problem" if counts.last_run_failed else ""


def _versions_hint(counts: Counts) -> str:
    return _counted(counts.versions, "version") if counts.versions else ""


def _next_step(base: str, counts: Counts) -> NextStep:
    before = _before_training(base, counts)
    if counts.active_run_id:
        return NextStep(_active_sentence(counts), _training_url(base, counts), "Watch it")
    if counts.versions == 0 or counts.last_run_failed:
        return before or _start(base, counts)
    if counts.conversations == 0:
        return NextStep(
            "A version is ready. Ask it something and see how it answers.",
            f"{base}/chat",
            "Try it",
        )
    return NextStep(
        "Take the version you like with you, or add examples and train a better one.",
        f"{base}/versions",
        "See the versions",
        for_viewers="Take the version you like with you.",
    )


def _meanwhile(base: str, counts: Counts, sentence: str) -> NextStep:
    """Offer what a viewer can do while others do what comes next."""
    if counts.versions:
        return NextStep(sentence, f"{base}/versions", "See the versions")
    if counts.base_model_ready:
        return NextStep(sentence, f"{base}/chat", "Talk to the base model")
    return NextStep(sentence, f"{base}/settings", "See who that is")


def _active_sentence(counts: Counts) -> str:
    if counts.paused:
        return f"Version {counts.active_version} is paused until someone lets it go on."
    if counts.waiting:
        return f"Version {counts.active_version} waits for its turn."
    return f"Version {counts.active_version} is learning. You can close this page meanwhile."


def _before_training(base: str, counts: Counts) -> NextStep | None:
    examples_url = f"{base}/examples"
    if counts.examples < ENOUGH_TO_TRAIN:
        if counts.open_imports:
            return NextStep(
                "An upload waits for you to look at its columns.",
                examples_url,
                "Look at it",
                for_viewers="An upload waits for an owner or editor to look at its columns.",
            )
        if counts.busy_imports:
            return NextStep("Your upload is being read.", examples_url, "See how far it is")
        return NextStep(
            "Add examples of what you would like to be answered, and how.",
            examples_url,
            "Add examples",
            for_viewers="An owner or editor of this project has to add examples.",
        )
    if counts.base_model_name is None:
        return NextStep(
            "Choose the base model that will learn from your examples.",
            f"{base}/base-model",
            "Choose a base model",
            for_viewers="An owner or editor of this project has to choose its base model.",
        )
    if not counts.base_model_ready:
        return NextStep(
            f"{counts.base_model_name} is not ready yet.", f"{base}/base-model", "See how far it is"
        )
    return None


def _start(base: str, counts: Counts) -> NextStep:
    if counts.last_run_failed:
        return NextStep(
            "The last training was stopped by a problem. Its page says what to do.",
            f"{base}/training",
            "See what happened",
        )
    return NextStep(
        "Everything is ready to train.",
        f"{base}/training",
        "Start training",
        for_viewers="Everything is ready to train. An owner or editor of this project can start.",
    )


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
