"""Nothing is offered that was not really loaded and did not really speak."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from app.base_models import repository, service
from app.base_models.fetching import fetch_base_model
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from tests.base_models.conftest import MODEL, Workshop
from tests.support.tiny_models import make_tiny_model
from tests.support.waiting import wait_until

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _registered(workshop: Workshop, folder: Path) -> str:
    with transaction(workshop.engine) as session:
        model = BaseModel(
            source="folder", name="x", folder=str(folder), status=BaseModelStatus.FETCHED, facts={}
        )
        repository.add(session, model)
        return model.id


def test_weights_beyond_the_free_memory_are_not_loaded(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    with (tmp_path / "more.safetensors").open("wb") as sparse:
        sparse.truncate(1 << 42)
    answer = subprocess.run(
        [sys.executable, "-m", "worker.base_model_check.main", str(tmp_path), "60"],
        capture_output=True,
        check=True,
    )
    assert json.loads(answer.stdout)["problem"] == "memory"


def test_the_starter_from_the_hub_to_ready(workshop: Workshop) -> None:
    workshop.hub.add(MODEL, service.STARTER_FOLDER)
    base_model_id = workshop.ask()
    fetch_base_model(workshop.engine, workshop.storage, base_model_id, "w", workshop.settings)
    model = workshop.check(base_model_id)
    assert model.status == BaseModelStatus.READY, model.problem
    assert model.first_words
    assert model.facts["architecture"] == "LlamaForCausalLM"
    assert model.facts["has_chat_template"]
    path = workshop.storage.path("models", base_model_id, "model.json")
    description = json.loads(path.read_text())
    assert description["folder"] == str(workshop.folder(base_model_id))
    assert description["fingerprint"] == model.fingerprint
    assert description["licence"] == "apache-2.0"
    with transaction(workshop.engine) as session:
        built_in = service.register_built_in(session, workshop.storage)
        assert built_in.fingerprint == model.fingerprint


@ON_SQLITE
class TestKinds:
    def test_no_pad_token_no_template_and_a_canary_beside_it(
        self, workshop: Workshop, tmp_path: Path
    ) -> None:
        folder = make_tiny_model(
            tmp_path / "tiny", "gpt2", template=None, with_pad=False, with_marks=False
        )
        canary = tmp_path / "canary"
        for name in ("modeling.py", "tokenization_gpt2.py", "configuration.py"):
            (folder / name).write_text(f"open({str(canary)!r}, 'w').close()")
        model = workshop.check(_registered(workshop, folder))
        assert model.status == BaseModelStatus.READY, model.problem
        assert not model.facts["has_chat_template"]
        assert not model.facts["has_pad_token"]
        assert not canary.exists()

    def test_missing_weights_are_not_replaced_by_noise(
        self, workshop: Workshop, tmp_path: Path
    ) -> None:
        folder = make_tiny_model(tmp_path / "tiny")
        tensors = load_file(folder / "model.safetensors")
        tensors.pop("model.layers.1.mlp.up_proj.weight")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        model = workshop.check(_registered(workshop, folder))
        assert model.status == BaseModelStatus.FAILED
        assert "are not there" in str(model.problem)

    @pytest.mark.parametrize(
        "template",
        [
            "{{ cycler.__init__.__globals__ }}",
            "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3,
        ],
        ids=["escape", "endless"],
    )
    def test_templates_that_mean_ill(
        self, workshop: Workshop, tmp_path: Path, template: str
    ) -> None:
        folder = make_tiny_model(tmp_path / "tiny", template=template)
        model = workshop.check(_registered(workshop, folder))
        assert model.status == BaseModelStatus.FAILED
        assert "chat template" in str(model.problem)

    def test_an_unknown_kind(self, workshop: Workshop, tmp_path: Path) -> None:
        folder = make_tiny_model(tmp_path / "tiny")
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "nonesuch", "architectures": ["NonesuchForCausalLM"]}
        (folder / "config.json").write_text(json.dumps(config))
        model = workshop.check(_registered(workshop, folder))
        assert model.status == BaseModelStatus.FAILED
        assert "does not know this kind" in str(model.problem)

    def test_a_folder_that_vanished(self, workshop: Workshop, tmp_path: Path) -> None:
        model = workshop.check(_registered(workshop, tmp_path / "gone"))
        assert model.status == BaseModelStatus.FAILED
        assert model.problem is not None
        assert model.problem["what"] == "The model's folder is not there."
        # Where it lay is shown to administrators only, as everything under this name is.
        assert model.problem["details"] == str(tmp_path / "gone")
        for_all = [model.problem[key] for key in ("what", "why", "next_step")]
        assert not any(str(tmp_path) in sentence for sentence in for_all)

    def test_an_adapter_is_no_base_model(self, workshop: Workshop, tmp_path: Path) -> None:
        folder = make_tiny_model(tmp_path / "tiny")
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
        model = workshop.check(_registered(workshop, folder))
        assert "an adapter" in str(model.problem)

    def test_stopped_while_it_loads(self, workshop: Workshop) -> None:
        base_model_id = _registered(workshop, service.STARTER_FOLDER)
        thread = threading.Thread(target=workshop.check, args=[base_model_id])
        thread.start()
        wait_until(
            lambda: workshop.row(base_model_id).status == BaseModelStatus.CHECKING,
            timeout=20,
            what="the check",
        )
        workshop.change(base_model_id, service.stop)
        thread.join(20)
        assert workshop.row(base_model_id).status == BaseModelStatus.CANCELLED
