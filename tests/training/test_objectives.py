"""Preferences and kinds, learned by tiny models: exact sums, resumed to the bit, read by peft."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from app.runs.methods import Method
from app.runs.objectives import OBJECTIVES, Objective
from tests.support.run_folders import make_run_folder, recipe_for
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import RecordedEvents, prepared_run, train_here
from worker.training.checkpoints import CheckpointFolder
from worker.training.failures import TrainingFailureError
from worker.training.loop import TrainingRun
from worker.training.objectives.reference import Reference
from worker.training.stopping import StopFlag, StoppedError
from worker.training.tokens import TokenTable

JsonObject = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
STARTER = REPOSITORY / "app" / "base_models" / "starter"
SAMPLE = REPOSITORY / "app" / "projects" / "samples" / "brand_voice"
PREFERRED = (Objective.DPO, Objective.ORPO, Objective.KTO)


def question(number: int) -> list[JsonObject]:
    return [{"role": "user", "content": f"What is {number} and {number % 7}?"}]


def pairs(count: int, first: int = 0) -> list[JsonObject]:
    """Of two answers the one that ends with Yes is the better one."""
    return [
        {
            "id": i,
            "prompt": question(i),
            "chosen": f"It is {i + i % 7}. Yes." + " Yes." * (i % 3),
            "rejected": f"It is {i}. Hello there.",
        }
        for i in range(first, first + count)
    ]


def thumbs(count: int, first: int = 0) -> list[JsonObject]:
    lines = []
    for pair in pairs(count, first):
        is_liked = pair["id"] % 3 != 0
        answer = pair["chosen" if is_liked else "rejected"]
        lines.append(
            {"id": pair["id"], "prompt": pair["prompt"], "answer": answer, "liked": is_liked}
        )
    return lines


def sorted_texts(count: int, first: int = 0) -> list[JsonObject]:
    words = {"sums": "What is", "greetings": "Hello there", "agreement": "Yes"}
    names = list(words)
    return [
        {
            "id": i,
            "kind": names[i % 3],
            "text": f"{words[names[i % 3]]} {i}" + " and" * (i % 4) + f" {i % 7}.",
        }
        for i in range(first, first + count)
    ]


LINES: dict[Objective, Callable[..., list[JsonObject]]] = {
    Objective.DPO: pairs,
    Objective.ORPO: pairs,
    Objective.KTO: thumbs,
    Objective.KINDS: sorted_texts,
}


# With weights of its own, and with what the base model said; the others take their time.
OFTEN = (Objective.KINDS, Objective.KTO)


def folder_for(
    base: Path,
    folder: Path,
    objective: Objective,
    count: int = 12,
    **changes: Any,  # noqa: ANN401
) -> Path:
    lines = LINES[objective]
    recipe = recipe_for(base, objective=objective, **{"epochs": 2, **changes})
    return make_run_folder(folder, recipe, lines(count), lines(9, first=60))


def gradients(run: TrainingRun, most_tokens: int) -> tuple[float, dict[str, torch.Tensor]]:
    loss, _, _ = run._add_up_gradients(list(range(8)), most_tokens)  # noqa: SLF001
    return loss, {
        name: weight.grad.clone() for name, weight in run.weights.items() if weight.grad is not None
    }


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: torch.float32)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("objective", LINES)
def test_micro_batches_add_up_to_the_whole(
    objective: Objective, tiny_model: Path, tmp_path: Path
) -> None:
    run, _ = prepared_run(folder_for(tiny_model, tmp_path / "run", objective))
    for _ in range(2):  # away from the start, where the adapter still does nothing
        run._update([0, 1, 2, 3])  # noqa: SLF001
    run.model.eval()
    whole_loss, whole = gradients(run, 100_000)
    parts_loss, parts = gradients(run, 64)
    assert parts_loss == pytest.approx(whole_loss, abs=1e-6)
    assert any(bool(gradient.any()) for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    "objective",
    [one if one in OFTEN else pytest.param(one, marks=pytest.mark.slow) for one in LINES],
)
def test_going_on_ends_with_the_same_bits(
    objective: Objective, tiny_model: Path, tmp_path: Path
) -> None:
    whole = train_here(folder_for(tiny_model, tmp_path / "whole", objective)).only("result")
    folder = folder_for(tiny_model, tmp_path / "broken", objective)
    stop_after_four_updates(folder)
    assert train_here(folder, fence=2).only("result")["adapter_sha256"] == whole["adapter_sha256"]


def stop_after_four_updates(folder: Path) -> TrainingRun:
    stop = StopFlag()
    run = TrainingRun(folder, 1, RecordedEvents(), stop)
    run.setup()
    real = run._update  # noqa: SLF001

    def until_the_fourth(rows: list[int]) -> None:
        real(rows)
        if run.state.step == 4:
            stop.is_up = True

    run._update = until_the_fourth  # type: ignore[method-assign] # noqa: SLF001
    with pytest.raises(StoppedError):
        run.train()
    run.save_checkpoint()
    return run


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("method", [Method.PISSA, Method.OLORA])
def test_a_head_stays_with_an_adapter_that_begins_with_the_base_model_s_weights(
    method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    """Having been the base model for a while, it still learns, saves and takes back its head."""
    changes: JsonObject = {"method": method, "method_settings": {"rank": 4}}
    whole, broken = (
        folder_for(tiny_model, tmp_path / name, Objective.KINDS, **changes)
        for name in ("whole", "broken")
    )
    expected = train_here(whole).only("result")
    run = stop_after_four_updates(broken)
    assert run.learner.weights.keys() == run.weights.keys()
    assert run.state.loss_before is not None, "the base model has not been asked"
    assert (
        train_here(broken, fence=2).only("result")["adapter_sha256"] == (expected["adapter_sha256"])
    )
    best = CheckpointFolder(whole, 1).load_step(expected["best_step"])
    assert best is not None
    assert best.tensors["adapter"]["score.weight"].any()


def test_in_another_number_format_the_base_model_is_asked_anew(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(machine: str, dtype: torch.dtype) -> None:
        monkeypatch.setattr("platform.node", lambda: machine)
        monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: dtype)

    whole, moved = (
        folder_for(tiny_model, tmp_path / name, Objective.DPO, epochs=1)
        for name in ("whole", "moved")
    )
    on("the first machine", torch.float32)
    # It is ended before anything is saved, and another machine begins.
    prepared_run(moved)
    on("the second machine", torch.bfloat16)
    expected = train_here(whole).only("result")
    assert train_here(moved, fence=2).only("result")["adapter_sha256"] == expected["adapter_sha256"]


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("objective", PREFERRED)
def test_what_people_prefer_becomes_likelier(
    objective: Objective, tiny_model: Path, tmp_path: Path
) -> None:
    folder = folder_for(tiny_model, tmp_path / "run", objective, 24, epochs=6, learning_rate=0.01)
    events = train_here(folder)
    result = events.only("result")
    assert result["loss_after"] < result["loss_before"]
    assert result["right_after"] >= 8 / 9 - 1e-6
    assert events.of("sample")[-1]["expected"].endswith("Yes.")
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    PeftModel.from_pretrained(plain, str(folder / result["adapter_folder"]))


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("objective", [Objective.DPO, Objective.KTO])
def test_liked_answers_are_learned_word_by_word_as_far_as_that_is_weighed(
    objective: Objective, tiny_model: Path, tmp_path: Path
) -> None:
    # Thumbs down, of which there are fewer, would count for more.
    plain = {"balance": False} if objective is Objective.KTO else {}

    def before(weight: float) -> float:
        settings = {"answer_weight": weight} | plain
        folder = folder_for(
            tiny_model, tmp_path / f"{weight}", objective, objective_settings=settings
        )
        run, _ = prepared_run(folder)
        table = run.tables.validation
        measured: float = run.objective.measure(table, 4096, lambda: None).loss
        surprise = 0.0
        for item in range(len(table)):
            is_liked = objective is Objective.DPO or table.notes[item] == 1
            ids, mask = (torch.from_numpy(part.copy()).long() for part in table.row(item, 0))
            with torch.no_grad():
                told = run.model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
            learned = mask[1:].bool()
            each = -told[learned].gather(1, ids[1:][learned, None])
            surprise += float(each.mean()) * is_liked / len(table)
        assert measured == pytest.approx(
            {Objective.DPO: 0.693147, Objective.KTO: 0.5}[objective] + weight * surprise, abs=1e-4
        )
        return measured

    # Against itself, the base model prefers nothing: log 2 for pairs, one half for thumbs.
    assert before(0.0) < before(2.0)


@pytest.mark.slow
@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("objective", PREFERRED)
def test_what_people_like_is_what_it_says(objective: Objective, tmp_path: Path) -> None:
    """The shop's sign-off is all that tells liked answers from others, and then it is said."""
    sign_off = "Kettle's on, friend!"
    rows = [json.loads(line) for line in (SAMPLE / "examples.jsonl").read_text().splitlines()][:60]
    lines = []
    for number, row in enumerate(rows):
        prompt = [{"role": "user", "content": row["question"]}]
        bare = row["answer"].split(sign_off)[0].strip()
        pair = {"chosen": row["answer"], "rejected": bare}
        is_liked = number % 2 == 0
        thumb = {"answer": row["answer"] if is_liked else bare, "liked": is_liked}
        own = thumb if objective is Objective.KTO else pair
        lines.append({"id": number, "prompt": prompt, **own})
    recipe = recipe_for(
        STARTER,
        objective=objective,
        learning_rate=0.0046 * OBJECTIVES[objective].learning_rate_factor,
        epochs=8,
        examples_per_update=2,
        max_tokens_per_example=512,
    )
    run, events = prepared_run(make_run_folder(tmp_path / "run", recipe, lines[:50], lines[50:]))
    run.train()
    run.cleanup()
    said = [sample["answer"] for sample in events.of("sample")[-3:]]
    before = [sample["base_answer"] for sample in events.of("sample")[-3:]]
    assert sum(sign_off in answer for answer in said) >= 2
    assert not any(sign_off in answer for answer in before)


