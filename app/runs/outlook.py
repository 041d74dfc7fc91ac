"""What a training would take on the devices that are there: the planner, asked with our rows.

One place for it: the pages about base models, the page that offers a training, and the queue all
read from here. What earlier runs on the same base model took corrects the arithmetic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from sqlalchemy.orm import Session

from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import TransformerShape, shape_from_facts
from app.jobs import RUNS_QUEUE
from app.runs import repository
from app.runs.costs.work import Work
from app.runs.earlier_runs import Correction, EarlierRun
from app.runs.estimates import work_of
from app.runs.methods import METHODS
from app.runs.objectives import Objective
from app.runs.planner import Plan, plan
from app.runs.recipe import FittedSettings, Recipe
from app.runs.repository import Lengths
from app.workers.device import DeviceFacts
from app.workers.repository import devices_there

# What a card promises without knowing anyone's examples: answers of some length, eight at once.
_USUAL_WORK: Final = Work(
    row_tokens=200, longest_row=512, settings={"rank": 16}, may_fall_to_four_bits=True
)
# Of processors the planner names up to a sixth too much (docs/benchmarks.md), of cards it guesses
# the smaller parts. A device that has less than this share cannot train the run, however it errs.
_SURE_SHARE: Final = 0.8
_GIBIBYTE: Final = 1024**3


@dataclass(frozen=True)
class DevicePlan:
    """What a training would take on one device.

    Attributes:
        name: the device for people; empty if no worker is there, so it is anybody's guess.
        host: the machine that it is in.
        seconds: how long it takes, by the plan and by what earlier runs took there.
        count: how many of them the machine has.
        divided: the same with the base model divided over all of them, where there are several.
        are_told_apart: they are not alike, and each kind of them is there by itself, too.
    """

    name: str
    host: str
    plan: Plan
    seconds: float
    count: int = 1
    divided: Plan | None = None
    are_told_apart: bool = False

    @property
    def is_there(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True)
class Outlook:
    """What a training would take, device by device; never empty.

    Attributes:
        devices: those that workers announced, or the ordinary machine if there are none.
    """

    devices: tuple[DevicePlan, ...]

    @property
    def best(self) -> DevicePlan:
        """The quickest device on which it fits, or else the roomiest."""
        fitting = [device for device in self.devices if device.plan.fits]
        if fitting:
            return min(fitting, key=lambda device: device.seconds)
        return max(self.devices, key=lambda device: device.plan.available or 0.0)

    @property
    def seconds(self) -> float:
        """How long it will take, on the device that suits it best."""
        return self.best.seconds

    @property
    def fits(self) -> bool:
        return any(device.plan.fits for device in self.devices)

    def fits_on(self, devices: int) -> bool:
        """Say whether it fits on one device, or divided over as many as there may be."""
        return self.fits or any(
            device.divided is not None
            and device.count <= devices
            and device.divided.fits_in_small_steps
            for device in self.devices
        )

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
        (device.host, device.kind, device.name, device.memory_bytes): device
        for machine in devices_there(session, RUNS_QUEUE)
        for device in machine.together_and_apart()
    }
    return list(found.values())


def for_any_examples(shape: TransformerShape, devices: Sequence[DeviceFacts]) -> Outlook:
    """Say what an ordinary training would take of a base model's measures."""
    return _outlook(shape, _USUAL_WORK, devices, earlier=())


@dataclass(frozen=True)
class Known:
    """What is known before anything is chosen: asked of the database once, for many outlooks.

    Attributes:
        lengths: how long the project's first examples are.
        devices: those that could train something now.
        earlier: what runs took that are over, by the ids of their base models.
    """

    lengths: Lengths
    devices: Sequence[DeviceFacts]
    earlier: Mapping[str, Sequence[EarlierRun]]

    @classmethod
    def of(cls, session: Session, project_id: str, models: Sequence[BaseModel]) -> Self:
        lengths = repository.lengths(session, project_id)
        past = repository.past_runs(session, [model.id for model in models])
        earlier = {
            model_id: [told for run in runs if (told := EarlierRun.of(run, lengths))]
            for model_id, runs in past.items()
        }
        return cls(lengths, devices_now(session), earlier)


def run_outlook(
    known: Known,
    model: BaseModel,
    recipe: Recipe | FittedSettings,
    objective: Objective,
    train_count: int,
    held_out: int,
    devices: int = 1,
) -> Outlook:
    """Say what a run would take, judged by the length of the project's first examples.

    Args:
        known: of the project, the base model and the devices.
        model: the base model.
        recipe: what is chosen.
        objective: what is learned.
        train_count: examples to learn from.
        held_out: examples that are not learned from.
        devices: on how many of one machine it may learn, where there are as many.
    """
    shape = shape_from_facts(model.facts) or TransformerShape.usual_for(0)
    work = work_of(recipe, objective, known.lengths, train_count, held_out, shape.vocabulary)
    return _outlook(
        shape,
        work,
        known.devices,
        known.earlier.get(model.id, ()),
        at_once=devices,
        divides=getattr(recipe, "divides_model", False),
    )


def memory_needed(model: BaseModel, recipe: Recipe, outlook: Outlook) -> int | None:
    """Return with less than how much memory no device can train a run, in whole GiB.

    None where nobody knows, or where no device that is there has as much: no run is to wait for
    ever for a machine that only a careful number asks for. Whole GiB, so that few kinds of needs
    wait beside each other and the queue can be played forward quickly.
    """
    shape = shape_from_facts(model.facts)
    if shape is None or shape.is_derived:
        return None
    needs = [
        (_SURE_SHARE * _smallest_form(device.plan), device.plan.available)
        for device in outlook.devices
        if device.is_there and (device.count >= recipe.devices or not recipe.divides_model)
    ]
    served = [need for need, available in needs if available is None or need <= available]
    return int(min(served, default=0) // _GIBIBYTE) * _GIBIBYTE or None


def _smallest_form(found: Plan) -> float:
    """Return what a training falls back to by itself, as far as the recipe and the device allow."""
    forms = (found.least_memory, found.four_bit_memory)
    return min(form.total for form in forms if form is not None)


def _outlook(
    shape: TransformerShape,
    work: Work,
    devices: Sequence[DeviceFacts],
    earlier: Sequence[EarlierRun],
    *,
    at_once: int = 1,
    divides: bool = False,
) -> Outlook:
    if not devices:
        found = plan(shape, work)
        seconds = Correction.by(earlier, shape, work, None).seconds(found.time)
        return Outlook((DevicePlan("", "", found, seconds),))
    return Outlook(
        tuple(
            _device_plan(shape, work, device, earlier, at_once, divides=divides)
            for device in devices
        )
    )


def _device_plan(
    shape: TransformerShape,
    work: Work,
    device: DeviceFacts,
    earlier: Sequence[EarlierRun],
    at_once: int,
    *,
    divides: bool,
) -> DevicePlan:
    count = min(at_once, device.count)
    own = work.share(count)
    found = plan(shape, replace(own, divided_over=count) if divides else own, device)
    seconds = Correction.by(earlier, shape, work, device).seconds(found.time)
    divided = None
    if device.count > 1 and METHODS[work.method].base_stays_frozen:
        among_all = replace(work.share(device.count), divided_over=device.count)
        divided = plan(shape, among_all, device)
    return DevicePlan(
        *(device.name, device.host, found, seconds, device.count, divided), device.are_told_apart
    )
