"""The shelf and the choice, by HTTP, with everyone who may and may not."""

from pathlib import Path

import pytest

from app.adapters.tables import Adapter
from app.base_models import repository, service
from app.base_models.secrets import HUB_TOKEN, read_secret
from app.base_models.tables import BaseModel, BaseModelStatus
from app.clock import now
from app.journey.deletion import finish_deletions
from app.projects.service import create_project
from app.projects.tables import Project
from app.runs.status import RunStatus
from app.runs.tables import Run
from tests.base_models.conftest import files_of_a_model
from tests.support.web import ADMIN, OWNER, STRANGER, TEAMMATE, VIEWER, Web

SHELF = "/base-models"
ADMINS_ALONE: tuple[tuple[str, dict[str, str]], ...] = (
    (f"{SHELF}/hub", {"hub_id": "a/b"}),
    (f"{SHELF}/folders", {"path": "/srv"}),
    (f"{SHELF}/token", {"token": "hf_abcdef"}),
    (f"{SHELF}/token/forget", {}),
)


def _downloaded(web: Web, status: BaseModelStatus = BaseModelStatus.READY) -> BaseModel:
    """A model that an administrator took from the hub."""
    with web.transaction() as session:
        model = BaseModel(source="hub", hub_id="a/b", name="Ours", status=status, facts={})
        repository.add(session, model)
    folder = web.storage.folder("models", model.id, "files")
    for name, content in files_of_a_model().items():
        (folder / name).write_bytes(content)
    with web.transaction() as session:
        service.find(session, model.id).folder = str(folder)
    return model


def _trained_with(web: Web, model: BaseModel, project: Project, version: int, status: str) -> None:
    """A training of a project; one that succeeded left its version."""
    with web.transaction() as session:
        run = Run(
            project_id=project.id,
            version_number=version,
            base_model_id=model.id,
            status=status,
            recipe={},
            snapshot_sha256="0" * 64,
            train_count=1,
            validation_count=0,
        )
        session.add(run)
        session.flush()
        if status == RunStatus.SUCCEEDED:
            adapter = Adapter(
                run_id=run.id,
                project_id=project.id,
                version_number=version,
                base_model_id=model.id,
                sha256="0" * 64,
                size_bytes=1,
            )
            session.add(adapter)


def _starter(web: Web) -> BaseModel:
    with web.transaction() as session:
        return service.find(session, service.STARTER_ID)


