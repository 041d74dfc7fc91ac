"""A version that sorts: served from the base model in memory, and used outside with plain peft."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from app.datasets.content import cleaned
from app.runs.objectives import Objective
from app.runs.recipe import Recipe
from app.storage.folders import Storage
from tests.support.inference import add_base_model
from tests.support.run_folders import make_run_folder, recipe_for
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import prepared_run
from worker.inference.catalogue import BaseReference, Catalogue, ModelReference
from worker.inference.engine import Engine
from worker.inference.loaded_model import LoadedModel
from worker.inference.protocol import ChatRequest
from worker.inference.server import ChatServer
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import KindEncoder
from worker.training.examples import Example

TEXTS = [("sums", "What is {} and 3?"), ("agreement", "Yes. Yes. {}"), ("greeting", "Hello {}.")]


def test_the_server_and_the_bundle_sort_as_the_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.training.precision.choose_dtype", lambda _: torch.float32)
    base = make_tiny_model(tmp_path / "base")
    lines: list[dict[str, Any]] = [
        {"id": i, "kind": TEXTS[i % 3][0], "text": TEXTS[i % 3][1].format(i)} for i in range(24)
    ]
    recipe = recipe_for(base, objective=Objective.KINDS, epochs=4, learning_rate=0.01)
    folder = make_run_folder(tmp_path / "run", recipe, lines, lines[:3])
    run, events = prepared_run(folder)
    run.train()
    run.cleanup()
    run.model.eval()
    adapter = folder / events.only("result")["adapter_folder"]

    base_reference = BaseReference("b", "b", base, "f" * 64)
    sorts = ModelReference(base_reference, "r", adapter, "d" * 64, sorts=True)
    model = LoadedModel(base_reference, torch.device("cpu"))
    model.use(sorts)
    for line in lines[:3]:
        ids = run.objective.encode(line["text"])  # type: ignore[attr-defined]
        expected = run.objective.scores_of(ids)  # type: ignore[attr-defined]
        found = model.kinds_of(sorts, ids)
        assert [share.kind for share in found] == [kind for kind, _ in expected]
        assert [share.score for share in found] == pytest.approx(
            [score for _, score in expected], abs=1e-4
        )
    # The base model, which others chat with, is what it was.
    model.use(ModelReference(base_reference))
    cache = model.new_cache()
    fresh = LoadedModel(base_reference, torch.device("cpu"))
    torch.testing.assert_close(
        model.next_logits([5, 6], cache), fresh.next_logits([5, 6], fresh.new_cache())
    )

    (adapter / "use_it.py").write_text(_program(recipe), encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, str(adapter / "use_it.py"), lines[0]["text"], str(base)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    ).stdout
    ids = run.objective.encode(lines[0]["text"])  # type: ignore[attr-defined]
    kind, score = run.objective.scores_of(ids)[0]  # type: ignore[attr-defined]
    assert printed.splitlines()[0].split("  ")[1] == kind
    assert float(printed.split()[0]) == pytest.approx(score, abs=1e-3)


def test_the_chat_reads_of_a_text_what_the_training_read(storage: Storage, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    add_base_model(storage, "tiny", base)
    folder = storage.folder("runs", "r")
    recipe = recipe_for(base, objective=Objective.KINDS, max_tokens_per_example=32)
    (folder / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    adapter = storage.folder("runs", "r", "adapter")
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    save_file({"weight": torch.zeros(1)}, adapter / "adapter_model.safetensors")
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)

    catalogue = Catalogue(storage)
    server = ChatServer(catalogue, Engine(catalogue, idle_seconds=60), "")
    chat = ChatFormat(AutoTokenizer.from_pretrained(base))
    for text in ("  What is\r\n1 and 3? ", "What is 1 and 3?\r\n" * 40):
        asked = [{"role": "user", "content": text}]
        prompt = server.prepare(ChatRequest.model_validate({"model": "r", "messages": asked}))[2]
        learned = Example(text=cleaned(text), kind="sums")
        (encoded,) = KindEncoder(chat, {"sums": 0}).encode([learned], 32)
        assert prompt.ids == encoded.items[0][0].ids
    assert len(prompt.ids) == 32


def _program(recipe: Recipe) -> str:
    from datetime import UTC, datetime

    from app.adapters.model_card import BaseFacts, CardFacts, render_model_card, render_use_it

    facts = CardFacts(
        project_name="p",
        goal="",
        version_number=1,
        created_at=datetime.now(UTC),
        base=BaseFacts("b", "folder", None, None, "f", "", "float32"),
        recipe=recipe,
        train_count=24,
        validation_count=3,
        snapshot_sha256="",
        adapter_sha256="",
        loss_before=None,
        loss_after=None,
        result_sentence="",
    )
    assert "pipeline_tag: text-classification" in render_model_card(facts)
    return render_use_it(facts)
