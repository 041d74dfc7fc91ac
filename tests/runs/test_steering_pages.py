"""The buttons of a training that is not over."""

import html
import re
from dataclasses import replace

import pytest

from app.base_models.tables import BaseModel
from app.datasets.service import add_examples
from app.projects.tables import Project
from app.runs.holding import claim_next_run
from app.runs.repository import lock
from app.runs.rules import learning_rate
from app.runs.service import base_parameters
from app.runs.status import RunStatus
from app.runs.tables import RunMetric
from tests.support.runs import examples, get_run
from tests.support.web import OWNER, TEAMMATE, VIEWER, Web

_FINISH = "Finish now and keep the best"
_KEEP = "Keep what it has learned"
_STOP = "Stop without a version"


@pytest.fixture
def project(web: Web) -> Project:
    project = web.project()
    with web.transaction() as session:
        add_examples(session, project.id, examples(30))
        session.merge(project).base_model_id = "starter"
    return project


@pytest.fixture
def run_id(web: Web, project: Project) -> str:
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", {"preset": "quick"})
    return str(answer.headers["location"]).rpartition("/")[2]


def learn(web: Web, run_id: str, **values: object) -> None:
    """Let a worker hold the run and have made a few steps."""
    with web.transaction() as session:
        assert claim_next_run(session) is not None
    put(web, run_id, **{"status": RunStatus.TRAINING, "step": 12, "total_steps": 40, **values})


def put(web: Web, run_id: str, **values: object) -> None:
    with web.transaction() as session:
        run = lock(session, run_id)
        assert run is not None
        run.event_count += 1
        for name, value in values.items():
            setattr(run, name, value)


def test_a_waiting_one_pauses_at_once_and_goes_on(web: Web, project: Project, run_id: str) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/runs/{run_id}"
    page = client.page(address)
    assert "Pause" in page
    assert _FINISH not in page, "it has learned nothing that could be kept"
    assert "frees the machine" not in page, "it holds none"
    assert client.submit(f"{address}/pause").status_code == 303
    page = client.page(address)
    assert "rests until you let it go on" in page
    assert "Go on" in page
    assert _KEEP not in page
    assert page.count("button--primary") == 1
    assert "is paused" in client.page(f"/projects/{project.id}/examples")
    assert client.submit(f"{address}/continue").status_code == 303
    assert get_run(web.engine, run_id).status == RunStatus.QUEUED


def test_a_running_one_says_what_it_was_asked(web: Web, project: Project, run_id: str) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/runs/{run_id}"
    learn(web, run_id)
    page = client.page(address)
    assert _FINISH in page
    assert "Pausing saves it and frees the machine" in page
    for _ in range(2):
        assert client.submit(f"{address}/pause").status_code == 303
    page = client.page(address)
    assert "about to pause" in page
    assert f"{address}/pause" not in page
    assert client.submit(f"{address}/finish").status_code == 303
    page = client.page(address)
    assert "It is finishing." in page
    assert "about to pause" not in page
    assert f"{address}/finish" not in page
    answer = client.submit(f"{address}/pause")
    assert answer.status_code == 409
    assert "finishing already" in answer.text


def test_stopping_asks_first_once_it_has_learned_something(
    web: Web, project: Project, run_id: str
) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/runs/{run_id}"
    page = client.page(address)
    assert "Stop the training" in page
    assert _STOP not in page, "there is nothing to lose"
    learn(web, run_id)
    page = client.page(address)
    assert page.count("Stop the training") == 1
    assert _STOP in page
    assert f"To keep the best of it, choose “{_FINISH}” instead." in page
    put(web, run_id, status=RunStatus.PAUSED, phase="paused", lease_owner=None)
    assert f"To keep the best of it, choose “{_KEEP}” instead." in client.page(address)
    client.submit(f"{address}/finish")
    page = client.page(address)
    assert _STOP in page
    assert "instead" not in page, "it is asked to keep it already"