class TestShelf:
    def test_everyone_sees_the_starter_first(self, web: Web) -> None:
        page = web.client_for(STRANGER).page(SHELF)
        assert page.index("Tailor Starter") < page.index("SmolLM2 135M")
        assert "makes mistakes" in page
        assert "More ways in" not in page
        assert "More ways in" in web.client_for(ADMIN).page(SHELF)

    def test_the_terms_of_a_gated_model_are_one_click_away(self, web: Web) -> None:
        page = web.client_for(STRANGER).page(SHELF)
        assert '<a href="https://huggingface.co/google/gemma-3-270m-it" rel="noreferrer">' in page
        model = _downloaded(web)
        page = web.client_for(STRANGER).page(f"{SHELF}/{model.id}")
        assert '<a href="https://huggingface.co/a/b" rel="noreferrer">a/b</a>' in page

    def test_anyone_downloads_from_the_shelf_and_stops_and_continues(self, web: Web) -> None:
        client = web.client_for(STRANGER)
        answer = client.submit(f"{SHELF}/shelf/smollm2-135m/download")
        assert answer.status_code == 303
        page = client.page(f"{SHELF}/cards")
        assert "data-poll-again" in page
        assert "Waiting for its turn" in page
        model = _newest(web)
        assert model.shelf_slug == "smollm2-135m"
        client.submit(f"{SHELF}/{model.id}/stop")
        assert _newest(web).status == BaseModelStatus.CANCELLED
        assert "Continue" in client.page(f"{SHELF}/cards")
        client.submit(f"{SHELF}/{model.id}/again")
        assert _newest(web).status == BaseModelStatus.WAITING

    def test_real_bytes(self, web: Web) -> None:
        client = web.client_for(OWNER)
        web.let_a_worker_be_there()
        client.submit(f"{SHELF}/shelf/qwen3-0.6b/download")
        with web.transaction() as session:
            model = service.find(session, _newest(web).id)
            model.status = BaseModelStatus.DOWNLOADING
            model.downloaded_bytes = 500_000_000
            model.facts = {**model.facts, "bytes_per_second": 10_000_000}
        page = client.page(f"{SHELF}/cards").replace("\N{NO-BREAK SPACE}", " ")
        assert "500 MB of 1.5 GB" in page
        assert "10 MB a second, about 2 minutes left." in page

    def test_without_a_worker_nobody_waits_for_its_turn_in_vain(self, web: Web) -> None:
        client, project = web.client_for(OWNER), web.project()
        client.submit(f"{SHELF}/shelf/smollm2-135m/download")
        model = _newest(web)
        for url in (SHELF, f"{SHELF}/cards", f"{SHELF}/{model.id}"):
            page = client.page(url)
            assert "Nobody is there to fetch it." in page
            assert "Ask the person who runs Tailor to start one" in page
            assert "as soon as a worker is free" not in page
        choice = f"/projects/{project.id}/base-model"
        assert "no worker is running" in client.page(choice)
        with web.transaction() as session:
            service.find(session, model.id).status = BaseModelStatus.CHECKING
        assert "Nobody is there to check it." in client.page(f"{SHELF}/cards")
        web.let_a_worker_be_there()
        assert "Nobody is there" not in client.page(f"{SHELF}/cards")
        assert "no worker is running" not in client.page(choice)

    def test_the_hub_and_the_worker_are_explained_to_everyone(self, web: Web) -> None:
        page = web.client_for(STRANGER).page(SHELF)
        assert f"the hub, the public library at {web.settings.hub_url}" in page
        assert "A worker, the program for long work behind the pages" in page

    def test_a_failure_says_what_why_and_next(self, web: Web) -> None:
        client = web.client_for(OWNER)
        client.submit(f"{SHELF}/shelf/smollm2-135m/download")
        with web.transaction() as session:
            model = service.find(session, _newest(web).id)
            model.status = BaseModelStatus.FAILED
            model.problem = {"what": "Alas.", "why": "<b>Because.</b>", "next_step": "Do."}
        page = client.page(SHELF)
        assert "Alas." in page
        assert "&lt;b&gt;Because.&lt;/b&gt;" in page
        assert "Try again" in page

    def test_only_administrators_see_what_the_check_printed(self, web: Web) -> None:
        client = web.client_for(OWNER)
        client.submit(f"{SHELF}/shelf/smollm2-135m/download")
        trace = 'Traceback (most recent call last): File "/srv/worker/main.py", line 7'
        with web.transaction() as session:
            model = service.find(session, _newest(web).id)
            model.status = BaseModelStatus.FAILED
            model.problem = {"what": "Alas.", "why": "", "next_step": "", "details": trace}
        for url in (SHELF, f"{SHELF}/cards", f"{SHELF}/{model.id}"):
            page = client.page(url)
            assert "Alas." in page
            assert "Traceback" not in page
            assert "/srv/worker" not in page
            assert "Traceback" in web.client_for(ADMIN).page(url)

    def test_what_is_unknown_is_not_found(self, web: Web) -> None:
        client = web.client_for(OWNER)
        assert client.submit(f"{SHELF}/shelf/none/download").status_code == 404
        for url in (f"{SHELF}/0123456789abcdef", f"{SHELF}/..%2f..%2fetc%2fpasswd"):
            assert client.get(url).status_code == 404


