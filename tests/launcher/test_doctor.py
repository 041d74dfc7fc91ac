"""The doctor finishes its round whatever it meets, and says what it means."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from app.launcher import doctor
from app.launcher.doctor import Finding, examine
from app.settings import Settings
from tests.support.hub_server import hub_server


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # Torch takes seconds to load and is not what these tests are about.
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    return Settings(data_dir=tmp_path, offline=True)


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(settings)}


def test_a_check_that_breaks_does_not_end_the_round(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Settings) -> str:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(doctor, "broker_problem", broken)
    found = findings(settings)
    assert found["Job queue"].is_problem
    assert "ZeroDivisionError: of all things" in found["Job queue"].sentence
    assert list(found)[-1] == "Versions"


def test_a_folder_that_cannot_be_written_to_is_found(settings: Settings) -> None:
    assert not findings(settings)["Data folder"].is_problem
    found = findings(settings.model_copy(update={"storage_url": "file:///proc/tailor"}))
    assert found["Data folder"].is_problem
    assert "/proc/tailor cannot be written to" in found["Data folder"].sentence


def test_a_database_that_is_not_there_yet_is_not_made_by_looking(settings: Settings) -> None:
    assert "made at the first start" in findings(settings)["Database"].sentence
    assert not (settings.data_dir / "db").exists()


def test_pages_without_torch_are_not_told_to_install_it_here(settings: Settings) -> None:
    assert "serves pages but does not train" in findings(settings)["Torch"].sentence


def test_a_hanging_driver_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*arguments: object, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(str(arguments), timeout)

    monkeypatch.setattr(doctor, "find_spec", lambda _: True)
    monkeypatch.setattr(subprocess, "run", hangs)
    assert "the graphics driver may hang" in findings(settings)["Torch"].sentence


@pytest.mark.parametrize(
    ("driver", "sentence"),
    [("/usr/bin/nvidia-smi", "built for CUDA 13.0, cannot use the card"), (None, "none found")],
)
def test_a_card_that_torch_cannot_use_is_told_from_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, driver: str | None, sentence: str
) -> None:
    facts = {"version": "2.13", "threads": 2, "gpu": None, "memory": 0, "cuda": "13.0"}
    answer = subprocess.CompletedProcess([], 0, stdout=json.dumps(facts), stderr="")
    monkeypatch.setattr(doctor, "find_spec", lambda _: True)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(shutil, "which", lambda _: driver)
    assert sentence in findings(settings)["Graphics card"].sentence


def test_a_hub_that_answers_with_an_error_does_not_answer(settings: Settings) -> None:
    with hub_server() as hub:
        # It knows no HEAD, as a proxy in front of a hub may not.
        online = settings.model_copy(update={"offline": False, "hub_url": hub.url})
        finding = findings(online)["Model hub"]
    assert finding.is_warning
    assert "answers, but with status 404" in finding.sentence
