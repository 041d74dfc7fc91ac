"""The button after a training that failed: the same training again, but for what went wrong."""

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.datasets.service import add_examples
from app.projects.tables import Project
from app.runs.repository import lock
from app.runs.status import RunStatus
from tests.support.runs import examples, get_run
from tests.support.web import OWNER, Web

_TYPED = {
    "preset": "thorough",
    "method": "dora",
    "dora.rank": "4",
    "dora.alpha": "8",
    "base_form": "none",
    "seed": "7",
    "epochs": "3",
    "learning_rate": "0.002",
}


@pytest.fixture
def project(web: Web) -> Project:
    project = web.project()
    with web.transaction() as session:
        add_examples(session, project.id, examples(30))
        session.merge(project).base_model_id = "starter"
    return project


def failed_page(web: Web, project: Project, failure: dict[str, Any], typed: dict[str, str]) -> str:
    """Return the page of a training that failed for good."""
    client = web.client_for(OWNER)
    answer = client.submit(f"/projects/{project.id}/training", typed)
    run_id = str(answer.headers["location"]).rpartition("/")[2]
    with web.transaction() as session:
        run = lock(session, run_id)
        assert run is not None
        run.status = RunStatus.FAILED
        run.failure = {"reason": "No.", "next_step": "", "details": "", "permanent": True} | failure
    return client.page(f"/projects/{project.id}/runs/{run_id}")


def leads_to(label: str, page: str) -> str:
    found = re.search(rf'href="([^"]+)"[^>]*>[^<]*{label}', page)
    assert found is not None
    return html.unescape(found[1])


@pytest.mark.parametrize(
    ("failure", "label", "changes"),
    [
        ({"code": "nan_loss"}, "Choose smaller steps", {"learning_rate": "0.0002"}),
        (
            {"code": "out_of_memory", "fitting_tokens": 128},
            "Choose shorter examples",
            {"max_tokens_per_example": "128"},
        ),
        (
            # Shorter than what anybody would choose, but the longest that fits.
            {"code": "out_of_memory", "fitting_tokens": 40},
            "Choose shorter examples",
            {"max_tokens_per_example": "40"},
        ),
        (
            {"code": "out_of_memory", "untried_tokens": 150},
            "Choose shorter examples",
            {"max_tokens_per_example": "150"},
        ),
    ],
)
def test_it_keeps_all_else_that_was_chosen(
    web: Web, project: Project, failure: dict[str, Any], label: str, changes: dict[str, str]
) -> None:
    client = web.client_for(OWNER)
    address = leads_to(label, failed_page(web, project, failure, _TYPED))
    offered = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert offered == _TYPED | changes
    answer = client.submit(f"/projects/{project.id}/training", offered)
    mended = get_run(web.engine, str(answer.headers["location"]).rpartition("/")[2])
    assert mended.recipe["method_settings"]["rank"] == 4
    assert mended.recipe["four_bits_if_short"] is False
    assert mended.recipe["seed"] == 7


@pytest.mark.parametrize(
    "lengths",
    [
        # While the model was loaded, or with examples of any length.
        {},
        # As it was already: nothing would be shorter.
        {"fitting_tokens": 64},
        {"untried_tokens": 100},
    ],
)
def test_where_shorter_examples_would_not_help_another_base_model_is_offered(
    web: Web, project: Project, lengths: dict[str, int]
) -> None:
    typed = _TYPED | {"max_tokens_per_example": "64"}
    page = failed_page(web, project, {"code": "out_of_memory"} | lengths, typed)
    assert "Choose shorter examples" not in page
    address = leads_to("Choose a smaller base model", page)
    assert address == f"/projects/{project.id}/base-model"