class TestAdministrators:
    @pytest.mark.parametrize(("url", "form"), ADMINS_ALONE, ids=lambda value: str(value)[:30])
    def test_alone(self, web: Web, url: str, form: dict[str, str]) -> None:
        assert web.client_for(OWNER).submit(url, form).status_code == 403

    def test_what_they_fetched_is_theirs_to_look_after(self, web: Web) -> None:
        model = _downloaded(web, BaseModelStatus.FAILED)
        client = web.client_for(OWNER)
        assert client.submit(f"{SHELF}/{model.id}/again").status_code == 404
        assert client.submit(f"{SHELF}/{model.id}/name", {"name": "x"}).status_code == 403
        assert client.submit(f"{SHELF}/{model.id}/delete").status_code == 403
        assert client.submit(f"{SHELF}/{model.id}/check").status_code == 403
        assert str(web.storage.root) not in client.page(f"{SHELF}/{model.id}")

    def test_any_model_of_the_hub(self, web: Web) -> None:
        client = web.client_for(ADMIN)
        wrong = client.submit(f"{SHELF}/hub", {"hub_id": "file:///etc/passwd"})
        assert wrong.status_code == 422
        assert "file:///etc/passwd" in wrong.text
        assert "A name has two parts" in wrong.text
        assert client.submit(f"{SHELF}/hub", {"hub_id": "a/b"}).status_code == 303
        assert _newest(web).hub_id == "a/b"

    def test_the_token_is_kept_encrypted_and_never_shown(self, web: Web) -> None:
        client = web.client_for(ADMIN)
        assert "None is stored." in client.page(SHELF)
        client.submit(f"{SHELF}/token", {"token": " hf_verysecret "})
        page = client.page(SHELF)
        assert "One is stored." in page
        assert "hf_verysecret" not in page
        with web.transaction() as session:
            ciphertext = repository.secret_ciphertext(session, HUB_TOKEN)
            assert ciphertext is not None
            assert "verysecret" not in ciphertext
            assert read_secret(session, web.settings, web.storage, HUB_TOKEN) == "hf_verysecret"
        key = web.storage.path("keys", "secret.key")
        assert key.stat().st_mode & 0o077 == 0
        wrong = client.submit(f"{SHELF}/token", {"token": "two words\r\nX-Evil: 1"})
        assert wrong.status_code == 422
        client.submit(f"{SHELF}/token/forget")
        assert "None is stored." in client.page(SHELF)

    def test_rename(self, web: Web) -> None:
        model = _downloaded(web)
        client = web.client_for(ADMIN)
        assert client.submit(f"{SHELF}/{model.id}/name", {"name": "  "}).status_code == 422
        client.submit(f"{SHELF}/{model.id}/name", {"name": "House model"})
        assert "House model" in client.page(SHELF)

    def test_delete_takes_the_files_along(self, web: Web) -> None:
        model = _downloaded(web)
        folder = web.storage.path("models", model.id)
        assert folder.exists()
        answer = web.client_for(ADMIN).submit(f"{SHELF}/{model.id}/delete")
        assert answer.status_code == 303
        assert not folder.exists()
        assert "Ours" not in web.client_for(STRANGER).page(SHELF)

    def test_what_is_in_use_stays_and_whose_use_it_is_is_said(self, web: Web) -> None:
        model, project = _downloaded(web), web.project("Secret plans")
        with web.transaction() as session:
            other = create_project(session, web.user(STRANGER).id, "Other plans")
        for version, status in enumerate((RunStatus.SUCCEEDED, RunStatus.FAILED), start=1):
            _trained_with(web, model, project, version, status)
        _trained_with(web, model, other, 1, RunStatus.SUCCEEDED)
        answer = web.client_for(ADMIN).submit(f"{SHELF}/{model.id}/delete")
        assert answer.status_code == 409
        made = "2 versions and 1 other training were made with it, in projects of Owner and "
        assert f"{made}Stranger. Versions need it to answer." in answer.text
        assert "ask Owner and Stranger to delete theirs, or keep the model." in answer.text
        assert "plans" not in answer.text
        assert web.storage.path("models", model.id).exists()
        assert "Ours" in web.client_for(STRANGER).page(SHELF)

    @pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.FAILED])
    def test_a_training_that_made_nothing_is_not_called_a_version(
        self, web: Web, status: RunStatus
    ) -> None:
        model = _downloaded(web)
        _trained_with(web, model, web.project(), 1, status)
        page = web.client_for(ADMIN).submit(f"{SHELF}/{model.id}/delete").text
        assert "1 training was made with it, in a project of Owner." in page
        assert "Of every training, Tailor keeps on record what it started from." in page
        assert "need it to answer" not in page

    def test_where_nobody_can_be_asked_an_owner_is_to_be_named(self, web: Web) -> None:
        model = _downloaded(web)
        _trained_with(web, model, web.project(), 1, RunStatus.SUCCEEDED)
        client = web.client_for(ADMIN)
        client.submit(f"/people/{web.user(OWNER).id}/active")
        page = client.submit(f"{SHELF}/{model.id}/delete").text
        assert "in a project without an owner who can sign in." in page
        assert "name an owner under People" in page

    def test_it_goes_once_the_projects_are_gone(self, web: Web) -> None:
        model, project = _downloaded(web), web.project()
        _trained_with(web, model, project, 1, RunStatus.CANCELLED)
        with web.transaction() as session:
            session.merge(project).deleted_at = now()
        client = web.client_for(ADMIN)
        answer = client.submit(f"{SHELF}/{model.id}/delete")
        assert answer.status_code == 409
        assert "is just being deleted with its project." in answer.text
        finish_deletions(web.engine, web.storage)
        assert client.submit(f"{SHELF}/{model.id}/delete").status_code == 303

    def test_the_starter_and_what_is_busy_stay(self, web: Web) -> None:
        client = web.client_for(ADMIN)
        _trained_with(web, _starter(web), web.project(), 1, RunStatus.SUCCEEDED)
        refused = client.submit(f"{SHELF}/starter/delete")
        assert refused.status_code == 403
        assert "comes with Tailor and stays" in refused.text
        model = _downloaded(web, BaseModelStatus.DOWNLOADING)
        assert client.submit(f"{SHELF}/{model.id}/delete").status_code == 409


