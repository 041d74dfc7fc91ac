"""The model card and the small program that go along with a version's files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.base_models.tables import BaseModel
from app.runs.methods import Quantization
from app.runs.objectives import OBJECTIVES
from app.runs.recipe import Recipe
from app.version import VERSION

BASE_FOLDER_IN_BUNDLE: Final = "base_model"
_SMALL_MODEL_PARAMETERS: Final = 1_000_000_000
# Those that model hubs know by these names; any other is called “other” there, with its own name.
_KNOWN_LICENCES: Final = frozenset(
    {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}
)
_TEMPLATES: Final = Path(__file__).parent / "bundle_files"


@dataclass(frozen=True)
class BaseFacts:
    """What someone outside of Tailor must know of the base model.

    Attributes:
        source: builtin, hub or folder.
        hub_id: its name on the hub, if it is there.
        folder: its files, where they have to go along because they are nowhere else.
        dtype: the number format in which Tailor answers with it on a processor.
    """

    name: str
    source: str
    hub_id: str | None
    revision: str | None
    fingerprint: str
    licence: str
    dtype: str
    folder: Path | None = None

    @property
    def reference(self) -> str:
        """What `from_pretrained` takes outside of Tailor, as far as that can be known."""
        if self.folder is not None:
            return BASE_FOLDER_IN_BUNDLE
        return self.hub_id or self.name

    @property
    def licence_id(self) -> str:
        """The licence as model hubs spell it."""
        known = self.licence.strip().lower()
        return known if known in _KNOWN_LICENCES else "other"


@dataclass(frozen=True)
class CardFacts:
    """Everything that stands in a model card.

    Attributes:
        lineage_sentence: which version it went on from, and what was new, if it did.
        ending_sentence: that and why it learned less long than its recipe says, if it did.
        is_whole: whether a whole model was trained, which needs no base model beside it.
        instructions: what all examples began with; the model is told it again with each question.
        held_as: the form in which the base model was held when it ended to learn.
        libraries: names and versions of those that made the files.
    """

    project_name: str
    goal: str
    version_number: int
    created_at: datetime
    base: BaseFacts
    recipe: Recipe
    train_count: int
    validation_count: int
    snapshot_sha256: str
    adapter_sha256: str
    loss_before: float | None
    loss_after: float | None
    result_sentence: str
    ending_sentence: str = ""
    lineage_sentence: str = ""
    instructions: str = ""
    is_whole: bool = False
    held_as: Quantization = Quantization.NONE
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def held_in_bits(self) -> int | None:
        """In how few bits the base model was held while it learned; None if it was as it is."""
        return {Quantization.FOUR_BIT: 4, Quantization.EIGHT_BIT: 8}.get(self.held_as)

    @property
    def method_tag(self) -> str:
        """The method's name as model hubs write such names."""
        return self.recipe.method.replace("_", "-")


def base_facts(model: BaseModel) -> BaseFacts:
    """Return the facts; the built-in model's files go along, since no hub has them."""
    parameters = int(model.facts.get("parameters") or 0)
    is_built_in = model.source == "builtin" and model.folder
    return BaseFacts(
        name=model.name,
        source=model.source,
        hub_id=model.hub_id,
        revision=model.revision,
        fingerprint=model.fingerprint or "",
        licence=str(model.facts.get("licence") or ""),
        dtype="float32" if parameters < _SMALL_MODEL_PARAMETERS else "bfloat16",
        folder=Path(model.folder) if is_built_in and model.folder else None,
    )


def libraries_of(adapter_folder: Path) -> dict[str, str]:
    """Return with which versions of which libraries an adapter was made, as its files say it."""
    places = {
        "transformers": ("generation_config.json", "transformers_version"),
        "peft": ("adapter_config.json", "peft_version"),
    }
    found = {}
    for library, (name, key) in places.items():
        try:
            content = json.loads((adapter_folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get(key):
            found[library] = str(content[key])
    return found


def render_model_card(facts: CardFacts) -> str:
    return _render("README.md.jinja", facts)


def render_use_it(facts: CardFacts) -> str:
    sorts = OBJECTIVES[facts.recipe.objective].sorts
    return _render("sort_it.py.jinja" if sorts else "use_it.py.jinja", facts)


def _render(name: str, facts: CardFacts) -> str:
    # Plain text and Python, not HTML: what people typed is put on one line, and quoted as JSON
    # where it becomes part of a program.
    environment = Environment(  # noqa: S701 (no HTML)
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["one_line"] = _one_line
    environment.filters["quoted"] = json.dumps
    environment.filters["python"] = repr
    return environment.get_template(name).render(
        facts=facts,
        sorts=OBJECTIVES[facts.recipe.objective].sorts,
        tailor_version=VERSION,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
