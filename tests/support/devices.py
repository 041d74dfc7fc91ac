"""Workers' devices, as workers announce them."""

from typing import Final

from sqlalchemy import Engine

from app.database.session import transaction
from app.jobs import RUNS_QUEUE
from app.workers.device import FEW_BITS_KEY, Device, DeviceFacts, DeviceKind
from app.workers.repository import report

GIGABYTE: Final = 1024**3
ONE_CPU: Final = DeviceFacts(
    host="here",
    kind=DeviceKind.CPU,
    devices=(Device(id="cpu", name="A processor", memory_bytes=16 * GIGABYTE),),
    memory_bytes=16 * GIGABYTE,
    ram_bytes=16 * GIGABYTE,
    cores=2,
)


def cards(count: int = 1, memory_bytes: int = 24 * GIGABYTE) -> DeviceFacts:
    """A machine with so many graphics cards."""
    return DeviceFacts(
        host="there",
        kind=DeviceKind.CUDA,
        devices=tuple(
            Device(id=f"GPU-{number}", name="A card", memory_bytes=memory_bytes)
            for number in range(count)
        ),
        memory_bytes=memory_bytes,
        ram_bytes=64 * GIGABYTE,
        cores=16,
    )


def with_few_bits(facts: DeviceFacts, *, four_bit: str = "", eight_bit: str = "") -> DeviceFacts:
    """The same machine once it was tried; with a sentence for each form that it cannot have."""
    obstacles = {"4bit": four_bit, "8bit": eight_bit}
    tried = {"libraries": facts.libraries, "obstacles": obstacles}
    return facts.model_copy(update={"measured": {FEW_BITS_KEY: tried}})


def a_worker_is_there(engine: Engine, facts: DeviceFacts = ONE_CPU) -> None:
    with transaction(engine) as session:
        report(session, f"{facts.host}:1/runs", RUNS_QUEUE, facts)
