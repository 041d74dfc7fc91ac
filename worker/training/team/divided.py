"""A base model whose layers are divided over the devices of a team, for one that fits on none.

Fully sharded data parallelism, as torch has it: each device holds a part of every layer. Before a
layer calculates its parts are brought together, and given up again behind it. Only the frozen
weights are divided. What learns is small; each device has all of it, and adds its gradients up as
any team does. So checkpoints and results are the same as everywhere else.
"""

from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from worker.methods.learner import Learner
from worker.training import failures


def divide_layers(
    learner: Learner, device: torch.device, mesh: DeviceMesh, base_model_name: str
) -> None:
    """Leave of each layer only this process's part on the device, and move everything else there.

    Args:
        learner: what was loaded in the host's memory, the adapter on its layers.
        device: of this process.
        mesh: the processes over which it is divided.
        base_model_name: for people.

    Raises:
        TrainingFailureError: if the model does not say what its layers are.
    """
    base: Any = learner.base
    kinds = set(base._no_split_modules or ())  # noqa: SLF001 (transformers tells it nowhere else)
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise failures.cannot_be_divided(base_model_name)
    whole = {weight for weight in base.parameters() if weight.requires_grad}
    for weight in learner.weights.values():
        weight.data = weight.data.to(device)
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    base.to(device)
    # Of the decoder itself nothing is divided; as the root it fetches each layer in time.
    rest = {weight for weight in base.base_model.parameters() if not _is_divided(weight)}
    fully_shard(base.base_model, mesh=mesh, ignored_params=rest)


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return what of a tensor this process holds: all of it, unless it is divided."""
    if not _is_divided(tensor):
        return tensor
    divided: Any = tensor
    own: torch.Tensor = divided.to_local()
    return own


def _is_divided(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "to_local")
