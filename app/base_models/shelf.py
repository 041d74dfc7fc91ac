"""The shelf: a data file of base models that are worth a look."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel as PlainData
from pydantic import ConfigDict, Field, ValidationError

from app.base_models.transformer_shape import TransformerShape
from app.settings import Settings, SettingsError

BUILT_IN_SHELF: Final = Path(__file__).with_name("shelf.toml")
HUB_ID_PATTERN: Final = r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}$"


class ShelfModel(PlainData):
    """One entry of the shelf file; sizes in bytes, lengths in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,79}$")
    name: str = Field(min_length=1, max_length=200)
    hub_id: str = Field(pattern=HUB_ID_PATTERN)
    revision: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]{0,79}$")
    parameters: int = Field(gt=0)
    shape: TransformerShape | None = None
    size_bytes: int = Field(gt=0)
    licence: str
    languages: str
    context_length: int = Field(gt=0)
    memory: str
    summary: str
    gated: bool = False

    @property
    def measures(self) -> TransformerShape:
        """Return its measures, or the usual ones for its size."""
        if self.shape is None:
            return TransformerShape.usual_for(self.parameters)
        return self.shape.model_copy(update={"parameters": self.parameters})


@cache
def read_shelf(path: Path) -> tuple[ShelfModel, ...]:
    """Read a shelf file.

    Raises:
        SettingsError: if it cannot be read or an entry is wrong; says which and why.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
        models = tuple(ShelfModel.model_validate(entry) for entry in entries)
        slugs = [model.slug for model in models]
        if len(set(slugs)) < len(slugs):
            raise ValueError("two entries have the same slug.")
    except (OSError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SettingsError(f"The shelf file {path} cannot be used: {reason}") from error
    return models


def shelf(settings: Settings) -> tuple[ShelfModel, ...]:
    """Return the shelf that the settings name."""
    return read_shelf(settings.base_model_shelf or BUILT_IN_SHELF)


def on_shelf(settings: Settings, slug: str) -> ShelfModel | None:
    return next((model for model in shelf(settings) if model.slug == slug), None)
