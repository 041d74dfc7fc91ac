"""Which class a recipe's objective is."""

from pathlib import Path
from typing import Final

import torch

from app.runs.objectives import Objective as Name
from app.runs.recipe import Recipe
from worker.training.chat_templates import ChatFormat
from worker.training.objectives.answers import Answers
from worker.training.objectives.dpo import Dpo
from worker.training.objectives.kinds import Kinds
from worker.training.objectives.kto import Kto
from worker.training.objectives.objective import Objective
from worker.training.objectives.orpo import Orpo

_CLASSES: Final[dict[Name, type[Objective]]] = {
    Name.ANSWERS: Answers,
    Name.TEXTS: Answers,
    Name.DPO: Dpo,
    Name.KTO: Kto,
    Name.ORPO: Orpo,
}


def make_objective(
    recipe: Recipe, chat: ChatFormat, device: torch.device, run_folder: Path
) -> Objective:
    """Return what a run learns.

    Raises:
        TrainingFailureError: if it cannot be learned from these examples.
    """
    if recipe.objective is Name.KINDS:
        return Kinds(recipe, chat, device, run_folder)
    return _CLASSES[recipe.objective](recipe, chat, device)
