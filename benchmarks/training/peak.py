"""The most that this machine's matrix products reach: `python peak.py`. Prints one JSON line."""

import json
import time

SIZE, ROUNDS = 1024, 8
# The kernel counts other threads' processor time now and then only: a single product is too short.
PRODUCTS = 60


def main() -> None:
    import torch

    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        left = torch.randn(SIZE, SIZE).to(dtype)
        torch.mm(left, left)
        wall = processor = float("inf")
        for _ in range(ROUNDS):
            started, at_work = time.perf_counter(), time.process_time()
            for _ in range(PRODUCTS):
                torch.mm(left, left)
            wall = min(wall, time.perf_counter() - started)
            processor = min(processor, time.process_time() - at_work)
        name = str(dtype).removeprefix("torch.")
        found[name] = {
            "gigaflops": PRODUCTS * 2 * SIZE**3 / wall / 1e9,
            "per_processor_second": PRODUCTS * 2 * SIZE**3 / processor / 1e9,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