class TestFolders:
    def _folder(self, parent: Path, **config: object) -> Path:
        folder = parent / "model"
        folder.mkdir(parents=True)
        for name, content in files_of_a_model(**config).items():
            (folder / name).write_bytes(content)
        return folder

    def test_register_and_take_off(self, web: Web, tmp_path: Path) -> None:
        folder = self._folder(tmp_path)
        client = web.client_for(ADMIN)
        form = {"path": str(folder), "name": "", "licence": "MIT"}
        assert client.submit(f"{SHELF}/folders", form).status_code == 303
        model = _newest(web)
        assert (model.name, model.status) == ("model", BaseModelStatus.FETCHED)
        again = client.submit(f"{SHELF}/folders", form)
        assert again.status_code == 409
        assert "registered already" in again.text
        client.submit(f"{SHELF}/{model.id}/stop")
        assert client.submit(f"{SHELF}/{model.id}/delete").status_code == 303
        assert (folder / "config.json").exists()

    @pytest.mark.parametrize(
        "path",
        ["", "model", "~/model", "/nowhere", "/etc", "/etc/passwd", "/x\0y", "/" + "a" * 500],
    )
    def test_what_is_no_model(self, web: Web, path: str) -> None:
        answer = web.client_for(ADMIN).submit(f"{SHELF}/folders", {"path": path})
        assert answer.status_code == 422
        assert "More ways in" in answer.text

    def test_refused_with_its_reason(self, web: Web, tmp_path: Path) -> None:
        folder = self._folder(tmp_path, auto_map={"AutoModel": "modeling.Model"})
        answer = web.client_for(ADMIN).submit(f"{SHELF}/folders", {"path": str(folder)})
        assert answer.status_code == 422
        assert "never runs code from a model" in answer.text

    def test_links_do_not_lead_out_of_what_the_host_allows(self, web: Web, tmp_path: Path) -> None:
        inside, outside = tmp_path / "allowed", tmp_path / "allowed_evil"
        folder = self._folder(outside)
        inside.mkdir()
        (inside / "link").symlink_to(folder)
        half = inside / "half"
        half.mkdir()
        for path in folder.iterdir():
            (half / path.name).symlink_to(path)
        web.app.state.settings = web.settings.model_copy(update={"model_folders": (inside,)})
        client = web.client_for(ADMIN)
        for path in (folder, inside / "link", half, inside / ".." / "allowed_evil" / "model"):
            answer = client.submit(f"{SHELF}/folders", {"path": str(path)})
            assert answer.status_code == 422, path
            assert "The host allows only" in answer.text


class TestChoice:
    def test_editors_choose_and_viewers_look(self, web: Web) -> None:
        project = web.project()
        url = f"/projects/{project.id}/base-model"
        page = web.client_for(OWNER).page(url)
        assert 'value="starter" checked' in page
        assert "Use this one" not in web.client_for(VIEWER).page(url)
        chosen = {"base_model_id": "starter"}
        assert web.client_for(VIEWER).submit(url, chosen).status_code == 403
        assert web.client_for(TEAMMATE).submit(url, chosen).status_code == 303
        assert "starts from <strong>Tailor Starter" in web.client_for(VIEWER).page(url)
        assert web.client_for(STRANGER).get(url).status_code == 404
        assert web.client_for(STRANGER).submit(url, chosen).status_code == 404
        assert web.client_for(ADMIN).get(url).status_code == 404

    def test_only_what_is_ready(self, web: Web) -> None:
        project = web.project()
        model = _downloaded(web, BaseModelStatus.DOWNLOADING)
        client = web.client_for(OWNER)
        url = f"/projects/{project.id}/base-model"
        assert "Ours is on the way." in client.page(url)
        answer = client.submit(url, {"base_model_id": model.id})
        assert answer.status_code == 409
        assert "Ours is not ready yet." in answer.text
        assert client.submit(url, {"base_model_id": "../x"}).status_code == 404

    def test_the_chosen_one_was_deleted(self, web: Web) -> None:
        project = web.project()
        model = _downloaded(web)
        url = f"/projects/{project.id}/base-model"
        web.client_for(OWNER).submit(url, {"base_model_id": model.id})
        web.client_for(ADMIN).submit(f"{SHELF}/{model.id}/delete")
        page = web.client_for(OWNER).page(url)
        assert "no longer on this Tailor" in page
        assert "Choose another one for the next training." in page
        assert 'value="starter" checked' in page
        seen = web.client_for(VIEWER).page(url)
        assert "An owner or editor of this project has to choose another one." in seen
        assert "Choose another one" not in seen


def test_offline_is_said_at_once(web: Web) -> None:
    web.app.state.settings = web.settings.model_copy(update={"offline": True})
    client = web.client_for(ADMIN)
    page = client.page(SHELF)
    assert "works offline" in page
    assert "/download" not in page
    answer = client.submit(f"{SHELF}/shelf/smollm2-135m/download")
    assert answer.status_code == 503
    assert "offline" in answer.text


def _newest(web: Web) -> BaseModel:
    with web.transaction() as session:
        return max(
            (model for model in service.all_models(session) if model.source != "builtin"),
            key=lambda model: model.created_at,
        )
