"""How a training process that was started ahead of time learns what to train.

Its standard input is a socket. One line comes over it, and with it the open files that the process
is to hold as long as it lives, such as the device's lock. Nothing heavy is imported here.
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LONGEST_ORDER_BYTES: Final = 16_384
_MOST_DESCRIPTORS: Final = 8


@dataclass(frozen=True)
class Order:
    """What to train.

    Attributes:
        run_folder: the run's folder.
        fence: under which it may publish.
        finishes: it is to learn no more, and to keep the best of what it has learned.
        further_devices: on which other processes are to take part, as CUDA_VISIBLE_DEVICES names
            them. A process that waits for its order is never told of any.
    """

    run_folder: Path
    fence: int
    finishes: bool = False
    further_devices: tuple[str, ...] = ()


def send_order(line: socket.socket, order: Order, descriptors: Sequence[int]) -> None:
    """Tell a waiting process its work.

    Raises:
        OSError: if it is gone.
    """
    said = {
        "run_folder": str(order.run_folder),
        "fence": order.fence,
        "finishes": order.finishes,
    }
    socket.send_fds(line, [f"{json.dumps(said)}\n".encode()], list(descriptors))


def wait_for_order() -> Order | None:
    """Wait on standard input; None if whoever started this process is gone.

    The descriptors that come with an order stay open for good, and are not given to programs that
    this process might start.
    """
    with socket.socket(fileno=os.dup(0)) as line:
        content, descriptors, _, _ = socket.recv_fds(line, _LONGEST_ORDER_BYTES, _MOST_DESCRIPTORS)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if not content.endswith(b"\n"):
        return None
    order = json.loads(content)
    return Order(Path(order["run_folder"]), int(order["fence"]), order["finishes"] is True)
