"""The base model, loaded, with what is to be trained of it."""

import torch
from transformers import PreTrainedModel

from app.runs.methods import METHODS, Family, Quantization
from app.runs.recipe import Recipe
from worker.methods.learner import Learner
from worker.methods.learners import make_learner
from worker.methods.targets import UnsuitableModelError
from worker.training import failures
from worker.training.model import check_base_model, load_base
from worker.training.objectives.objective import Objective
from worker.training.precision import Numbers
from worker.training.team.divided import divide_layers


def load_learner(
    recipe: Recipe, bits: Quantization, numbers: Numbers, objective: Objective, total_steps: int
) -> Learner:
    """Load the base, frozen, and make ready what learns: by the method, and for the objective.

    In a divided team the model lies in the host's memory until each process has taken its part.

    Args:
        recipe: of the run.
        bits: in how few the base is held; fewer than the recipe says if memory ran short.
        numbers: with what is calculated.
        objective: what is learned.
        total_steps: how many updates there will be.

    Raises:
        TrainingFailureError: if method, objective and base model do not go together.
    """
    if objective.team.mesh is None:
        return _loaded(recipe, bits, numbers, objective, total_steps, numbers.device)
    with objective.team.in_turn():
        learner = _loaded(recipe, bits, numbers, objective, total_steps, torch.device("cpu"))
        divide_layers(learner, numbers.device, objective.team.mesh, recipe.base_model_name)
    return learner


def _loaded(
    recipe: Recipe,
    bits: Quantization,
    numbers: Numbers,
    objective: Objective,
    total_steps: int,
    device: torch.device,
) -> Learner:
    method = METHODS[recipe.method]
    dtype = torch.float32 if method.needs_float32 else numbers.dtype
    base = load_base(recipe, bits, dtype, device)

    def load_again() -> PreTrainedModel:
        # Hours may have passed: what lies there now must be what was loaded then.
        check_base_model(recipe, lambda: None)
        return load_base(recipe, bits, dtype, device)

    objective.attach(base)
    if objective.kinds and method.family is not Family.LAYERS:
        raise failures.method_cannot_sort(method.title)
    try:
        learner = make_learner(
            recipe.method, recipe.method_settings, base, total_steps, recipe.seed, load_again
        )
    except UnsuitableModelError as error:
        raise failures.method_unsuited(
            method.title, recipe.base_model_name, str(error), error.instead
        ) from error
    learner.also_learn(objective.weights())
    objective.loss.front = learner.front
    return learner