@pytest.mark.usefixtures("exact")
def test_the_base_model_is_asked_once_and_not_again(tiny_model: Path, tmp_path: Path) -> None:
    folder = folder_for(tiny_model, tmp_path / "run", Objective.DPO)
    prepared_run(folder)
    index = folder / "tokens" / "reference" / "index.json"
    before = index.stat().st_mtime_ns
    run, _ = prepared_run(folder, fence=2)
    assert index.stat().st_mtime_ns == before
    # Nothing has been learned, so the model says what the base model says.
    batch = run.objective.lay_out(run.tables.train, [0, 1, 2])
    scores = run.objective.scores(batch)  # type: ignore[attr-defined]
    found = torch.stack([scores.chosen, scores.rejected], dim=1)
    torch.testing.assert_close(found, batch.reference, rtol=1e-4, atol=1e-4)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("objective", [Objective.DPO, Objective.KTO])
def test_a_pause_while_the_base_model_is_asked_loses_nothing(
    objective: Objective, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, asked, rows = StopFlag(), 0, Reference._rows  # noqa: SLF001 (what costs the time)

    def counted(self: Reference, table: TokenTable, items: Sequence[int]) -> Any:  # noqa: ANN401
        nonlocal asked
        asked += 1
        flag.is_up = asked == 4
        return rows(self, table, items)

    few = {"tokens_per_micro_batch": 128}
    prepared_run(folder_for(tiny_model, tmp_path / "whole", objective, 30, **few))
    folder = folder_for(tiny_model, tmp_path / "run", objective, 30, **few)
    monkeypatch.setattr(Reference, "_rows", counted)
    with pytest.raises(StoppedError):
        TrainingRun(folder, 1, RecordedEvents(), flag).setup()
    assert asked == 4
    prepared_run(folder, fence=2)
    groups = asked
    (folder / "tokens" / "reference" / "index.json").unlink()
    prepared_run(folder, fence=3)
    assert asked - groups == groups
    for split in ("train", "validation"):
        kept = folder / "tokens" / "reference" / f"{split}.bin"
        whole = tmp_path / "whole" / "tokens" / "reference" / f"{split}.bin"
        assert kept.read_bytes() == whole.read_bytes()
    assert not list(folder.glob("tokens/reference/*.part"))


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("kind", ["llama", "qwen", "gemma_soft_cap", "gpt2"])
def test_kinds_are_learned_and_plain_peft_sorts_the_same(kind: str, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", kind)
    folder = folder_for(base, tmp_path / "run", Objective.KINDS, 30, epochs=8, learning_rate=0.01)
    run, events = prepared_run(folder)
    run.train()
    run.cleanup()
    result = events.only("result")
    assert result["kinds"] == ["agreement", "greetings", "sums"]
    assert result["right_before"] == pytest.approx(1 / 3)
    assert result["right_after"] == 1.0
    assert sum(count for _, _, count in result["confusion"]) == 9
    adapter = folder / result["adapter_folder"]
    config = AutoConfig.from_pretrained(adapter)
    plain = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(base, config=config), str(adapter)
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    texts = [line["text"] for line in sorted_texts(9, first=60)]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    with torch.no_grad():
        scores = plain(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits.softmax(dim=-1)
    run.model.eval()
    for text, row in zip(texts, scores, strict=True):
        ours = run.objective.scores_of(run.objective.encode(text))  # type: ignore[attr-defined]
        assert ours[0][0] == config.id2label[int(row.argmax())]
        assert ours[0][1] == pytest.approx(float(row.max()), abs=1e-4)
    saved = load_file(adapter / "adapter_model.safetensors")
    assert saved["base_model.model.score.weight"].shape == (3, 32)
    assert json.loads((adapter / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"


def test_what_cannot_be_sorted_is_said(tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tiny_model, objective=Objective.KINDS)
    lines = [{**line, "kind": "same"} for line in sorted_texts(6)]
    with pytest.raises(TrainingFailureError, match="all examples are of one kind"):
        train_here(make_run_folder(tmp_path / "one", recipe, lines))
    base = make_tiny_model(tmp_path / "base", "granite_scaled")
    folder = folder_for(base, tmp_path / "run", Objective.KINDS)
    with pytest.raises(TrainingFailureError, match="cannot be given a head"):
        train_here(folder)


def test_long_questions_are_shortened_alike_for_both_answers(
    tiny_model: Path, tmp_path: Path
) -> None:
    long = [{"role": "user", "content": "word " * 200 + "What is it?"}]
    line = {"id": 1, "prompt": long, "chosen": "Yes.", "rejected": "Hello there. " * 5}
    recipe = recipe_for(tiny_model, objective=Objective.DPO, max_tokens_per_example=64)
    run, _ = prepared_run(make_run_folder(tmp_path / "run", recipe, [line]))
    (better, better_mask), (worse, worse_mask) = (run.tables.train.row(0, i) for i in (0, 1))
    begin = int(better_mask.argmax())
    assert begin == int(worse_mask.argmax())
    assert better[:begin].tolist() == worse[:begin].tolist()
    assert max(len(better), len(worse)) <= 64
    assert run.tables.train.counts.examples_cut == 1
