"""How long the first word of an answer takes, beside plain transformers streaming, in one run.

    python benchmarks/first_token.py
    python benchmarks/first_token.py --model /path/to/a/model --questions 40

Tailor's chat server runs as a process of its own and is asked over HTTP, as the pages ask it; the
other side is `generate` with a streamer in this process, without any server. Both are warm, and
they are asked in turns, so that a busy machine is busy for both.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from app.chat.engine import ChatEngine, Piece, Question  # noqa: E402
from app.storage.folders import Storage  # noqa: E402
from tests.support.inference import (  # noqa: E402
    STARTER,
    TOKEN,
    add_base_model,
    running_inference,
)

QUESTIONS = (
    "Hello, when are you open?",
    "Do you ship to Norway?",
    "My parcel has not come and it was a present. What now?",
    "Write a short thank-you note to a customer.",
)
MOST_TOKENS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=STARTER, help="folder of a base model")
    parser.add_argument("--questions", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(Path(folder) / "data")
        storage.prepare()
        add_base_model(storage, "measured", arguments.model)
        with running_inference(storage) as server:
            sides = {
                "Tailor's chat server": through_tailor(server.url),
                "plain transformers": through_transformers(arguments.model),
            }
            report(measure(sides, arguments.questions))


def through_tailor(url: str) -> Callable[[str], float]:
    engine = ChatEngine(url, lambda: TOKEN)

    def first_token_seconds(question: str) -> float:
        messages = [{"role": "user", "content": question}]
        begun = time.perf_counter()
        answer = engine.ask(Question("measured", messages, 0.0, MOST_TOKENS))
        next(event for event in answer if isinstance(event, Piece))
        seconds = time.perf_counter() - begun
        list(answer)
        return seconds

    return first_token_seconds


def through_transformers(folder: Path) -> Callable[[str], float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    torch.set_num_threads(1)  # as the chat server does for a small model
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def first_token_seconds(question: str) -> float:
        begun = time.perf_counter()
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        streamer: Any = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        settings = {"max_new_tokens": MOST_TOKENS, "do_sample": False, "streamer": streamer}
        writing = threading.Thread(target=model.generate, kwargs={**inputs, **settings})
        writing.start()
        next(text for text in streamer if text)
        seconds = time.perf_counter() - begun
        writing.join()
        return seconds

    return first_token_seconds


def measure(sides: dict[str, Callable[[str], float]], count: int) -> dict[str, list[float]]:
    """Ask both sides in turns; return the seconds until the first words, by side."""
    for ask in sides.values():
        ask(QUESTIONS[0])  # loads the model, and is not counted
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        for name, ask in sides.items():
            seconds[name].append(ask(QUESTIONS[number % len(QUESTIONS)]))
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    print(f"{'First words after':24}{'median':>10}{'95th':>10}{'longest':>10}")
    for name, values in seconds.items():
        highest = sorted(values)[int(len(values) * 0.95)]
        numbers = (statistics.median(values), highest, max(values))
        print(f"{name:24}" + "".join(f"{1000 * value:>7.0f} ms" for value in numbers))


if __name__ == "__main__":
    main()
