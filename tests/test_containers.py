"""The containers: no engine runs here, so their parts are checked as far as that goes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from app.settings import REPOSITORY_ROOT, Settings, environment_name

COMPOSE = YAML(typ="safe").load((REPOSITORY_ROOT / "docker-compose.yml").read_text("utf-8"))


def _steps(name: str) -> list[tuple[str, str]]:
    """Return (instruction, argument) of a Dockerfile."""
    text = (REPOSITORY_ROOT / "docker" / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def _build(name: str, folder: Path) -> Path:
    """Do a Dockerfile's COPY and pip steps in a clean environment; return its Python."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    context = folder / "context"
    context.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")}
    environment["PATH"] = f"{venv / 'bin'}:{environment['PATH']}"
    for instruction, argument in _steps(name):
        if instruction == "COPY":
            *sources, target = argument.split()
            for source in sources:
                _copy(REPOSITORY_ROOT / source, context / target, is_folder=target.endswith("/"))
        elif instruction == "RUN" and argument.startswith("pip "):
            subprocess.run(["bash", "-c", argument], cwd=context, env=environment, check=True)
    return venv / "bin" / "python"


def _copy(source: Path, target: Path, *, is_folder: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return
    destination = target / source.name if is_folder else target
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, destination)


@pytest.mark.slow
def test_the_web_image_has_the_pages_and_no_torch(tmp_path: Path) -> None:
    python = _build("web.Dockerfile", tmp_path)
    script = (
        "import importlib.util as u, app.main, json, sys;"
        "print(json.dumps([name for name in ('torch', 'transformers', 'peft', 'worker')"
        " if name in sys.modules or (name != 'worker' and u.find_spec(name))]))"
    )
    answer = subprocess.run(
        [str(python), "-c", script], cwd=tmp_path / "context", capture_output=True, check=True
    )
    assert json.loads(answer.stdout) == []


@pytest.mark.slow
def test_the_worker_image_trains_and_answers(tmp_path: Path) -> None:
    python = _build("worker.Dockerfile", tmp_path)
    script = "import torch, transformers, peft, worker.celery_app, worker.inference.main"
    subprocess.run([str(python), "-c", script], cwd=tmp_path / "context", check=True)


def test_compose_names_only_settings_that_exist() -> None:
    known = {environment_name(name) for name in Settings.model_fields}
    for name, service in COMPOSE["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith("TAILOR_"):
                assert variable.removesuffix("_FILE") in known, f"{name}: {variable}"


def test_no_password_has_a_default() -> None:
    secret = re.compile(r"(?i)password|token|secret|key")
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert str(value).removeprefix("/run/secrets/") in service["secrets"], name
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable}"
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    assert "secrets" in (REPOSITORY_ROOT / ".dockerignore").read_text("utf-8").split()


def test_the_chat_server_gets_no_secret_but_its_own() -> None:
    for name in ("inference", "inference-cpu"):
        service = COMPOSE["services"][name]
        assert service["secrets"] == ["inference_token"]
        assert not [one for one in service["environment"] if "DATABASE" in one or "BROKER" in one]


def test_the_graphics_card_is_the_default_and_the_cpu_profile_goes_without() -> None:
    services = COMPOSE["services"]
    example = (REPOSITORY_ROOT / ".env.example").read_text("utf-8")
    assert "COMPOSE_PROFILES=gpu" in example.splitlines()
    for name in ("worker", "inference"):
        devices = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert devices[0]["capabilities"] == ["gpu"]
        assert services[name]["profiles"] == ["gpu"]
        assert "deploy" not in services[f"{name}-cpu"]
        assert services[f"{name}-cpu"]["profiles"] == ["cpu"]


def test_everything_waits_for_the_tables() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["restart"] == "no"
    for name in ("web", "worker", "worker-cpu", "inference", "inference-cpu"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully", name


def test_another_port_changes_the_address_people_are_given() -> None:
    web = COMPOSE["services"]["web"]
    assert web["environment"]["TAILOR_PUBLIC_URL"].endswith("${TAILOR_PORT:-8000}}")
    assert web["environment"]["TAILOR_PORT"] == 8000
    assert web["ports"] == ["${BIND_ADDRESS:-127.0.0.1}:${TAILOR_PORT:-8000}:8000"]


def test_every_service_that_stays_is_watched_by_a_health_check() -> None:
    for name, service in COMPOSE["services"].items():
        assert name == "migrate" or service.get("healthcheck", {}).get("test"), name
