"""Examples are no longer than what the base model reads at once."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.base_models.tables import BaseModel
from app.database.session import transaction
from app.datasets.service import add_examples
from app.runs import service
from app.runs.errors import ExampleTooLongError
from app.runs.methods import METHODS, Method
from app.runs.recipe import Recipe, RecipeChoices
from app.storage.folders import Storage
from tests.support.runs import examples, get_run, queue_run
from tests.support.web import OWNER, Web

_CONTEXT = 1024  # of the starter


def _recipe(engine: Engine, storage: Storage, project_id: str, choices: RecipeChoices) -> Recipe:
    run_id = queue_run(engine, storage, project_id, choices=choices)
    return Recipe.model_validate(get_run(engine, run_id).recipe)


def test_longer_ones_are_refused(engine: Engine, storage: Storage, project_id: str) -> None:
    whole = RecipeChoices(max_tokens_per_example=_CONTEXT)
    recipe = _recipe(engine, storage, project_id, whole)
    assert recipe.max_tokens_per_example == _CONTEXT
    with pytest.raises(ExampleTooLongError) as caught:
        _recipe(engine, storage, project_id, RecipeChoices(max_tokens_per_example=_CONTEXT + 1))
    assert "Tailor Starter reads at most 1,024 tokens at once." in caught.value.why
    assert len(list(storage.path("runs").iterdir())) == 1, "nothing is left behind"


@pytest.mark.one_database
def test_virtual_tokens_take_places_of_their_own(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    method = Method.PROMPT_TUNING
    fitted = _recipe(engine, storage, project_id, RecipeChoices(method=method))
    taken = METHODS[method].virtual_tokens(fitted.method_settings)
    assert taken > 0
    assert fitted.max_tokens_per_example == _CONTEXT - taken
    too_long = RecipeChoices(method=method, max_tokens_per_example=_CONTEXT - taken + 1)
    with pytest.raises(ExampleTooLongError) as caught:
        _recipe(engine, storage, project_id, too_long)
    assert f"{taken} of these places" in caught.value.why
    assert f"at most {_CONTEXT - taken:,}" in caught.value.next_step


@pytest.mark.one_database
def test_where_nobody_knows_how_much_it_reads_an_expert_decides(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    _forget_context(engine)
    chosen = RecipeChoices(max_tokens_per_example=4096)
    assert _recipe(engine, storage, project_id, chosen).max_tokens_per_example == 4096


def test_a_run_of_an_earlier_tailor_starts_again_with_what_fits(
    engine: Engine, storage: Storage, project_id: str
) -> None:
    facts = _forget_context(engine)
    chosen = RecipeChoices(max_tokens_per_example=4096)
    run_id = queue_run(engine, storage, project_id, choices=chosen)
    with transaction(engine) as session:
        session.get_one(BaseModel, "starter").facts = facts
    with transaction(engine) as session:
        again = service.start_again(session, storage, get_run(engine, run_id), None)
    assert again.recipe["max_tokens_per_example"] == _CONTEXT


def _forget_context(engine: Engine) -> dict[str, object]:
    with transaction(engine) as session:
        model = session.get_one(BaseModel, "starter")
        facts = dict(model.facts)
        assert facts["context_length"] == _CONTEXT
        model.facts = {name: value for name, value in facts.items() if name != "context_length"}
    return facts


def test_the_form_says_it_where_it_was_typed(web: Web, hints: Path) -> None:  # noqa: ARG001
    project = web.project()
    with web.transaction() as session:
        add_examples(session, project.id, examples(5))
        session.merge(project).base_model_id = "starter"
    typed = {"preset": "quick", "max_tokens_per_example": "5000"}
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", typed)
    assert answer.status_code == 422
    assert "An example cannot have 5,000 tokens." in answer.text
    assert 'value="5000"' in answer.text
    assert 'aria-invalid="true"' in answer.text
