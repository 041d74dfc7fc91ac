"""The examples of the sample projects that are shipped with Tailor."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.datasets.content import NewExample
from app.datasets.errors import SampleMissingError
from app.datasets.service import Added, add_examples
from app.settings import REPOSITORY_ROOT

SAMPLES_FOLDER: Final = REPOSITORY_ROOT / "app" / "projects" / "samples"
_SLUG: Final = re.compile(r"[a-z][a-z0-9_-]{0,49}")


def load_sample(session: Session, project_id: str, slug: str) -> Added:
    """Add a sample's examples to a project.

    Raises:
        SampleMissingError: if there is no such sample.
    """
    return add_examples(session, project_id, _examples(slug))


def _examples(slug: str) -> Iterator[NewExample]:
    path = SAMPLES_FOLDER / slug / "examples.jsonl"
    if not _SLUG.fullmatch(slug) or not path.is_file():
        raise SampleMissingError
    return _read(path)


def _read(path: Path) -> Iterator[NewExample]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            values = json.loads(line)
            yield NewExample(
                answer=values["answer"],
                question=values["question"],
                instructions=values.get("instructions", ""),
                row_number=number,
            )
