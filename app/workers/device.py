"""What a worker says about the machine that it works on. Plain data, stored as it is.

A worker imports no torch, so these are facts that can be had without it: what the driver's own
program lists, what the kernel says, which libraries are installed. The planner reads them from the
column `workers.device`; so does the claim of a run, which names what its worker serves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

FEW_BITS_KEY: Final = "few_bits"
FEW_BITS_LIBRARIES: Final = ("torch", "bitsandbytes")
"""With which a base model is held in few bits; what was tried says nothing of other versions."""
NOT_TRIED_YET: Final = (
    "Whether this machine can is not known yet; it is tried when nothing else goes on."
)


class DeviceKind(StrEnum):
    """With what a training calculates; torch's own names."""

    CPU = "cpu"
    CUDA = "cuda"


class Device(BaseModel):
    """One thing that trains one run at a time."""

    model_config = ConfigDict(frozen=True)

    id: str
    """What CUDA_VISIBLE_DEVICES takes for it; "cpu" for the processor, "cpu-1" for a part of it."""
    name: str
    memory_bytes: int | None = None
    """All the memory it has; None where nobody says."""


class DeviceFacts(BaseModel):
    """The devices of one worker: all of one kind, each training one run at a time."""

    model_config = ConfigDict(frozen=True)

    host: str
    kind: DeviceKind
    devices: tuple[Device, ...] = Field(min_length=1)
    memory_bytes: int | None = None
    """What a run can count on: of several devices the memory of the smallest."""
    ram_bytes: int | None = None
    """The host's own memory, or what the container that it is in may use."""
    cores: int = 1
    libraries: dict[str, str] = Field(default_factory=dict)
    """Versions of what calculates: torch, transformers, peft, and others where they are there."""
    measured: dict[str, Any] = Field(default_factory=dict)
    """What trials on this host measured, as they wrote it down; see worker/devices.py."""

    @property
    def count(self) -> int:
        return len(self.devices)

    @property
    def name(self) -> str:
        """Name the device for people, such as “2 × NVIDIA H100”."""
        names = " and ".join(dict.fromkeys(device.name for device in self.devices))
        return f"{self.count} × {names}" if self.count > 1 else names

    def each(self) -> list["OneDevice"]:
        forms = tuple(sorted(form for form, why_not in self._tried_forms().items() if not why_not))
        return [
            OneDevice(self.host, self.kind, device, self.count, forms) for device in self.devices
        ]

    @property
    def are_told_apart(self) -> bool:
        """Whether they are not alike, and it is known how much memory each of them has."""
        memories = [device.memory_bytes for device in self.devices]
        return len(self._kinds()) > 1 and None not in memories

    def together_and_apart(self) -> list["DeviceFacts"]:
        """Return all of them and, where they are told apart, those of each kind by themselves.

        What fits only on the largest card of a machine is to be found to fit there.
        """
        if not self.are_told_apart:
            return [self]
        apart = [
            self.model_copy(update={"devices": tuple(devices), "memory_bytes": memory})
            for (_, memory), devices in self._kinds().items()
        ]
        return [self, *apart]

    def _kinds(self) -> dict[tuple[str, int | None], list[Device]]:
        """Return devices of one name and size together."""
        kinds: dict[tuple[str, int | None], list[Device]] = {}
        for device in self.devices:
            kinds.setdefault((device.name, device.memory_bytes), []).append(device)
        return kinds

    def obstacle_to(self, form: str) -> str:
        """Say why no base model can be held in a form of few bits; empty where one can.

        Args:
            form: such as "4bit"; what its worker found out by trying.
        """
        return str(self._tried_forms().get(form, NOT_TRIED_YET))

    def measured_now(self, key: str, compared: Iterable[str]) -> dict[str, Any]:
        """Return a part of what was measured; empty if a library has another version since.

        Args:
            key: of the part.
            compared: the libraries whose versions count for it.
        """
        noted = self.measured.get(key)
        then = noted.get("libraries") if isinstance(noted, dict) else None
        if not isinstance(noted, dict) or not isinstance(then, dict):
            return {}
        is_of_today = all(then.get(name) == self.libraries.get(name) for name in compared)
        return noted if is_of_today else {}

    def _tried_forms(self) -> dict[str, Any]:
        obstacles = self.measured_now(FEW_BITS_KEY, FEW_BITS_LIBRARIES).get("obstacles")
        return obstacles if isinstance(obstacles, dict) else {}


@dataclass(frozen=True)
class OneDevice:
    """A device of a host, as the run that it trains remembers it.

    Attributes:
        host_devices: how many its host has.
        few_bits: the forms of few bits in which it can hold a base model, such as "4bit".
    """

    host: str
    kind: DeviceKind
    device: Device
    host_devices: int = 1
    few_bits: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return host, kind, host_devices, id, name, memory_bytes and few_bits."""
        return {
            "host": self.host,
            "kind": self.kind.value,
            "host_devices": self.host_devices,
            **self.device.model_dump(),
            "few_bits": list(self.few_bits),
        }