def test_whoever_stopped_it_is_not_taken_for_the_reader(
    web: Web, project: Project, run_id: str
) -> None:
    address = f"/projects/{project.id}/runs/{run_id}"
    assert web.client_for(TEAMMATE).submit(f"{address}/cancel").status_code == 303
    page = web.client_for(OWNER).page(address)
    assert "Stopped" in page
    assert "by you" not in page


def test_a_paused_one_can_go_on_be_kept_or_be_stopped(
    web: Web, project: Project, run_id: str
) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/runs/{run_id}"
    learn(web, run_id)
    put(web, run_id, status=RunStatus.PAUSED, phase="paused", lease_owner=None)
    page = client.page(address)
    for button in ("Go on from step 12", _KEEP, "Stop the training"):
        assert button in page
    assert client.submit(f"{address}/finish").status_code == 303
    run = get_run(web.engine, run_id)
    assert (run.status, run.finish_requested_at is not None) == (RunStatus.QUEUED, True)


def test_one_that_waits_for_room_can_be_kept_or_stopped_too(
    web: Web, project: Project, run_id: str
) -> None:
    failure = {
        "code": "disk_full",
        "reason": "5,000 bytes are missing.",
        "next_step": "Make room.",
        "details": "",
        "permanent": False,
    }
    put(web, run_id, status=RunStatus.PAUSED, failure=failure, step=12)
    page = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
    for text in ("5,000 bytes are missing.", "Go on from step 12", _KEEP, "Stop the training"):
        assert text in page


def test_a_finished_one_says_that_it_was_asked_to(web: Web, project: Project, run_id: str) -> None:
    learn(web, run_id)
    result = {
        "loss_before": 3.0,
        "loss_after": 1.0,
        "best_step": 10,
        "steps": 14,
        "planned_steps": 40,
        "ending": "asked",
        "epochs": 1.75,
        "seconds": 9.0,
        "peak_memory_bytes": None,
    }
    put(web, run_id, status=RunStatus.SUCCEEDED, result=result)
    page = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
    assert "asked to finish after step 14 of 40, and keeps its best state, that of step 10." in page
    planned = get_run(web.engine, run_id).recipe["epochs"]
    assert f"1.8 of {planned} planned" in page


def test_experts_may_choose_when_it_stops_by_itself(web: Web, project: Project) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
    page = client.page(address)
    assert "Patience (early stop)" in page
    assert "or less if it gets no better" in page
    form = {"preset": "thorough", "patience": "0", "evaluations": "7"}
    run = get_run(web.engine, str(client.submit(address, form).headers["location"])[-16:])
    assert (run.recipe["patience"], run.recipe["evaluations"]) == (0, 7)
    usual = client.submit(address, {"preset": "thorough"}).headers["location"]
    assert get_run(web.engine, str(usual)[-16:]).recipe["patience"] == 3
    again = client.submit(f"{address.removesuffix('/training')}/runs/{run.id}/again")
    assert get_run(web.engine, str(again.headers["location"])[-16:]).recipe["patience"] == 0


def test_one_that_stopped_by_itself_says_why(web: Web, project: Project) -> None:
    form = {"preset": "balanced"}
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
    run_id = str(answer.headers["location"])[-16:]
    learn(web, run_id)
    with web.transaction() as session:
        session.add_all(
            RunMetric(run_id=run_id, step=step, name="validation_loss", value=value)
            for step, value in [(0, 3.0), (4, 2.0), (8, 2.1)]
        )
    put(web, run_id)
    page = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
    assert "after one more check like that it stops by itself" in page
    result = {
        "loss_before": 3.0,
        "loss_after": 2.0,
        "best_step": 4,
        "steps": 12,
        "planned_steps": 40,
        "ending": "no_better",
        "epochs": 1.0,
        "seconds": 9.0,
        "peak_memory_bytes": None,
    }
    put(web, run_id, status=RunStatus.SUCCEEDED, result=result)
    page = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
    assert "stopped by itself after step 12 of 40: 2 checks in a row" in page


