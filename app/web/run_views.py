"""The live part of a run's page: made once per change, whoever looks at it."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from app.runs import repository
from app.runs.context import longest_example_of
from app.runs.objectives import OBJECTIVES
from app.runs.outcomes import (
    confusion_of,
    measured_before,
    outcome_sentence,
    outcome_verdict,
)
from app.runs.planning import setting_facts, typed_like, usual_settings
from app.runs.queue.places import QueuePlace
from app.runs.recall import find_unchanged
from app.runs.recipe import FittedSettings
from app.runs.recipe_facts import method_facts, objective_of
from app.runs.remedies import Way, remedy
from app.runs.sentences import (
    against_start_sentence,
    data_sentence,
    ending_sentence,
    learning_sentence,
    lineage_sentence,
    passes,
    patience_sentence,
    phase_words,
    training_only_sentence,
)
from app.runs.several_devices import devices_sentence
from app.runs.status import ACTIVE, FINAL, RunStatus
from app.runs.steering import can_finish, can_pause
from app.runs.tables import Run
from app.runs.watching.repository import RunState
from app.web.templating import render_fragment

_MOST_VIEWS: Final = 200
# A view is the same for everyone but for the secret of its forms. Nobody can guess this mark, so
# nothing in a view but its forms is ever replaced by a person's token.
_FORM_TOKEN_MARK: Final = f"token-{secrets.token_hex(16)}"
_LOG_KINDS: Final = ("log", "status")
_REMEDIED: Final = (RunStatus.FAILED, RunStatus.PAUSED)


@dataclass(frozen=True)
class ViewKey:
    """All that a view shows, as far as it can change."""

    state: RunState
    place: QueuePlace | None
    may_edit: bool


def view_key(state: RunState, place: QueuePlace | None, *, may_edit: bool) -> ViewKey:
    return ViewKey(state, None if place is None else _rounded(place), may_edit)


def _rounded(place: QueuePlace) -> QueuePlace:
    """What is told in seconds moves every second; a view every ten seconds is enough."""
    seconds, hold_seconds = place.seconds_until_start, place.hold_seconds
    return replace(
        place,
        seconds_until_start=None if seconds is None else round(seconds / 10),
        hold=None if place.hold is None else replace(place.hold, until=None),
        hold_seconds=None if hold_seconds is None else round(hold_seconds / 60),
    )


class RunViews:
    """Rendered views, kept while nothing changes. Safe for any number of threads."""

    def __init__(self) -> None:
        self._views: OrderedDict[ViewKey, str] = OrderedDict()
        self._lock = threading.Lock()

    def view(
        self, session: Session, state: RunState, place: QueuePlace | None, *, may_edit: bool
    ) -> str:
        """Return the view's HTML, with a mark where the reader's own form token goes."""
        key = view_key(state, place, may_edit=may_edit)
        with self._lock:
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
        html = self._render(session, state.run_id, place, may_edit=may_edit)
        with self._lock:
            self._views[key] = html
            while len(self._views) > _MOST_VIEWS:
                self._views.popitem(last=False)
        return html

    def _render(
        self, session: Session, run_id: str, place: QueuePlace | None, *, may_edit: bool
    ) -> str:
        runs = repository.by_ids(session, [run_id])
        if not runs:
            return ""
        context = view_context(session, runs[0], place)
        context["may_edit"] = may_edit
        return render_fragment("runs/_live.html", context, form_token=_FORM_TOKEN_MARK)


def for_reader(view: str, form_token: str) -> str:
    """Put a reader's own form token into a view that is shared by all."""
    return view.replace(_FORM_TOKEN_MARK, form_token)


