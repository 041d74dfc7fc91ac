"""Asks the held-out questions and writes the page: `python -m worker.starter.evaluate`."""

# ruff: noqa: T201 -- a command prints
from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from worker.starter.held_out import HeldOutQuestion, Judgement, held_out_questions, judgements
from worker.starter.nearest import Near, nearest_texts

_ROOT = Path(__file__).parents[2]
_MODEL_FOLDER = _ROOT / "app" / "base_models" / "starter"
_PAGE = _ROOT / "docs" / "starter-model.md"
_PAGE_FRAME = Path(__file__).parent / "page_frame.md"
_LONGEST_ANSWER = 160


@dataclass(frozen=True)
class Answer:
    question: HeldOutQuestion
    text: str
    ended: bool


class Respondent:
    """The model as it is shipped, answering greedily."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )

    def answer(self, messages: list[dict[str, str]]) -> tuple[str, bool]:
        """The answer's text, and whether the model itself brought it to an end."""
        prompt = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            tokens = self.model.generate(**prompt, max_new_tokens=_LONGEST_ANSWER, do_sample=False)[
                0, prompt["input_ids"].shape[1] :
            ]
        ended = bool(tokens[-1] == self.tokenizer.eos_token_id)
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)), ended


def ask_all(folder: Path) -> list[Answer]:
    respondent = Respondent(folder)
    answers = []
    for question in held_out_questions():
        text, ended = respondent.answer([{"role": "user", "content": question.question}])
        answers.append(Answer(question, text, ended))
    return answers


def page(
    answers: list[Answer],
    judged: dict[int, Judgement],
    nearest: dict[int, Near],
    record: dict[str, Any],
) -> str:
    frame = _PAGE_FRAME.read_text(encoding="utf-8")
    values = {
        "table": "\n".join(_table(answers, judged)),
        "nearest": "\n".join(_nearest_table(answers, nearest)),
        "good": str(sum(_verdict(answer, judged) == "good" for answer in answers)),
        "asked": str(len(answers)),
        "ended": str(sum(answer.ended for answer in answers)),
        **{name: _plain(value) for name, value in record.items()},
    }
    for name, value in values.items():
        frame = frame.replace("{{ " + name + " }}", value)
    return frame


def _table(answers: list[Answer], judged: dict[int, Judgement]) -> list[str]:
    lines = ["| # | Question | Raw answer | Judged | Remark |", "|---|---|---|---|---|"]
    for answer in answers:
        question, verdict = answer.question, _verdict(answer, judged)
        remark = judged[question.number].remark if verdict in ("good", "not good") else ""
        cells = (str(question.number), question.question, answer.text, verdict, remark)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return lines


def _nearest_table(answers: list[Answer], nearest: dict[int, Near]) -> list[str]:
    lines = ["| # | Question | Nearest text | Words shared |", "|---|---|---|---|"]
    for answer in answers:
        near = nearest[answer.question.number]
        cells = (str(answer.question.number), answer.question.question, near.text)
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} | {near.shared:.0%} |")
    return lines


def _verdict(answer: Answer, judged: dict[int, Judgement]) -> str:
    judgement = judged.get(answer.question.number)
    if judgement is None or judgement.answer != answer.text:
        return "not judged yet"
    return "good" if judgement.good else "not good"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _record(folder: Path) -> dict[str, Any]:
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    sizes = [file.stat().st_size for file in folder.iterdir()]
    return {
        # The plan names a number of tokens too; what counts is how many it really was.
        **training["plan"],
        **training["figures"],
        "device": training["device"],
        "megabytes": f"{sum(sizes) / 1e6:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=_MODEL_FOLDER)
    parser.add_argument("--page", type=Path, default=_PAGE)
    arguments = parser.parse_args()
    answers = ask_all(arguments.model)
    record = _record(arguments.model)
    text = page(answers, judgements(), nearest_texts(record["seed"] + 1), record)
    arguments.page.write_text(text, encoding="utf-8")
    for answer in answers:
        mark = "" if answer.ended else " [did not end]"
        print(f"{answer.question.number}. {answer.question.question}\n   {answer.text!r}{mark}")


if __name__ == "__main__":
    main()
