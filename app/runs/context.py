"""How long an example can be: a base model reads so many tokens at once, and no more."""

from sqlalchemy.orm import Session

from app.base_models.repository import get as get_base_model
from app.base_models.tables import BaseModel
from app.runs.errors import ExampleTooLongError
from app.runs.methods import METHODS, Method
from app.runs.recipe import room_for_example, up_to_date
from app.runs.setting import SettingValues, fill_settings
from app.runs.tables import Run


def context_of(model: BaseModel) -> int | None:
    """Return how many tokens a base model reads at once; None if nobody knows."""
    return int(model.facts.get("context_length") or 0) or None


def longest_example(model: BaseModel, method: Method, settings: SettingValues) -> int | None:
    """Return how long an example can be at most; None if nobody knows.

    Args:
        model: the base model.
        method: the method of learning; its virtual tokens take places of their own.
        settings: the settings of the method, all of them.
    """
    context = context_of(model)
    return None if context is None else room_for_example(context, method, settings)


def longest_example_of(session: Session, run: Run) -> int | None:
    """Return how long the examples of a run like this one can be; None if nobody knows."""
    model, recipe = get_base_model(session, run.base_model_id), up_to_date(run.recipe)
    method = recipe.get("method", Method.LORA)
    if model is None or method not in list(Method):
        return None
    settings, _ = fill_settings(METHODS[Method(method)].settings, recipe.get("method_settings", {}))
    return longest_example(model, Method(method), settings)


def check_longest_example(
    model: BaseModel, chosen: int | None, method: Method, settings: SettingValues
) -> None:
    """Refuse examples that are longer than what the base model reads at once.

    Beyond it some models have no place to put a token, and the others were never trained there.

    Raises:
        ExampleTooLongError: saying how long they can be.
    """
    most = longest_example(model, method, settings)
    if chosen is None or most is None or chosen <= most:
        return
    taken = METHODS[method].virtual_tokens(settings)
    raise ExampleTooLongError(chosen, model.name, context_of(model) or most, taken, most)