def view_context(session: Session, run: Run, place: QueuePlace | None) -> dict[str, Any]:
    """Return what templates/runs/_live.html needs."""
    training, held_out = _losses(session, run.id)
    result = run.result or {}
    status = RunStatus(run.status)
    plan, patience = run.plan or {}, int(run.recipe.get("patience", 0))
    start = run.recipe.get("continues_from")
    objective = OBJECTIVES[objective_of(run)]
    return {
        "run": run,
        "status": status,
        "is_over": status in FINAL,
        "place": place,
        "phase": phase_words(status, run.phase),
        "training": training,
        "held_out": held_out,
        "best_step": result.get("best_step") if held_out else None,
        "chart_sentence": learning_sentence(held_out, objective.learned_words)
        if run.validation_count
        else training_only_sentence(training, objective.learned_words),
        "remedy": _remedy_button(session, run) if status in _REMEDIED else None,
        "can_pause": can_pause(run),
        "can_finish": can_finish(run),
        "result": result,
        "result_sentence": outcome_sentence(objective_of(run), result),
        "verdict": outcome_verdict(result),
        "measured_before": measured_before(objective_of(run)),
        "confusion": confusion_of(result),
        "objective": objective,
        "ending_sentence": ending_sentence(result, patience),
        "lineage_sentence": lineage_sentence(start),
        "devices_sentence": devices_sentence(run.recipe, run.device) if status in ACTIVE else "",
        "against_start_sentence": against_start_sentence(
            start, result.get("loss_at_start"), result.get("loss_after")
        ),
        "patience_sentence": patience_sentence(held_out, patience) if run.validation_count else "",
        "unchanged": _unchanged_notice(session, run),
        "data_sentence": data_sentence(
            int(plan.get("examples_cut", 0)), int(plan.get("examples_left_out", 0))
        ),
        "samples": repository.shown_samples(session, run.id, result.get("best_step")),
        "method_facts": method_facts(run.recipe),
        "setting_facts": setting_facts(
            run.recipe, passes(result.get("epochs"), run.recipe["epochs"])
        ),
        "history": repository.newest_events(session, run.id, _LOG_KINDS, limit=50),
    }


@dataclass(frozen=True)
class UnchangedNotice:
    """That a training changed nothing, why, and a link to one that is mended."""

    what: str
    why: str
    label: str
    address: str


def _unchanged_notice(session: Session, run: Run) -> UnchangedNotice | None:
    if run.status != RunStatus.SUCCEEDED:
        return None
    usual = usual_settings(session, run)
    rate = usual.learning_rate if usual else None
    longest = longest_example_of(session, run)
    found = find_unchanged(run.recipe, run.plan or {}, run.result or {}, rate, longest)
    if found is None:
        return None
    address = _training_address(run, usual, found.choices)
    return UnchangedNotice(found.what, found.why, found.label, address)


def _training_address(run: Run, usual: FittedSettings | None, choices: Mapping[str, str]) -> str:
    """Return where a training like this one is offered, with some settings changed."""
    typed = typed_like(run, usual) if usual else {"preset": str(run.recipe["preset"])}
    return f"/projects/{run.project_id}/training?{urlencode({**typed, **choices})}"


@dataclass(frozen=True)
class RemedyButton:
    """A button that is a form of its own, or else a link."""

    label: str
    address: str
    is_form: bool = False


def _remedy_button(session: Session, run: Run) -> RemedyButton:
    found = remedy(run)
    project = f"/projects/{run.project_id}"
    match found.way:
        case Way.GO_ON:
            return RemedyButton(found.label, f"{project}/runs/{run.id}/continue", is_form=True)
        case Way.AGAIN:
            return RemedyButton(found.label, f"{project}/runs/{run.id}/again", is_form=True)
        case Way.ADJUST:
            address = _training_address(run, usual_settings(session, run), found.choices)
            return RemedyButton(found.label, address)
        case Way.OTHER_MODEL:
            return RemedyButton(found.label, f"{project}/base-model")
        case Way.EXAMPLES:
            return RemedyButton(found.label, f"{project}/examples")


def _losses(
    session: Session, run_id: str
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    training: list[tuple[int, float]] = []
    held_out: list[tuple[int, float]] = []
    for step, name, value in repository.metrics(session, run_id, ("train_loss", "validation_loss")):
        (training if name == "train_loss" else held_out).append((step, value))
    return training, held_out
