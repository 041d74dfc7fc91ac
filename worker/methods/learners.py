"""Which learner does what a recipe's method asks for."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from app.runs.methods import METHODS, Family, Method
from app.runs.setting import SettingValues
from worker.methods.adalora import AdaptiveLearner
from worker.methods.configs import adapter_config, without_compiler
from worker.methods.full import FullLearner
from worker.methods.learner import FasterB, Learner, PromptLearner
from worker.methods.starts import OLORA, PISSA, StartedLearner
from worker.methods.targets import UnsuitableModelError


def make_learner(
    method: Method,
    settings: SettingValues,
    base: PreTrainedModel,
    total_steps: int,
    seed: int,
    load_again: Callable[[], PreTrainedModel],
) -> Learner:
    """Put a fresh adapter on a frozen base model.

    Args:
        method: how it learns.
        settings: all settings of the method.
        base: the base model, its weights frozen.
        total_steps: how many updates there will be.
        seed: fixes the adapter's random start, whatever was drawn before.
        load_again: loads another base model like it, for methods that change this one.

    Raises:
        UnsuitableModelError: if the method cannot work on this model.
    """
    if method is Method.FULL:
        return FullLearner(base, load_again)
    without_compiler()
    try:
        return _wearing(method, settings, base, total_steps, seed)
    except ValueError as error:
        # With this peft says that it cannot put the adapter on such a model.
        raise UnsuitableModelError(f"the library peft refuses to put it on: “{error}”") from error


def _wearing(
    method: Method, settings: SettingValues, base: PreTrainedModel, total_steps: int, seed: int
) -> Learner:
    config: Any = adapter_config(method, settings, base, total_steps)
    torch.manual_seed(seed)
    if METHODS[method].family is Family.PROMPT:
        return PromptLearner(base, config)
    if method is Method.LORA_PLUS:
        return FasterB(base, config, float(settings["ratio"]))
    if method is Method.ADALORA:
        return AdaptiveLearner(base, config)
    start = {Method.PISSA: PISSA, Method.OLORA: OLORA}.get(method)
    return StartedLearner(base, config, start) if start else Learner(base, config)
