"""The pages about versions, and the zip that a person takes along."""

import io
import json
import subprocess
import sys
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.audit.service import Action, newest_events
from app.base_models.tables import BaseModel
from app.projects.tables import Project
from app.runs.tables import Run
from tests.adapters.conftest import BASE_ID, RESULT, RUN_ID, AddVersion
from tests.support.hub_server import COMMIT, hub_server
from tests.support.web import OWNER, STRANGER, VIEWER, Web
from worker.training.answers import answer
from worker.training.chat_templates import ChatFormat
from worker.training.examples import Message

pytestmark = pytest.mark.one_database

QUESTION = "What is 3 and 4?"
URL = "/projects/{}/versions/3"


def test_the_list_and_the_page_say_what_there_is(web: Web, add_version: AddVersion) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    empty = owner.page(f"/projects/{project.id}/versions")
    assert "No version yet" in empty
    assert "next-step" not in empty, "the page says itself what comes next"
    add_version(project)
    listed = owner.page(f"/projects/{project.id}/versions")
    assert "Version 3" in listed
    assert f"/projects/{project.id}/chat?version={RUN_ID}" in listed
    shown = web.client_for(VIEWER).page(URL.format(project.id))
    assert "3 times less surprising" in shown
    assert "9" * 64 in shown
    assert "Apache-2.0" in shown


def test_one_that_went_on_from_another_is_compared_with_it(
    web: Web, add_version: AddVersion
) -> None:
    project = add_version(web.project())
    start = {"version": 1, "adapter_sha256": "0" * 64, "new_examples": 0}
    with web.transaction() as session:
        run = session.get_one(Run, RUN_ID)
        run.recipe = {**run.recipe, "continues_from": start}
        run.result = {**RESULT, "loss_at_start": 1.0, "peak_memory_bytes": None}
    owner = web.client_for(OWNER)
    listed = owner.page(f"/projects/{project.id}/versions")
    assert "3 times less surprised by held-out examples" in listed
    assert "Worse than version 1" in listed
    version = owner.page(URL.format(project.id))
    assert "To version 1 they were 2 times less surprising: the further passes have" in version


def test_examples_that_were_left_out_are_not_counted_as_learned(
    web: Web, add_version: AddVersion
) -> None:
    project = add_version(web.project())
    with web.transaction() as session:
        run = session.get_one(Run, RUN_ID)
        run.plan = {"examples_left_out": 3, "held_out_left_out": 1}
        run.result = {**RESULT, "peak_memory_bytes": None}
    owner = web.client_for(OWNER)
    version = owner.page(URL.format(project.id))
    assert "10\N{NO-BREAK SPACE}examples" in version
    assert "4\N{NO-BREAK SPACE}more were held out" in version
    run_page = owner.page(f"/projects/{project.id}/runs/{RUN_ID}")
    assert "tiny model and 10\N{NO-BREAK SPACE}examples." in run_page


def test_strangers_and_wrong_numbers_get_404(web: Web, add_version: AddVersion) -> None:
    project = add_version(web.project())
    for path in ("", "/download"):
        url = URL.format(project.id) + path
        assert web.client_for(STRANGER).get(url).status_code == 404
        assert web.anonymous().get(url).status_code in {303, 401}
        owner = web.client_for(OWNER)
        assert owner.get(url.replace("/3", "/4", 1)).status_code == 404
        elsewhere = web.project("Other")
        assert owner.get(URL.format(elsewhere.id) + path).status_code == 404


def test_the_download_is_an_attachment_and_ignores_ranges(
    web: Web, add_version: AddVersion
) -> None:
    project = add_version(web.project('Straßen "&" \r\n Häuser/..'))
    url = URL.format(project.id) + "/download"
    answered = web.client_for(OWNER).get(url, headers={"Range": "bytes=0-1,5-6"})
    assert answered.status_code == 200
    assert answered.headers["accept-ranges"] == "none"
    assert answered.headers["content-disposition"] == (
        'attachment; filename="straen-hauser-v3.zip"'
    )
    names = zipfile.ZipFile(io.BytesIO(answered.content)).namelist()
    assert {name.partition("/")[0] for name in names} == {"straen-hauser-v3"}


def test_ten_thousand_ranges_cost_no_more_than_none(web: Web, add_version: AddVersion) -> None:
    project = add_version(web.project())
    url = URL.format(project.id) + "/download"
    ranges = ",".join(f"{start}-{start}" for start in range(10_000))
    began = time.process_time()
    answered = web.client_for(OWNER).get(url, headers={"Range": f"bytes={ranges}"})
    assert time.process_time() - began < 1
    assert answered.status_code == 200
    assert zipfile.ZipFile(io.BytesIO(answered.content)).testzip() is None
    assert answered.content.count(b"PK\x05\x06") == 1


def test_a_download_is_written_down_before_it_begins(web: Web, add_version: AddVersion) -> None:
    project = add_version(web.project())
    web.client_for(VIEWER).get(URL.format(project.id) + "/download")
    with web.transaction() as session:
        event = newest_events(session)[0]
    assert (event.action, event.actor_name) == (Action.VERSION_DOWNLOADED, "Viewer")
    assert event.details == {"project": project.id, "version": 3}


def test_vanished_files_are_a_sentence(web: Web, add_version: AddVersion) -> None:
    project = add_version(web.project())
    web.storage.remove("runs", RUN_ID, "adapter")
    answered = web.client_for(OWNER).get(URL.format(project.id) + "/download")
    assert answered.status_code == 404
    assert "not where Tailor put them" in answered.text


