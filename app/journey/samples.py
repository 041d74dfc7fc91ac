"""The sample projects that come with Tailor, each ready to train with one click."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.base_models.service import STARTER_ID
from app.datasets.content import NewExample
from app.datasets.repository import ExampleRepository
from app.errors import NotFoundError
from app.projects.service import create_project
from app.projects.tables import Project

SAMPLES_FOLDER: Final = Path(__file__).resolve().parent.parent / "projects" / "samples"


class UnknownSampleError(NotFoundError):
    def __init__(self) -> None:
        super().__init__("There is no such sample project.")


@dataclass(frozen=True)
class Sample:
    slug: str
    name: str
    goal: str
    summary: str
    what_changes: str
    questions_to_try: tuple[str, ...]


@cache
def samples() -> tuple[Sample, ...]:
    """Return the samples that were shipped, in the order of their folders' names."""
    files = sorted(SAMPLES_FOLDER.glob("*/sample.json"))
    return tuple(_sample(json.loads(file.read_text(encoding="utf-8"))) for file in files)


def sample_called(slug: str | None) -> Sample | None:
    return next((sample for sample in samples() if sample.slug == slug), None)


def create_from_sample(session: Session, owner_id: str, slug: str) -> Project:
    """Make a project from a sample: its examples are in and its base model is chosen."""
    sample = sample_called(slug)
    if sample is None:
        raise UnknownSampleError
    project = create_project(session, owner_id, sample.name, sample.goal, sample_slug=slug)
    ExampleRepository(session).add(project.id, list(_examples(slug)))
    project.base_model_id = STARTER_ID
    session.flush()
    return project


def _examples(slug: str) -> Iterator[NewExample]:
    with (SAMPLES_FOLDER / slug / "examples.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield NewExample(
                question=row["question"],
                answer=row["answer"],
                instructions=row.get("instructions", ""),
            )


def _sample(content: dict[str, str | list[str]]) -> Sample:
    def text(name: str) -> str:
        return str(content[name])

    return Sample(
        slug=text("slug"),
        name=text("name"),
        goal=text("goal"),
        summary=text("summary"),
        what_changes=text("what_changes"),
        questions_to_try=tuple(content["question_to_try"]),
    )
