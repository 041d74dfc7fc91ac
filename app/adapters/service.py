"""Versions of a project's model: which there are, how good they are, and taking one along."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy.orm import Session

from app.adapters import repository
from app.adapters.bundle import Bundle, bundle_name
from app.adapters.errors import (
    AdapterFilesGoneError,
    BaseModelChangedError,
    UnknownVersionError,
)
from app.adapters.model_card import BaseFacts, CardFacts, base_facts, libraries_of
from app.adapters.tables import Adapter
from app.audit.service import Action, Thing, record
from app.projects.tables import Project
from app.runs.continuing import can_be_continued
from app.runs.methods import METHODS, Quantization
from app.runs.outcomes import outcome_sentence, outcome_verdict, short_outcome
from app.runs.planning import setting_facts
from app.runs.recipe import Recipe
from app.runs.recipe_facts import Fact, method_facts, objective_of
from app.runs.result_files import is_whole_model, weights_files
from app.runs.sentences import (
    against_start_sentence,
    ending_sentence,
    lineage_sentence,
    passes,
    short_against_start,
)
from app.runs.tables import Run
from app.runs.trained_instructions import trained_instructions
from app.storage.folders import Storage

ADAPTER_FOLDER = "adapter"


@dataclass(frozen=True)
class Version:
    """A version as a page shows it.

    Attributes:
        verdict: better, same, worse or unknown, by the held-out examples.
        result_sentence: the same as a sentence.
        short_outcome: the same in a few words, with its number.
        against_start_sentence: how it compares with the version that it went on from, if it did.
        short_against_start: the same in a few words.
        ending_sentence: that and why it learned less long than was planned, if it did.
        lineage_sentence: which version it went on from, and what was new, if it did.
        passes: how often it went through its examples.
        held_as: the form in which the base model was held when it ended to learn.
    """

    number: int
    run_id: str
    created_at: datetime
    size_bytes: int
    sha256: str
    recipe: Recipe
    train_count: int
    validation_count: int
    snapshot_sha256: str
    loss_before: float | None
    loss_after: float | None
    verdict: str
    result_sentence: str
    short_outcome: str
    against_start_sentence: str
    short_against_start: str
    ending_sentence: str
    lineage_sentence: str
    passes: str
    seconds: float
    held_as: Quantization

    @property
    def is_whole(self) -> bool:
        """Whether it is a model of its own, not an adapter."""
        return not METHODS[self.recipe.method].base_stays_frozen

    @property
    def method_facts(self) -> list[Fact]:
        return method_facts(self.recipe.model_dump() | {"quantization": self.held_as})

    @property
    def setting_facts(self) -> list[Fact]:
        return setting_facts(self.recipe.model_dump(), self.passes)

    @classmethod
    def of(cls, adapter: Adapter, run: Run) -> Self:
        result: dict[str, Any] = run.result or {}
        before, after = result.get("loss_before"), result.get("loss_after")
        recipe = Recipe.model_validate(run.recipe)
        start = run.recipe.get("continues_from")
        against_start = (start, result.get("loss_at_start"), after)
        return cls(
            number=adapter.version_number,
            run_id=adapter.run_id,
            created_at=adapter.created_at,
            size_bytes=adapter.size_bytes,
            sha256=adapter.sha256,
            recipe=recipe,
            train_count=run.learned_count,
            validation_count=run.measured_count,
            snapshot_sha256=run.snapshot_sha256,
            loss_before=before,
            loss_after=after,
            verdict=outcome_verdict(result),
            result_sentence=outcome_sentence(objective_of(run), result),
            short_outcome=short_outcome(result),
            against_start_sentence=against_start_sentence(*against_start),
            short_against_start=short_against_start(*against_start),
            ending_sentence=ending_sentence(result, int(run.recipe.get("patience", 0))),
            lineage_sentence=lineage_sentence(start),
            passes=passes(result.get("epochs"), int(run.recipe["epochs"])),
            seconds=float(result.get("seconds") or 0.0),
            held_as=Quantization(result.get("held_as") or recipe.quantization),
        )


@dataclass(frozen=True)
class VersionDetails:
    """A version with what must be known of its base model to take it along."""

    version: Version
    base: BaseFacts
    can_be_continued: bool = False
    """Whether a training can go on from it with the base model that the project chose."""


def publish(session: Session, run: Run, sha256: str, size_bytes: int) -> None:
    """Make a succeeded run's adapter a version of its project.

    Args:
        session: the transaction in which the run succeeds.
        run: the run.
        sha256: of the adapter's weights, in hexadecimal.
        size_bytes: of the adapter's folder.
    """
    adapter = Adapter(
        run_id=run.id,
        project_id=run.project_id,
        version_number=run.version_number,
        base_model_id=run.base_model_id,
        sha256=sha256,
        size_bytes=size_bytes,
    )
    repository.add(session, adapter)


def versions_of(session: Session, project: Project) -> Sequence[Version]:
    """Return a project's versions, the newest first."""
    return [
        Version.of(adapter, run) for adapter, run in repository.all_of_project(session, project.id)
    ]


def find_version(session: Session, project: Project, number: int) -> VersionDetails:
    """Return one version of this project.

    Raises:
        UnknownVersionError: if there is none with this number.
    """
    row = repository.by_number(session, project.id, number)
    if row is None:
        raise UnknownVersionError
    adapter, run, base_model = row
    version, base = Version.of(adapter, run), base_facts(base_model)
    trained_on = version.recipe.base_model_fingerprint
    if base.source == "builtin" and base.fingerprint != trained_on:
        # A newer Tailor brought another one. The version stays theirs to take along, but the files
        # of today do not belong to it.
        base = replace(base, folder=None, fingerprint=trained_on)
    is_chosen = project.base_model_id == base_model.id
    return VersionDetails(version, base, is_chosen and can_be_continued(run, base_model))


def bundle_of(session: Session, storage: Storage, project: Project, number: int) -> Bundle:
    """Return everything that a download of a version consists of, and write down that it was taken.

    Raises:
        UnknownVersionError: if there is no such version.
        BaseModelChangedError: if the base model is not the one it was trained on any more.
        AdapterFilesGoneError: if its files, or those of a base that goes along, are gone.
    """
    details = find_version(session, project, number)
    version, base = details.version, details.base
    if base.fingerprint != version.recipe.base_model_fingerprint:
        raise BaseModelChangedError(base.name, number)
    folder = storage.path("runs", version.run_id, ADAPTER_FOLDER)
    base_is_whole = base.folder is None or (base.folder / "config.json").is_file()
    if not weights_files(folder) or not base_is_whole:
        raise AdapterFilesGoneError(number)
    card = CardFacts(
        project_name=project.name,
        goal=project.goal,
        version_number=number,
        created_at=version.created_at,
        base=base,
        is_whole=is_whole_model(folder),
        recipe=version.recipe,
        train_count=version.train_count,
        validation_count=version.validation_count,
        snapshot_sha256=version.snapshot_sha256,
        adapter_sha256=version.sha256,
        loss_before=version.loss_before,
        loss_after=version.loss_after,
        result_sentence=version.result_sentence,
        ending_sentence=version.ending_sentence,
        lineage_sentence=version.lineage_sentence,
        instructions=trained_instructions(storage, version.run_id),
        held_as=version.held_as,
        libraries=libraries_of(folder),
    )
    taken = Thing("version", version.run_id, f"{project.name} v{number}")
    record(session, Action.VERSION_DOWNLOADED, taken, project=project.id, version=number)
    return Bundle(bundle_name(project.name, number), folder, card)
