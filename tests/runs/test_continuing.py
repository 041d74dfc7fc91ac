"""Training on from an earlier version, from the page to the frozen examples."""

import json
from pathlib import Path

import pytest

from app.datasets.service import add_examples
from app.datasets.snapshot import DATA_FOLDER, TRAIN_FILE, VALIDATION_FILE
from app.projects.tables import Project
from app.runs.recipe import START_FOLDER, Recipe
from app.runs.repository import lock
from app.runs.sentences import against_start_sentence, lineage_sentence, short_against_start
from app.runs.status import RunStatus
from app.storage.durable import file_sha256
from tests.support.runs import examples, get_run
from tests.support.web import OWNER, VIEWER, Web

_WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def project(web: Web) -> Project:
    project = web.project()
    with web.transaction() as session:
        add_examples(session, project.id, examples(60))
        session.merge(project).base_model_id = "starter"
    return project


def start(web: Web, project: Project, **form: str) -> str:
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).rpartition("/")[2]


def finish(web: Web, run_id: str) -> str:
    """Let a run end as a version, without a worker; return the SHA-256 of its weights."""
    from app.adapters.service import publish

    folder = web.storage.path("runs", run_id) / "adapter"
    folder.mkdir()
    (folder / _WEIGHTS).write_bytes(f"what {run_id} learned".encode())
    sha256 = file_sha256(folder / _WEIGHTS)
    with web.transaction() as session:
        run = lock(session, run_id)
        assert run is not None
        run.status = RunStatus.SUCCEEDED
        run.result = {
            "loss_before": 3.0,
            "loss_after": 1.0,
            "adapter_sha256": sha256,
            "seconds": 1.0,
            "peak_memory_bytes": None,
        }
        run.event_count += 1
        publish(session, run, sha256, 100)
    return sha256


def texts(web: Web, run_id: str, name: str) -> set[str]:
    path: Path = web.storage.path("runs", run_id) / DATA_FOLDER / name
    return {json.dumps(json.loads(line)["messages"]) for line in path.read_text().splitlines()}


def test_a_version_is_gone_on_from_with_new_examples(web: Web, project: Project) -> None:
    client, here = web.client_for(OWNER), f"/projects/{project.id}"
    first = start(web, project, rank="12", **{"lora.rank": "12"})
    assert "Start from" not in client.page(f"{here}/training"), "there is no version yet"
    sha256 = finish(web, first)
    before = {path.name: path.read_bytes() for path in _files(web, first)}
    with web.transaction() as session:
        add_examples(session, project.id, examples(140)[60:])
    assert f"{here}/training?start_from=1" in client.page(f"{here}/versions/1")
    page = client.page(f"{here}/training?start_from=1")
    assert '<option value="1" selected>' in page
    second = start(web, project, start_from="1")
    run = get_run(web.engine, second)
    recipe = Recipe.model_validate(run.recipe)
    assert recipe == Recipe.read(web.storage.path("runs", second))
    assert recipe.continues_from is not None
    assert (recipe.continues_from.version, recipe.continues_from.adapter_sha256) == (1, sha256)
    assert recipe.method_settings["rank"] == 12, "the version's method goes with its weights"
    copy = web.storage.path("runs", second) / START_FOLDER / _WEIGHTS
    assert file_sha256(copy) == sha256
    assert {path.name: path.read_bytes() for path in _files(web, first)} == before
    # It sees old and new, and nothing that was learned before is held out.
    old, now = texts(web, first, TRAIN_FILE), texts(web, second, TRAIN_FILE)
    held_out = texts(web, second, VALIDATION_FILE)
    assert old <= now
    assert not old & held_out
    assert not now & held_out
    assert len(now) + len(held_out) == 140 == run.train_count + run.validation_count
    assert recipe.continues_from.new_examples == len(now - old)
    page = client.page(f"{here}/runs/{second}")
    assert "goes on from version 1" in page
    finish(web, second)
    assert "by way of version 1" in client.page(f"{here}/versions")
    assert "goes on from version 1" in client.page(f"{here}/versions/2")
    card = client.get(f"{here}/versions/2/download").content
    assert b"README.md" in card


def test_what_an_earlier_one_learned_is_never_held_out_by_any_after_it(
    web: Web, project: Project
) -> None:
    first = start(web, project)
    finish(web, first)
    second = start(web, project, start_from="1")
    finish(web, second)
    # Much more, so that the line between both sides falls elsewhere.
    with web.transaction() as session:
        add_examples(session, project.id, examples(400)[60:])
    third = start(web, project, start_from="2")
    held_out = texts(web, third, VALIDATION_FILE)
    assert held_out
    for earlier in (first, second):
        assert not texts(web, earlier, TRAIN_FILE) & held_out


