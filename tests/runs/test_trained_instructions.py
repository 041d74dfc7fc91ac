"""What is claimed about the instruction that a version learned with, from real frozen files."""

import pytest
from sqlalchemy import Engine

from app.database.session import transaction
from app.datasets.content import NewExample
from app.datasets.service import add_examples
from app.datasets.snapshot import freeze
from app.runs.trained_instructions import trained_instructions
from app.storage.folders import Storage
from tests.support.uploads import new_project

INSTRUCTION = 'Answer as "Müller & Sons",\nbriefly 🙂.'


def _frozen(engine: Engine, storage: Storage, instructions: list[str], run_id: str = "run") -> str:
    """Freeze one example for each instruction; return what is claimed of all of them."""
    project_id = new_project(engine)
    examples = [
        NewExample(question=f"Question {i}?", answer=f"Answer {i}.", instructions=instruction)
        for i, instruction in enumerate(instructions)
    ]
    with transaction(engine) as session:
        add_examples(session, project_id, examples)
        freeze(session, project_id, storage.folder("runs", run_id))
    return trained_instructions(storage, run_id)


def test_what_all_examples_were_told_is_named(engine: Engine, storage: Storage) -> None:
    assert _frozen(engine, storage, [INSTRUCTION] * 300) == INSTRUCTION
    assert trained_instructions(storage, "run") == INSTRUCTION, "asked again"


@pytest.mark.parametrize("other", ["", "Answer at length."])
def test_what_only_the_first_examples_were_told_is_not(
    engine: Engine, storage: Storage, other: str
) -> None:
    assert _frozen(engine, storage, [INSTRUCTION] * 30 + [other] * 500) == ""


def test_an_instruction_that_is_spoken_of_was_not_given(engine: Engine, storage: Storage) -> None:
    project_id = new_project(engine)
    quoted = f'"messages":[{{"content":"{INSTRUCTION}","role":"system"}}'
    with transaction(engine) as session:
        told = NewExample(question="Who?", answer="We.", instructions=INSTRUCTION)
        add_examples(session, project_id, [told, NewExample(question=quoted, answer="What?")])
        freeze(session, project_id, storage.folder("runs", "run"))
    assert trained_instructions(storage, "run") == ""


def test_a_version_without_its_frozen_files_claims_nothing(storage: Storage) -> None:
    assert trained_instructions(storage, "gone") == ""


def test_what_is_remembered_of_a_file_is_not_claimed_of_another(
    engine: Engine, storage: Storage
) -> None:
    assert _frozen(engine, storage, [INSTRUCTION] * 3) == INSTRUCTION
    assert _frozen(engine, storage, ["Be brief."] * 3) == "Be brief."
