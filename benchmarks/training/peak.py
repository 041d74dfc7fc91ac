"""The most that this machine's matrix products reach: `python peak.py`. Prints one JSON line."""

import json
import time

SIZE, ROUNDS = 1024, 8
# The kernel counts other threads' processor time now and then only: a single product is too short.
PRODUCTS = 60
# A processor without bf16 takes seconds for a product, and more of them say nothing new.
TOO_SLOW_SECONDS = 0.5


def main() -> None:
    import torch

    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        left = torch.randn(SIZE, SIZE).to(dtype)
        started = time.perf_counter()
        torch.mm(left, left)
        is_slow = time.perf_counter() - started > TOO_SLOW_SECONDS
        rounds, products = (1, 1) if is_slow else (ROUNDS, PRODUCTS)
        wall = processor = float("inf")
        for _ in range(rounds):
            started, at_work = time.perf_counter(), time.process_time()
            for _ in range(products):
                torch.mm(left, left)
            wall = min(wall, time.perf_counter() - started)
            processor = min(processor, time.process_time() - at_work)
        name = str(dtype).removeprefix("torch.")
        found[name] = {
            "gigaflops": products * 2 * SIZE**3 / wall / 1e9,
            "per_processor_second": products * 2 * SIZE**3 / processor / 1e9,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