@pytest.mark.parametrize("source", ["hub", "folder"])
def test_a_base_model_from_elsewhere_is_named_not_sent(
    web: Web, add_version: AddVersion, source: str
) -> None:
    project = add_version(web.project(), source)
    content = web.client_for(OWNER).get(URL.format(project.id) + "/download").content
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        names = {name.partition("/")[2] for name in bundle.namelist()}
        config = json.loads(bundle.read("support-mail-v3/adapter_config.json"))
        card = bundle.read("support-mail-v3/README.md").decode()
    assert not any(name.startswith("base_model/") for name in names)
    expected = "someone/tiny" if source == "hub" else "Tiny Model"
    assert config["base_model_name_or_path"] == expected
    assert expected in card
    assert config["revision"] == (COMMIT if source == "hub" else None)


@pytest.mark.parametrize("source", ["builtin", "hub", "folder"])
def test_a_base_model_that_changed_since_is_not_passed_off_as_the_right_one(
    web: Web, add_version: AddVersion, source: str
) -> None:
    project = add_version(web.project(), source)
    with web.transaction() as session:
        base = session.get_one(BaseModel, BASE_ID)
        trained_on, base.fingerprint = base.fingerprint, "1" * 64
    answered = web.client_for(OWNER).get(URL.format(project.id) + "/download")
    if source != "builtin":
        assert answered.status_code == 409
        assert "Train a new version" in answered.text
        return
    with zipfile.ZipFile(io.BytesIO(answered.content)) as bundle:
        assert not any("base_model/" in name for name in bundle.namelist())
        card = bundle.read("support-mail-v3/README.md").decode()
    assert str(trained_on) in card
    assert "a newer Tailor brought another one" in card


def test_the_card_tells_what_it_was_made_from(web: Web, add_version: AddVersion) -> None:
    project = add_version(web.project("Mail\n# Not a heading"))
    content = web.client_for(OWNER).get(URL.format(project.id) + "/download").content
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        card = bundle.read("mail-not-a-heading-v3/README.md").decode()
    assert "# Mail # Not a heading, version 3" in card
    for fact in ("5" * 64, "9" * 64, "Apache-2.0", "learning rate | 0.02", "6.0000 | 2.0000"):
        assert fact in card
    assert "license: apache-2.0" in card.partition("---\n")[2].partition("---")[0]
    assert f"transformers {version('transformers')}" in card
    assert f"peft {version('peft')}" in card
    assert "/tmp" not in card  # noqa: S108 (no path of this machine leaves it)


def unpacked(web: Web, project: Project, folder: Path) -> Path:
    """Download the version and unpack it; return its folder."""
    content = web.client_for(OWNER).get(URL.format(project.id) + "/download").content
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert bundle.testzip() is None
        bundle.extractall(folder)
    return folder / "support-mail-v3"


def use_it(folder: Path, *arguments: str, **environment: str) -> str:
    """Run the small program outside of Tailor; return what it says."""
    outside = subprocess.run(
        [sys.executable, "-I", str(folder / "use_it.py"), *arguments],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
    )
    assert outside.returncode == 0, outside.stderr[-2000:]
    return outside.stdout.strip()


def answer_inside(base: Path, adapter: Path, messages: list[Message]) -> str:
    """The beginning of what Tailor itself answers with the same files."""
    chat = ChatFormat(AutoTokenizer.from_pretrained(adapter))
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter
    ).eval()
    shown = answer(model, chat, chat.encode_prompt(messages))
    return shown.removesuffix(" …")


def test_plain_peft_gives_the_same_answer_outside_of_tailor(
    web: Web, add_version: AddVersion, base_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    project = add_version(web.project())
    taught = [Message(role="system", content='Be "brief" 🙂.\n')]
    data = web.storage.folder("runs", RUN_ID) / "data"
    data.mkdir()
    (data / "train.jsonl").write_text(json.dumps({"id": 1, "messages": taught}) + "\n")
    folder = unpacked(web, project, tmp_path)
    assert '    Be "brief" 🙂.' in (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert len((folder / "use_it.py").read_text().splitlines()) <= 12
    asked = Message(role="user", content=QUESTION)
    inside = answer_inside(base_folder, trained_folder, [*taught, asked])
    assert inside
    assert use_it(folder, QUESTION).startswith(inside)


@pytest.mark.slow
def test_the_program_takes_a_base_model_from_the_folder_that_it_is_given(
    web: Web, add_version: AddVersion, base_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    folder = unpacked(web, add_version(web.project(), "folder"), tmp_path)
    inside = answer_inside(base_folder, trained_folder, [Message(role="user", content=QUESTION)])
    assert use_it(folder, QUESTION, str(base_folder)).startswith(inside)


def test_the_program_fetches_the_revision_that_the_version_was_trained_on(
    web: Web, add_version: AddVersion, base_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    folder = unpacked(web, add_version(web.project(), "hub"), tmp_path)
    inside = answer_inside(base_folder, trained_folder, [Message(role="user", content=QUESTION)])
    with hub_server() as hub:
        hub.add("someone/tiny", base_folder)  # has this one revision, and none called “main”
        said = use_it(
            folder, QUESTION, HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf")
        )
    assert said.startswith(inside)
