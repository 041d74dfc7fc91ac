"""Fits or not, how much memory, how long: said before a training starts, by arithmetic alone.

Plain data in, plain data out: a base model's measures, a recipe's work, a device's constants. The
formulas stand in costs/, one file for each question. What they cannot know (how fast a machine is,
how much its allocator wastes) is measured by a short trial on the machine itself; see
device_constants.py.
"""

from dataclasses import dataclass, replace
from typing import Final

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.memory import MemoryPlan, peak_memory
from app.runs.costs.seconds import TrainingTime, training_seconds, training_time
from app.runs.costs.work import Work
from app.runs.device_constants import DeviceConstants
from app.runs.methods import Method, Quantization
from app.workers.device import DeviceFacts, DeviceKind

# A device lends no program all that it has.
_USABLE_SHARE: Final = 0.92


@dataclass(frozen=True)
class Plan:
    """What one training would take on one device.

    Attributes:
        memory: at its peak, with the settings as they are.
        least_memory: the same with one row at a time, activations calculated twice; to this the
            training falls back by itself where memory is short.
        four_bit_memory: the least memory with the base model in 4 bits; None where the training
            does not fall back to that by itself.
        full_memory: what training all of the base model's own weights would take.
        time: from the start of its process to its end.
        full_seconds: what training all of the base model's weights would take.
        available: bytes of the device that a training can count on; None where nobody says.
        is_measured: whether the device's constants come from a trial on it.
    """

    memory: MemoryPlan
    least_memory: MemoryPlan
    four_bit_memory: MemoryPlan | None
    full_memory: MemoryPlan
    time: TrainingTime
    full_seconds: float
    available: float | None
    is_measured: bool

    @property
    def seconds(self) -> float:
        return self.time.total

    @property
    def fits(self) -> bool:
        return self.available is None or self.memory.total <= self.available

    @property
    def fits_in_small_steps(self) -> bool:
        return self.available is None or self.least_memory.total <= self.available


def plan(shape: TransformerShape, work: Work, device: DeviceFacts | None = None) -> Plan:
    """Say what a training would take on a device.

    Args:
        shape: the base model's measures.
        work: what is to be done.
        device: one that a worker announced; None for the ordinary machine of the defaults.
    """
    constants = DeviceConstants.of(device)
    full, small = _all_of_it(work), _in_small_steps(work)
    in_four_bits = None
    if device is not None and _may_fall_to_four_bits(work, device):
        few = replace(small, quantization=Quantization.FOUR_BIT)
        in_four_bits = peak_memory(shape, few, constants, recompute=True)
    return Plan(
        memory=peak_memory(shape, work, constants),
        least_memory=peak_memory(shape, small, constants, recompute=True),
        four_bit_memory=in_four_bits,
        full_memory=peak_memory(shape, full, constants),
        time=training_time(shape, work, constants),
        full_seconds=training_seconds(shape, full, constants),
        available=usable_bytes(device),
        is_measured=constants.is_measured,
    )


def usable_bytes(device: DeviceFacts | None) -> float | None:
    """Return what a training can count on: of a card its own memory, else the machine's."""
    if device is None:
        return None
    is_whole = device.kind == DeviceKind.CPU and device.count == 1
    memory = device.ram_bytes if is_whole else device.memory_bytes
    memory = memory or device.memory_bytes
    return None if memory is None else memory * _USABLE_SHARE


def _all_of_it(work: Work) -> Work:
    return replace(work, method=Method.FULL, settings={}, quantization=Quantization.NONE)


def _in_small_steps(work: Work) -> Work:
    return replace(work, tokens_per_micro_batch=max(work.longest_row, 64))


def _may_fall_to_four_bits(work: Work, device: DeviceFacts) -> bool:
    return work.may_fall_to_four_bits and not device.obstacle_to(Quantization.FOUR_BIT)
