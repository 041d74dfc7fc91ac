"""Every method of the table: it learns, goes on after a stop, and plain peft reads what it made."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from app.runs.methods import METHODS, Method
from tests.support.run_folders import make_run_folder, recipe_for, sums
from tests.support.tiny_models import make_tiny_model
from tests.support.training_events import prepared_run, train_here
from worker.inference.catalogue import BaseReference, ModelReference
from worker.inference.loaded_model import LoadedModel
from worker.methods.full import FullLearner
from worker.training.failures import TrainingFailureError
from worker.training.loop import TrainingRun
from worker.training.model import base_sha256
from worker.training.stopping import StoppedError

# Small enough for a model of two layers and 32 numbers a token.
SMALL = {"rank": 4, "block_size": 4, "virtual_tokens": 4, "encoder_size": 16}
# How many times larger steps this model of random weights bears, or needs, than the usual.
RATE = 5e-3
# One of each way of being attached, kept and put together again; the others take their time.
OFTEN = (
    *(Method.LORA, Method.PISSA, Method.ADALORA, Method.IA3),
    *(Method.PROMPT_TUNING, Method.PREFIX_TUNING, Method.FULL),
)
EACH = [m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in Method]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def run_folder(
    folder: Path,
    model: Path,
    method: Method,
    *,
    epochs: int = 6,
    **chosen: Any,  # noqa: ANN401 (values of settings)
) -> Path:
    names = {setting.name for setting in METHODS[method].settings}
    recipe = recipe_for(
        model,
        method=method,
        method_settings={n: value for n, value in SMALL.items() if n in names} | chosen,
        learning_rate=min(RATE * METHODS[method].learning_rate_factor, 1.0),
        epochs=epochs,
    )
    return make_run_folder(folder, recipe, sums(12), sums(6, first=50))


def finished(folder: Path) -> tuple[TrainingRun, Path, dict[str, float]]:
    run, events = prepared_run(folder)
    run.train()
    run.cleanup()
    result = events.only("result")
    return run, folder / str(result["adapter_folder"]), result


@torch.no_grad()
def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    scores: torch.Tensor = model.eval()(input_ids=ids).logits
    # Plain peft gives scores for virtual tokens too.
    return scores[:, -ids.shape[1] :]


@torch.no_grad()
def logits_in_training(run: TrainingRun, ids: torch.Tensor) -> torch.Tensor:
    """The scores as the loss sees them."""
    base: Any = run.learner.base.eval()
    front = run.learner.front
    scores: torch.Tensor = base(**(front.inputs(ids) if front else {"input_ids": ids})).logits
    return scores[:, front.places if front else 0 :]


def as_anybody_loads_it(folder: Path, base: Any) -> Any:  # noqa: ANN401 (no types)
    """A version in plain peft, or in plain transformers if it is a whole model."""
    if (folder / "adapter_config.json").exists():
        return PeftModel.from_pretrained(base, str(folder))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("method", EACH)
def test_it_learns_and_plain_peft_answers_the_same(
    method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    run, adapter, result = finished(run_folder(tmp_path / "run", tiny_model, method))
    assert result["loss_after"] < result["loss_before"] - 0.05
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=run.learner.base.dtype)
    ids = torch.arange(24)[None]
    of_the_base = logits(base, ids)
    # What “before” was measured on is the base model as it is on the disk.
    with run.learner.as_base():
        assert torch.equal(logits_in_training(run, ids), of_the_base)
    learned = logits_in_training(run, ids)
    plain = as_anybody_loads_it(adapter, base)
    assert torch.allclose(logits(plain, ids), learned, atol=2e-4, rtol=1e-3)
    assert not torch.allclose(learned, of_the_base, atol=1e-3)


@pytest.mark.usefixtures("in_bfloat16")
@pytest.mark.parametrize("method", EACH)
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    whole = run_folder(tmp_path / "whole", tiny_model, method, epochs=2)
    expected = train_here(whole).only("result")
    broken = run_folder(tmp_path / "broken", tiny_model, method, epochs=2)
    for fence, updates in ((1, 1), (2, 4)):
        _interrupt(broken, fence, updates)
    found = train_here(broken, fence=3).only("result")
    assert found["adapter_sha256"] == expected["adapter_sha256"]
    assert found["loss_after"] == expected["loss_after"]


def _interrupt(folder: Path, fence: int, updates: int) -> None:
    """Train until so many updates are done, then stop as a worker stops its child."""
    run, _ = prepared_run(folder, fence)
    assert run.state.step < updates
    update = run._update  # noqa: SLF001 (a stop between two updates)

    def then_stop(rows: list[int]) -> None:
        update(rows)
        run.stop.is_up = run.state.step >= updates

    run._update = then_stop  # type: ignore[method-assign] # noqa: SLF001
    before = base_sha256(run.model)
    with pytest.raises(StoppedError):
        run.train()
    assert base_sha256(run.model) == before
    run.save_checkpoint()


def test_olora_refuses_layers_of_an_older_form_and_says_why(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", "gpt2")
    with pytest.raises(TrainingFailureError, match="Conv1D") as caught:
        prepared_run(run_folder(tmp_path / "run", base, Method.OLORA))
    assert caught.value.code == "method_unsuited"
    prepared_run(run_folder(tmp_path / "other", base, Method.PISSA))


@pytest.mark.usefixtures("number_format")
@pytest.mark.parametrize("method", [Method.LORA, Method.ADALORA])
def test_lora_leaves_out_what_the_kernels_of_mamba_read_directly(
    method: Method, tmp_path: Path
) -> None:
    base = make_tiny_model(tmp_path / "base", "mamba")
    run, _ = prepared_run(run_folder(tmp_path / "run", base, method))
    assert any("in_proj" in name for name in run.weights)
    assert not any("out_proj" in name for name in run.weights)


@pytest.mark.parametrize("method", [Method.PISSA, Method.OLORA])
def test_a_rank_that_the_layers_have_no_room_for_is_refused(
    method: Method, tiny_model: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "run", tiny_model, method, rank=17)
    with pytest.raises(TrainingFailureError, match="a rank of 16 at most, and 17 was") as caught:
        prepared_run(folder)
    assert caught.value.code == "method_unsuited"
    assert caught.value.next_step.startswith("Choose a rank of 16 or less. Or choose LoRA")


@pytest.mark.parametrize("method", [Method.PROMPT_TUNING, Method.P_TUNING])
def test_virtual_tokens_are_refused_where_a_model_must_know_its_tokens(
    method: Method, tmp_path: Path
) -> None:
    base = make_tiny_model(tmp_path / "base", "gemma_4")
    with pytest.raises(TrainingFailureError, match="reads the tokens that it knows") as caught:
        prepared_run(run_folder(tmp_path / "run", base, method))
    assert caught.value.code == "method_unsuited"
    prepared_run(run_folder(tmp_path / "other", base, Method.PREFIX_TUNING))


def test_what_peft_alone_refuses_is_no_puzzle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.methods.targets._OF_MAMBA", frozenset())
    base = make_tiny_model(tmp_path / "base", "mamba")
    with pytest.raises(TrainingFailureError, match="because the library peft refuses") as caught:
        prepared_run(run_folder(tmp_path / "run", base, Method.LORA))
    assert caught.value.code == "method_unsuited"


def test_small_turns_learn_less_than_large_ones_but_do_learn(
    tiny_model: Path, tmp_path: Path
) -> None:
    def learned(**chosen: bool) -> float:
        name = "small" if chosen else "large"
        folder = run_folder(tmp_path / name, tiny_model, Method.OFT, epochs=3, **chosen)
        result = train_here(folder).only("result")
        return float(result["loss_before"] - result["loss_after"])

    assert 0.02 < learned(constrained=True) < learned()


def test_a_whole_model_makes_room_for_the_base_before_it_is_loaded_again(
    tiny_model: Path, tmp_path: Path
) -> None:
    run, _ = prepared_run(run_folder(tmp_path / "run", tiny_model, Method.FULL))
    run._update([0, 1, 2, 3])  # noqa: SLF001 (an update leaves its gradients there)
    learner = run.learner
    assert isinstance(learner, FullLearner)
    load_again, held = learner._load_again, []  # noqa: SLF001 (what is there at that moment)

    def load() -> PreTrainedModel:
        held.append([weight for weight in run.weights.values() if weight.grad is not None])
        return load_again()

    learner._load_again = load  # noqa: SLF001 (see above)
    with learner.as_base():
        pass
    assert held == [[]]


@pytest.mark.slow
@pytest.mark.usefixtures("in_float32")
def test_versions_of_all_methods_answer_in_turns_as_plain_peft_does(
    tiny_model: Path, tmp_path: Path
) -> None:
    folders = {}
    for method in METHODS:
        if METHODS[method].base_stays_frozen:
            _, folders[method], _ = finished(
                run_folder(tmp_path / method, tiny_model, method, epochs=3)
            )
    base = BaseReference("tiny", "Tiny", tiny_model, "f")
    loaded = LoadedModel(base, torch.device("cpu"))
    before = base_sha256(loaded._model)  # noqa: SLF001 (the bits in memory)
    prompt = list(range(20, 40))
    first = {method: _greedy(loaded, base, folders[method], method, prompt) for method in folders}
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    expected_of_base = _plain_greedy(plain, prompt)
    for method, folder in folders.items():
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), str(folder)
        )
        assert first[method] == _plain_greedy(model, prompt), method
        # Again, after all the others, and the base in between.
        assert _greedy(loaded, base, None, "", prompt) == expected_of_base
        assert _greedy(loaded, base, folder, method, prompt) == first[method]
    loaded.use(ModelReference(base))
    assert base_sha256(loaded._model) == before  # noqa: SLF001
    assert len(set(map(tuple, first.values()))) > len(first) // 2


def _greedy(
    loaded: LoadedModel, base: BaseReference, folder: Path | None, name: str, prompt: list[int]
) -> list[int]:
    reference = ModelReference(base, name, folder, "digest") if folder else ModelReference(base)
    loaded.use(reference)
    cache = loaded.new_cache()
    # A long question is read in pieces.
    loaded.next_logits(prompt[:7], cache)
    scores = loaded.next_logits(prompt[7:], cache)
    written: list[int] = []
    for _ in range(12):
        written.append(int(scores.argmax()))
        loaded.use(reference)
        scores = loaded.next_logits(written[-1:], cache)
    return written


def _plain_greedy(model: Any, prompt: list[int]) -> list[int]:  # noqa: ANN401
    ids = torch.tensor([prompt])
    written = model.eval().generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        min_new_tokens=12,
        max_new_tokens=12,
        pad_token_id=0,
    )
    return [int(token) for token in written[0, len(prompt) :]]
