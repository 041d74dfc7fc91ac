"""What the shelf shows of each base model: the shelf file and the rows, laid over each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.accounts.tables import User
from app.base_models.fetching import SPEED_FACT
from app.base_models.service import BUSY
from app.base_models.shelf import ShelfModel
from app.base_models.tables import BaseModel, BaseModelStatus
from app.base_models.transformer_shape import shape_from_facts
from app.runs.fit_words import fit_sentences, full_sentence
from app.runs.outlook import Outlook, for_any_examples
from app.workers.device import DeviceFacts

# English text has about three words to four tokens.
_WORDS_PER_TOKEN = 0.75


@dataclass(frozen=True)
class Card:
    """One base model as a person sees it.

    Attributes:
        entry: what the shelf file says, if it stands there.
        model: what this Tailor has of it, if it was ever asked for.
        may_manage: whether the person may start, stop and repeat its download.
        devices: that could train it now.
        outlook: of a training with the project's own examples, where there is a project.
    """

    entry: ShelfModel | None
    model: BaseModel | None
    may_manage: bool
    devices: tuple[DeviceFacts, ...] = ()
    outlook: Outlook | None = None

    @property
    def key(self) -> str:
        if self.entry is not None:
            return self.entry.slug.replace(".", "-")
        return self.model.id if self.model is not None else ""

    @property
    def model_id(self) -> str | None:
        return self.model.id if self.model is not None else None

    @property
    def name(self) -> str:
        return self.model.name if self.model is not None else self._entry_fact("name")

    @property
    def status(self) -> str:
        """A status of the row, or "absent"."""
        return str(self.model.status) if self.model is not None else "absent"

    @property
    def is_busy(self) -> bool:
        return self.model is not None and self.model.status in BUSY

    @property
    def is_ready(self) -> bool:
        return self.model is not None and self.model.status == BaseModelStatus.READY

    @property
    def is_stopping(self) -> bool:
        return self.is_busy and self.model is not None and bool(self.model.cancel_requested_at)

    @property
    def hub_id(self) -> str:
        return (self.model.hub_id if self.model is not None else "") or self._entry_fact("hub_id")

    @property
    def is_gated(self) -> bool:
        return bool(self._fact("gated"))

    @property
    def summary(self) -> str:
        return str(self._fact("summary") or "")

    @property
    def languages(self) -> str:
        return str(self._fact("languages") or "")

    @property
    def licence(self) -> str:
        return str(self._fact("licence") or "")

    @property
    def memory(self) -> str:
        return str(self._fact("memory") or "")

    @property
    def fit_sentences(self) -> list[str]:
        """Whether a training fits, for each device; empty where nothing is known of its size."""
        foretold = self.foretold
        return fit_sentences(foretold) if foretold is not None else []

    @property
    def full_sentence(self) -> str:
        """What training all of its weights would need."""
        foretold = self.foretold
        return full_sentence(foretold) if foretold is not None else ""

    @property
    def foretold(self) -> Outlook | None:
        """What a training takes: with the project's examples, or else with ordinary ones."""
        if self.outlook is not None:
            return self.outlook
        shape = shape_from_facts(self.model.facts) if self.model is not None else None
        if self.entry is not None and (shape is None or shape.is_derived):
            shape = self.entry.measures
        return for_any_examples(shape, self.devices) if shape is not None else None

    @property
    def size_bytes(self) -> int:
        if self.model is not None and self.model.total_bytes:
            return self.model.total_bytes
        return self.entry.size_bytes if self.entry is not None else 0

    @property
    def words_at_once(self) -> int:
        """How much text it reads at once, in words, to two digits."""
        words = int(self._fact("context_length") or 0) * _WORDS_PER_TOKEN
        return int(float(f"{words:.2g}")) if words else 0

    @property
    def parameters(self) -> int:
        return int(self._fact("parameters") or 0)

    @property
    def bytes_per_second(self) -> int:
        return int(self.model.facts.get(SPEED_FACT, 0)) if self.model is not None else 0

    @property
    def seconds_left(self) -> float | None:
        if self.model is None or not self.bytes_per_second:
            return None
        left = self.size_bytes - self.model.downloaded_bytes
        return max(0.0, left / self.bytes_per_second)

    def _fact(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        own = self.model.facts.get(name) if self.model is not None else None
        return own or self._entry_fact(name)

    def _entry_fact(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        return getattr(self.entry, name, None)


def may_manage(user: User, model: BaseModel | None) -> bool:
    """Say whether a person may start, stop and repeat a download.

    What the host put on the shelf is for everyone; whatever else is for administrators.
    """
    return user.is_admin or model is None or model.shelf_slug is not None


def card_of(
    user: User, shelf: Sequence[ShelfModel], model: BaseModel, devices: Sequence[DeviceFacts] = ()
) -> Card:
    entry = next((entry for entry in shelf if entry.slug == model.shelf_slug), None)
    return Card(entry, model, may_manage(user, model), tuple(devices))


def lay_out(
    user: User,
    shelf: Sequence[ShelfModel],
    models: Sequence[BaseModel],
    devices: Sequence[DeviceFacts] = (),
) -> tuple[list[Card], list[Card]]:
    """Return the shelf's cards, the built-in model first, and those of all other models."""
    built_in = [model for model in models if model.source == "builtin"]
    there = tuple(devices)
    first = [Card(None, model, False, there) for model in built_in]
    chosen = {entry.slug: _newest_for(entry, models) for entry in shelf}
    cards = [
        Card(entry, chosen[entry.slug], may_manage(user, chosen[entry.slug]), there)
        for entry in shelf
    ]
    shown = {model.id for model in (*built_in, *chosen.values()) if model is not None}
    others = [
        Card(None, model, may_manage(user, model), there)
        for model in models
        if model.id not in shown
    ]
    return first + cards, others


def _newest_for(entry: ShelfModel, models: Sequence[BaseModel]) -> BaseModel | None:
    mine = [model for model in models if model.shelf_slug == entry.slug]
    ready = [model for model in mine if model.status == BaseModelStatus.READY]
    newest = (ready or mine)[-1:]
    return newest[0] if newest else None
