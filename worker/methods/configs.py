"""From a method and its settings to peft's configuration for one base model.

Every name here was looked up in peft's own sources (0.21). Nothing is left to what peft guesses
from a model's name.
"""

from collections.abc import Callable
from typing import Any, Final

import peft
import peft.tuners.boft.layer as boft_layer
from peft import PeftConfig
from transformers import PreTrainedModel

from app.runs.methods import Method
from app.runs.setting import SettingValues
from worker.methods import targets

_TASK: Final = "CAUSAL_LM"
# Shares of the updates before AdaLoRA takes anything away, and after it has (Zhang et al., 2023,
# appendix: a tenth to a fifth, and about half).
_ADALORA_WARMUP: Final = 0.1
_ADALORA_FINAL: Final = 0.4
_ADALORA_ALLOCATIONS: Final = 50
# Of all blocks of a layer together. With what peft takes by itself, 6e-5, nothing is learned.
_LARGEST_TURN: Final = 0.2

Builder = Callable[[SettingValues, PreTrainedModel, int], PeftConfig]


def adapter_config(
    method: Method, settings: SettingValues, model: PreTrainedModel, total_steps: int
) -> PeftConfig:
    """Return the configuration of a fresh adapter.

    Args:
        method: any but full fine-tuning.
        settings: all of the method's settings.
        model: the base model that will wear it.
        total_steps: how many updates there will be.

    Raises:
        UnsuitableModelError: if the method cannot work on this model.
    """
    return _BUILDERS[method](settings, model, total_steps)


def without_compiler() -> None:
    """Keep peft from compiling a CUDA extension for BOFT; the plain way calculates the same."""
    boft_layer.get_fbd_cuda = lambda: None


def _lora(**extra: Any) -> Builder:  # noqa: ANN401 (fields of peft's configuration)
    def build(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
        return peft.LoraConfig(
            r=int(settings["rank"]),
            lora_alpha=int(settings["alpha"]),
            lora_dropout=float(settings.get("dropout", 0.0)),
            target_modules=targets.lora_targets(model),
            task_type=_TASK,
            bias="none",
            **extra,
        )

    return build


def _pissa(settings: SettingValues, model: PreTrainedModel, steps: int) -> PeftConfig:
    targets.require_rank(model, int(settings["rank"]))
    return _lora()(settings, model, steps)


def _olora(settings: SettingValues, model: PreTrainedModel, steps: int) -> PeftConfig:
    targets.require_linear(model)
    return _pissa(settings, model, steps)


def _adalora(settings: SettingValues, model: PreTrainedModel, steps: int) -> PeftConfig:
    final = int(steps * _ADALORA_FINAL)
    return peft.AdaLoraConfig(
        target_r=int(settings["rank"]),
        init_r=max(int(settings["first_rank"]), int(settings["rank"]) + 1),
        tinit=min(int(steps * _ADALORA_WARMUP), max(steps - final - 1, 0)),
        tfinal=final,
        deltaT=max(1, steps // _ADALORA_ALLOCATIONS),
        total_step=steps,
        orth_reg_weight=float(settings["orthogonality"]),
        lora_alpha=int(settings["alpha"]),
        lora_dropout=float(settings["dropout"]),
        target_modules=targets.lora_targets(model),
        task_type=_TASK,
    )


def _vera(settings: SettingValues, _model: PreTrainedModel, _steps: int) -> PeftConfig:
    return peft.VeraConfig(
        r=int(settings["rank"]),
        d_initial=float(settings["first_scale"]),
        vera_dropout=float(settings["dropout"]),
        target_modules=targets.ALL_LINEAR,
        # The fixed matrices travel with the adapter, so that it never depends on how a library
        # draws random numbers.
        save_projection=True,
        task_type=_TASK,
    )


def _loha(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_linear(model)
    return peft.LoHaConfig(
        r=int(settings["rank"]),
        alpha=int(settings["alpha"]),
        rank_dropout=float(settings["dropout"]),
        target_modules=targets.ALL_LINEAR,
        task_type=_TASK,
    )


def _lokr(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_linear(model)
    return peft.LoKrConfig(
        r=int(settings["rank"]),
        alpha=int(settings["alpha"]),
        rank_dropout=float(settings["dropout"]),
        decompose_both=bool(settings["decompose_both"]),
        decompose_factor=int(settings["factor"]),
        target_modules=targets.ALL_LINEAR,
        task_type=_TASK,
    )


def _oft(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_linear(model)
    return peft.OFTConfig(
        r=0,
        oft_block_size=targets.common_block_size(model, int(settings["block_size"])),
        module_dropout=float(settings["dropout"]),
        coft=bool(settings["constrained"]),
        eps=_LARGEST_TURN,
        target_modules=targets.ALL_LINEAR,
        task_type=_TASK,
    )


def _boft(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_linear(model)
    return peft.BOFTConfig(
        boft_block_size=targets.common_block_size(model, int(settings["block_size"])),
        boft_block_num=0,
        # More than one needs an extension that peft compiles on a graphics card.
        boft_n_butterfly_factor=1,
        boft_dropout=float(settings["dropout"]),
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in targets.linear_layers(model)}),
        task_type=_TASK,
    )


def _ia3(_settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    layers, at_their_input = targets.ia3_targets(model)
    return peft.IA3Config(
        target_modules=layers, feedforward_modules=at_their_input, task_type=_TASK
    )


def _layer_norms(_settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    return peft.LNTuningConfig(target_modules=targets.normalising_layers(model), task_type=_TASK)


def _prompt_tuning(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_vectors(model)
    return peft.PromptTuningConfig(
        num_virtual_tokens=int(settings["virtual_tokens"]),
        prompt_tuning_init=str(settings["start"]),
        task_type=_TASK,
    )


def _p_tuning(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_vectors(model)
    return peft.PromptEncoderConfig(
        num_virtual_tokens=int(settings["virtual_tokens"]),
        encoder_hidden_size=int(settings["encoder_size"]),
        task_type=_TASK,
    )


def _prefix_tuning(settings: SettingValues, model: PreTrainedModel, _steps: int) -> PeftConfig:
    targets.require_plain_memory(model)
    return peft.PrefixTuningConfig(
        num_virtual_tokens=int(settings["virtual_tokens"]),
        prefix_projection=bool(settings["through_network"]),
        encoder_hidden_size=int(settings["encoder_size"]),
        task_type=_TASK,
    )


_BUILDERS: Final[dict[Method, Builder]] = {
    Method.LORA: _lora(),
    Method.RSLORA: _lora(use_rslora=True),
    Method.DORA: _lora(use_dora=True),
    Method.LORA_PLUS: _lora(),
    Method.PISSA: _pissa,
    Method.OLORA: _olora,
    Method.ADALORA: _adalora,
    Method.VERA: _vera,
    Method.LOHA: _loha,
    Method.LOKR: _lokr,
    Method.OFT: _oft,
    Method.BOFT: _boft,
    Method.IA3: _ia3,
    Method.LAYER_NORMS: _layer_norms,
    Method.PROMPT_TUNING: _prompt_tuning,
    Method.P_TUNING: _p_tuning,
    Method.PREFIX_TUNING: _prefix_tuning,
}
