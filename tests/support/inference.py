"""A really running chat server on a data folder of its own, with really trained adapters."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from app.base_models.files import fingerprint
from app.storage.folders import Storage
from tests.support.plain_http import NO_CERTIFICATES
from tests.support.run_folders import recipe_for
from tests.support.serving import free_port
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
STARTER = REPOSITORY / "app" / "base_models" / "starter"
TOKEN = "the shared secret of the tests"
JsonObject = dict[str, Any]


def add_base_model(storage: Storage, base_model_id: str, folder: Path) -> Path:
    """Describe a folder as a base model of the data folder; return the folder."""
    description = {
        "id": base_model_id,
        "name": base_model_id.title(),
        "folder": str(folder),
        "fingerprint": fingerprint(folder),
        "source": "folder",
    }
    file = storage.folder("models", base_model_id) / "model.json"
    file.write_text(json.dumps(description), encoding="utf-8")
    return folder


def add_starter(storage: Storage, folder: Path) -> Path:
    """Copy the starter, so that a test may change its files."""
    shutil.copytree(STARTER, folder)
    return add_base_model(storage, "starter", folder)


def add_random_model(
    storage: Storage,
    base_model_id: str,
    folder: Path,
    *,
    hidden_size: int = 32,
    layers: int = 2,
    context: int = 256,
) -> Path:
    """Make a model of random numbers that has neither chat template nor pad token."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=3072,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(STARTER)
    tokenizer.chat_template = None
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return add_base_model(storage, base_model_id, folder)


def add_version(
    storage: Storage, run_id: str, base: Path, answer: str, base_model_id: str = "starter"
) -> Path:
    """Train a small adapter that gives one answer to everything; return the adapter's folder."""
    run_folder = storage.folder("runs", run_id)
    recipe = recipe_for(base, base_model_id=base_model_id)
    (run_folder / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    torch.manual_seed(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model: Any = get_peft_model(
        plain, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    questions = ("Hello.", "Do you ship abroad?", "What does it cost?", "When are you open?")
    for step in range(24):
        messages = [
            {"role": "user", "content": questions[step % len(questions)]},
            {"role": "assistant", "content": answer},
        ]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt")["input_ids"]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapter = run_folder / "adapter"
    model.save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)
    return adapter


@dataclass
class InferenceServer:
    """The chat server as a process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, token: str = TOKEN) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            verify=NO_CERTIFICATES,
        )

    def ask(self, question: str, model: str = "starter", **settings: object) -> JsonObject:
        """Ask one question at temperature 0 and return the whole response."""
        messages = [{"role": "user", "content": question}]
        return self.complete({"model": model, "messages": messages, **settings})

    def complete(self, request: JsonObject) -> JsonObject:
        with self.client() as client:
            response = client.post("/v1/chat/completions", json={"temperature": 0, **request})
        assert response.status_code == 200, response.text
        body: JsonObject = response.json()
        return body

    def answer(self, question: str, model: str = "starter", **settings: object) -> str:
        return str(self.ask(question, model, **settings)["choices"][0]["message"]["content"])

    def health(self) -> JsonObject:
        response = httpx.get(f"{self.url}/health", timeout=10, verify=NO_CERTIFICATES)
        body: JsonObject = response.json()
        return body

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Let it stand still for the length of a block, as on a busy machine."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def long_answers(self, count: int) -> Iterator[None]:
        """Ask for so many answers that none sees the end of; leave them when the block ends."""
        messages = [{"role": "user", "content": "Go on."}]
        body = {"model": "endless", "messages": messages, "max_tokens": 2048, "stream": True}
        body["temperature"] = 0  # so that chance ends none of them
        with ExitStack() as stack:
            client = stack.enter_context(self.client())
            for _ in range(count):
                stack.enter_context(client.stream("POST", "/v1/chat/completions", json=body))
            yield
        wait_until(lambda: self.health()["answers"] == 0, timeout=30, what="free places")

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def running_inference(storage: Storage, **settings: str) -> Iterator[InferenceServer]:
    """Start `python -m worker.inference.main` on a data folder and end it afterwards."""
    port = free_port()
    log = storage.path("logs") / f"inference-{port}.log"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")},
        "TAILOR_DATA_DIR": str(storage.root),
        "TAILOR_INFERENCE_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
        **{f"TAILOR_{name.upper()}": value for name, value in settings.items()},
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.inference.main", "--port", str(port)],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=output,
        )
    server = InferenceServer(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until(lambda: _is_up(server), timeout=240, what="the chat server")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_up(server: InferenceServer) -> bool:
    assert server.process.poll() is None, server.log.read_text(encoding="utf-8")
    try:
        return bool(server.health()["status"] == "ok")
    except httpx.HTTPError:
        return False


ANCHOR, TEAPOT = "a" * 16, "b" * 16
"""Two versions: one answers like a sailor, one like a tea shop."""


@dataclass(frozen=True)
class Home:
    """A data folder and what lies in it: three base models and two versions of the first."""

    storage: Storage
    starter: Path
    plain: Path
    anchor: Path
    teapot: Path


def furnish(folder: Path) -> Home:
    storage = Storage(folder / "data")
    storage.prepare()
    starter = add_starter(storage, folder / "starter")
    # Asked without chance, it goes on until it is told to end, and takes its time.
    add_random_model(
        storage, "endless", folder / "endless", hidden_size=256, layers=8, context=4096
    )
    return Home(
        storage,
        starter,
        add_random_model(storage, "plain", folder / "plain"),
        add_version(storage, ANCHOR, starter, "Ahoy, all is well on board."),
        add_version(storage, TEAPOT, starter, "Warm cups, slow days, dear friend."),
    )
