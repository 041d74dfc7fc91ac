"""What a training would take on the devices that are there: the planner, asked with our rows.

One place for it: the pages about base models, the page that offers a training, and the queue all
read from here. What earlier runs on the same base model took counts more than arithmetic does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import TransformerShape, shape_from_facts
from app.jobs import RUNS_QUEUE
from app.runs import repository
from app.runs.costs.work import Work
from app.runs.estimates import expected_seconds, tokens_of
from app.runs.methods import METHODS
from app.runs.objectives import OBJECTIVES, Objective
from app.runs.planner import Plan, plan
from app.runs.recipe import FittedSettings, Recipe
from app.runs.repository import Lengths
from app.workers.device import DeviceFacts
from app.workers.repository import devices_there

# Some answers are longer and most are shorter; three are written at each evaluation.
_SHOWN_ANSWER_TOKENS: Final = 150
# What a card promises without knowing anyone's examples: answers of some length, eight at once.
_USUAL_WORK: Final = Work(row_tokens=200, longest_row=512, settings={"rank": 16})


@dataclass(frozen=True)
class DevicePlan:
    """What a training would take on one device.

    Attributes:
        name: the device for people; empty if no worker is there, so it is anybody's guess.
        host: the machine that it is in.
        count: how many of them the machine has.
        divided: the same with the base model divided over all of them, where there are several.
    """

    name: str
    host: str
    plan: Plan
    count: int = 1
    divided: Plan | None = None

    @property
    def is_there(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True)
class Outlook:
    """What a training would take, device by device; never empty.

    Attributes:
        devices: those that workers announced, or the ordinary machine if there are none.
        seconds: how long it will take, on the device that suits it best.
    """

    devices: tuple[DevicePlan, ...]
    seconds: float

    @property
    def best(self) -> DevicePlan:
        return _best(self.devices)

    @property
    def fits(self) -> bool:
        return any(device.plan.fits for device in self.devices)

    def as_promise(self) -> dict[str, Any]:
        """Return what is kept of it with a run, to be compared with what it then took."""
        plan = self.best.plan
        return {
            "seconds": self.seconds,
            "memory_bytes": round(plan.memory.total),
            "full_memory_bytes": round(plan.full_memory.total),
            "full_seconds": plan.full_seconds,
            "device": self.best.name,
            "is_measured": plan.is_measured,
        }


def devices_now(session: Session) -> list[DeviceFacts]:
    """Return the devices that could train something now, each kind of machine once."""
    found = {
        (device.host, device.kind, device.name): device
        for device in devices_there(session, RUNS_QUEUE)
    }
    return list(found.values())


def for_any_examples(shape: TransformerShape, devices: Sequence[DeviceFacts]) -> Outlook:
    """Say what an ordinary training would take of a base model's measures."""
    return _outlook(shape, _USUAL_WORK, devices, past=())


def run_outlook(
    session: Session,
    model: BaseModel,
    project_id: str,
    recipe: Recipe | FittedSettings,
    objective: Objective,
    train_count: int,
    held_out: int,
    devices: int = 1,
) -> Outlook:
    """Say what a run would take, judged by the length of the project's first examples.

    Args:
        session: only reads.
        model: the base model.
        project_id: the project.
        recipe: what is chosen.
        objective: what is learned.
        train_count: examples to learn from.
        held_out: examples that are not learned from.
        devices: on how many of one machine it may learn, where there are as many.
    """
    shape = shape_from_facts(model.facts) or TransformerShape.usual_for(0)
    lengths = repository.lengths(session, project_id)
    work = work_of(recipe, objective, lengths, train_count, held_out)
    past = repository.past_results(session, model.id)
    there = devices_now(session)
    alone = _outlook(shape, work, there, past)
    if devices == 1:
        return alone
    divides = getattr(recipe, "divides_model", False)
    together = _outlook(shape, work, there, (), at_once=devices, divides=divides)
    # What earlier runs took says more than arithmetic, and several devices are the faster by it.
    gain = together.seconds / alone.best.plan.seconds
    return replace(together, seconds=alone.seconds * gain)


def work_of(
    recipe: Recipe | FittedSettings,
    objective: Objective,
    lengths: Lengths,
    train_count: int,
    held_out: int,
) -> Work:
    """Turn a recipe and the examples' lengths into what is to be done."""
    limit = recipe.max_tokens_per_example
    # Of sorting, only the last place of a text is told, and not in words.
    answer_share = 0.0 if OBJECTIVES[objective].sorts else lengths.answer_share
    return Work(
        row_tokens=min(tokens_of(lengths.average, 1), limit),
        longest_row=round(min(tokens_of(lengths.longest, 1), limit)),
        examples=train_count,
        epochs=recipe.epochs,
        examples_per_update=recipe.examples_per_update,
        tokens_per_micro_batch=getattr(
            recipe,
            "tokens_per_micro_batch",
            Recipe.model_fields["tokens_per_micro_batch"].default,
        ),
        method=recipe.method,
        settings=recipe.method_settings,
        quantization=getattr(recipe, "quantization", Work.quantization),
        objective=objective,
        answer_share=answer_share,
        held_out=held_out,
        evaluations=recipe.evaluations,
        answer_tokens=_SHOWN_ANSWER_TOKENS,
    )


def _outlook(
    shape: TransformerShape,
    work: Work,
    devices: Sequence[DeviceFacts],
    past: Sequence[dict[str, Any]],
    *,
    at_once: int = 1,
    divides: bool = False,
) -> Outlook:
    plans = tuple(
        _device_plan(shape, work, device, at_once, divides=divides) for device in devices
    ) or (DevicePlan("", "", plan(shape, work)),)
    tokens = work.row_tokens * work.examples * work.epochs
    seconds = expected_seconds(tokens, past, _best(plans).plan.seconds, work.evaluations)
    return Outlook(plans, seconds)


def _device_plan(
    shape: TransformerShape, work: Work, device: DeviceFacts, at_once: int, *, divides: bool
) -> DevicePlan:
    count = min(at_once, device.count)
    own = work.share(count)
    found = plan(shape, replace(own, divided_over=count) if divides else own, device)
    divided = None
    if device.count > 1 and METHODS[work.method].base_stays_frozen:
        among_all = replace(work.share(device.count), divided_over=device.count)
        divided = plan(shape, among_all, device)
    return DevicePlan(device.name, device.host, found, device.count, divided)


def _best(devices: Sequence[DevicePlan]) -> DevicePlan:
    """Return the quickest device on which it fits, or else the roomiest."""
    fitting = [device for device in devices if device.plan.fits]
    if fitting:
        return min(fitting, key=lambda device: device.plan.seconds)
    return max(devices, key=lambda device: device.plan.available or 0.0)