def test_started_again_it_goes_on_from_the_same_version(web: Web, project: Project) -> None:
    finish(web, start(web, project))
    second = start(web, project, start_from="1")
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/runs/{second}/again")
    again = get_run(web.engine, str(answer.headers["location"])[-16:])
    assert again.recipe["continues_from"] == get_run(web.engine, second).recipe["continues_from"]


def test_a_mended_run_goes_on_from_the_same_version(web: Web, project: Project) -> None:
    finish(web, start(web, project))
    second = start(web, project, start_from="1", learning_rate="0.000001")
    finish(web, second)
    with web.transaction() as session:
        run = lock(session, second)
        assert run is not None
        recall = {"asked": 10, "alike": 10, "loss_before": 2.0, "loss_after": 2.0}
        run.result = {**(run.result or {}), "recall": recall}
        run.event_count += 1
    page = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{second}")
    assert "&amp;start_from=1&amp;learning_rate=" in page
    assert "more examples or a more thorough" not in page, "one advice is enough"


@pytest.mark.parametrize("fault", ["unknown", "no number", "unfinished", "gone", "changed", "base"])
def test_a_version_that_cannot_be_gone_on_from_is_said_with_its_reason(
    web: Web, project: Project, fault: str
) -> None:
    first = start(web, project)
    if fault != "unfinished":
        finish(web, first)
    weights = web.storage.path("runs", first) / "adapter" / _WEIGHTS
    if fault == "gone":
        weights.unlink()
    elif fault == "changed":
        weights.write_bytes(b"something else")
    elif fault == "base":
        with web.transaction() as session:
            run = lock(session, first)
            assert run is not None
            run.recipe = {**run.recipe, "base_model_fingerprint": "0" * 64}
    number = {"unknown": "7", "no number": "one"}.get(fault, "1")
    client = web.client_for(OWNER)
    answer = client.submit(f"/projects/{project.id}/training", {"start_from": number})
    expected = 422 if fault == "no number" else 409
    assert answer.status_code == expected, answer.text
    said = {
        "unknown": "no such version",
        "no number": "one of the versions",
        "unfinished": "has not finished",
        "gone": "files are gone",
        "changed": "not what they were",
        "base": "another base model",
    }
    assert said[fault] in answer.text
    assert len(list(web.storage.path("runs").iterdir())) == 1, "nothing is left behind"
    if fault == "base":
        assert "start_from=1" not in client.page(f"/projects/{project.id}/versions/1")


def test_who_only_looks_is_offered_no_training(web: Web, project: Project) -> None:
    finish(web, start(web, project))
    page = web.client_for(VIEWER).page(f"/projects/{project.id}/versions/1")
    assert "Train on from it" not in page


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, ""),
        ({"version": 2, "new_examples": 1}, "version 2; 1 example is new."),
        ({"version": 2, "new_examples": 0}, "version 2; no example is new."),
        (
            {"version": 2, "new_examples": 1_200, "no_longer_held_out": 3},
            "1,200 examples are new. 3 examples that would be held out were learned by it already",
        ),
    ],
)
def test_lineage_in_words(start: dict[str, int] | None, expected: str) -> None:
    assert expected in lineage_sentence(start)


@pytest.mark.parametrize(
    ("at_start", "after", "new", "expected", "shortly"),
    [
        (2.0, 1.0, 0, "2 times less surprising than to version 2", "Better than version 2"),
        (1.0, 1.05, 0, "about as surprising", "About as good as version 2"),
        (1.0, 2.0, 5, "2 times less surprising: what was new has cost", "Worse than version 2"),
        (1.0, 2.0, 0, "less surprising: the further passes have", "Worse than version 2"),
        (None, 1.0, 0, "", ""),
    ],
)
def test_it_is_compared_with_the_version_before(
    at_start: float | None, after: float, new: int, expected: str, shortly: str
) -> None:
    start = {"version": 2, "new_examples": new}
    assert expected in against_start_sentence(start, at_start, after)
    assert short_against_start(start, at_start, after) == shortly


def _files(web: Web, run_id: str) -> list[Path]:
    return list((web.storage.path("runs", run_id) / "adapter").iterdir())