def test_a_run_that_changed_nothing_offers_the_one_that_is_mended(
    web: Web, project: Project
) -> None:
    client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
    form = {"preset": "balanced", "learning_rate": "0.000001", "epochs": "7"}
    run_id = str(client.submit(address, form).headers["location"])[-16:]
    learn(web, run_id, plan={"train_examples": 25, "steps_per_epoch": 9, "total_epochs": 7})
    recall = {"asked": 10, "alike": 10, "right": 0, "loss_before": 3.0, "loss_after": 2.99}
    result = {
        "loss_before": 3.0,
        "loss_after": 2.98,
        "best_step": 63,
        "steps": 63,
        "planned_steps": 63,
        "ending": "planned",
        "epochs": 7.0,
        "seconds": 9.0,
        "peak_memory_bytes": None,
        "recall": recall,
    }
    put(web, run_id, status=RunStatus.SUCCEEDED, result=result)
    run_page = f"/projects/{project.id}/runs/{run_id}"
    page = client.page(run_page)
    assert "10 of 10 questions from its own examples are answered as before" in page
    with web.transaction() as session:
        starter = session.get(BaseModel, "starter")
        assert starter is not None
        usual = f"{learning_rate(base_parameters(starter)):g}"
    assert f"where {usual} is usual" in page
    assert page.count("button--primary") == 1
    # In one click: its own settings but for the one that was wrong.
    mended = f"{address}?preset=balanced&epochs=7&learning_rate={usual}"
    assert mended.replace("&", "&amp;") in page
    form_page = client.page(mended)
    assert f'name="learning_rate" value="{usual}"' in form_page
    assert 'name="epochs" value="7"' in form_page
    assert "Train again with the usual steps" not in web.client_for(VIEWER).page(run_page)
    put(web, run_id, result={**result, "recall": {**recall, "alike": 2, "loss_after": 1.0}})
    assert "answered as before" not in client.page(run_page)


def test_a_preference_that_changed_no_answer_offers_to_learn_the_liked_ones(web: Web) -> None:
    project = web.project("Pairs")
    pairs = [replace(one, rejected=f"{one.question} No idea.") for one in examples(30)]
    with web.transaction() as session:
        add_examples(session, project.id, pairs)
        session.merge(project).base_model_id = "starter"
    client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
    form = {"preset": "quick", "goal": "prefer", "objective": "dpo"}
    form |= {"dpo.answer_weight": "0", "dpo.beta": "0.3"}
    run_id = str(client.submit(address, form).headers["location"])[-16:]
    learn(web, run_id, plan={"train_examples": 27, "steps_per_epoch": 27, "total_epochs": 4})
    result = {
        "loss_before": 0.693,
        "loss_after": 1e-12,
        "right_before": 0.5,
        "right_after": 1.0,
        "best_step": 108,
        "steps": 108,
        "planned_steps": 108,
        "ending": "planned",
        "epochs": 4.0,
        "seconds": 9.0,
        "peak_memory_bytes": None,
        "recall": {"asked": 10, "alike": 9, "right": 0, "loss_before": 0.693, "loss_after": 1e-12},
    }
    put(web, run_id, status=RunStatus.SUCCEEDED, result=result)
    page = client.page(f"/projects/{project.id}/runs/{run_id}")
    assert "9 of 10 questions from its own examples are answered as before" in page
    assert "without answering differently" in page
    assert "always naming the most frequent kind" not in page
    (link,) = re.findall(rf'href="({address}\?[^"]*dpo.answer_weight[^"]*)"', page)
    form_page = client.page(html.unescape(link))
    assert 'name="dpo.answer_weight" value="1"' in form_page
    # What else an expert chose is kept.
    assert 'name="dpo.beta" value="0.3"' in form_page


def test_who_only_looks_steers_nothing(web: Web, project: Project, run_id: str) -> None:
    viewer, address = web.client_for(VIEWER), f"/projects/{project.id}/runs/{run_id}"
    learn(web, run_id)
    page = viewer.page(address)
    assert _FINISH not in page
    for deed in ("pause", "finish", "continue"):
        assert viewer.submit(f"{address}/{deed}").status_code == 403
    run = get_run(web.engine, run_id)
    assert (run.pause_requested_at, run.finish_requested_at) == (None, None)
