"""Settings are read from the environment, documented in one table, and refused in sentences."""

import base64
from pathlib import Path

import pytest

from app.launcher.settings_table import as_markdown, as_text
from app.settings import REPOSITORY_ROOT, SettingsError, load_settings
from app.version import VERSION


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_DATA_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/db/tailor.sqlite"
    assert settings.resolved_broker_url == f"filesystem://{tmp_path}/queue"
    assert settings.storage_root == tmp_path
    assert settings.resolved_public_url == "http://127.0.0.1:8000"
    assert settings.resolved_inference_url == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("TAILOR_PORT", "eighty", "TAILOR_PORT is set to “eighty”, which cannot be used"),
        ("TAILOR_PORT", "70000", "TAILOR_PORT is set to “70000”"),
        ("TAILOR_DATABASE_URL", "mysql://db/tailor", "it must begin with postgresql:// or sqlite"),
        ("TAILOR_DATABASE_URL", "nonsense", "it must begin with postgresql:// or sqlite"),
        ("TAILOR_DATABASE_URL", "sqlite://data.db", "it must name a whole path"),
        ("TAILOR_DATABASE_URL", "postgresql://host", "it must begin with postgresql:// or sqlite"),
        ("TAILOR_PORT", "65535", "set TAILOR_INFERENCE_PORT too"),
        ("TAILOR_STORAGE_URL", "file://host/folder", "it must begin with file:///"),
        ("TAILOR_BROKER_URL", "amqp://queue", "it must begin with redis://"),
        ("TAILOR_STORAGE_URL", "s3://bucket", "it must begin with file:///"),
        ("TAILOR_STORAGE_URL", "file://", "it must begin with file:///"),
        ("TAILOR_INFERENCE_URL", "localhost:9", "it must begin with http:// or https://"),
        ("TAILOR_PUBLIC_URL", "tailor.example", "it must begin with http:// or https://"),
        ("HF_ENDPOINT", "ftp://hub", "it must begin with http:// or https://"),
        ("TAILOR_LOG_LEVEL", "loud", "it must be debug, info, warning or error"),
        ("TAILOR_DATA_DIR", "/etc/hostname", "is a file, not a folder"),
        ("TAILOR_INFERENCE_PORT", "8000", "choose two different ports"),
        ("TAILOR_DATABASE_URL", "sqlite:///", "it must name a whole path"),
        ("TAILOR_DATABASE_URL", "sqlite:///tailor.db", "it must name a whole path"),
        ("TAILOR_DATABASE_URL", "postgresql://host:port/x", "a port is a number"),
        ("TAILOR_BROKER_URL", "redis://host:port/0", "a port is a number"),
        ("TAILOR_BROKER_URL", "redis:///0", "it must begin with redis://"),
        ("TAILOR_BROKER_URL", "filesystem://queue", "filesystem:///srv/tailor/queue"),
        ("TAILOR_PUBLIC_URL", "http://host:port", "a port is a number"),
        ("TAILOR_SECRET_KEY", "abc", "openssl rand -base64 32"),
        ("TAILOR_BASE_MODEL_SHELF", "/nowhere/shelf.toml", "there is no such file"),
        ("TAILOR_DATABSE_URL", "x", "Did you mean TAILOR_DATABASE_URL?"),
        ("TAILOR_SECRET_KEYS_FILE", "x", "Did you mean TAILOR_SECRET_KEY?"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert sentence in str(refusal.value)


def test_all_wrong_values_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_PORT", "0")
    monkeypatch.setenv("TAILOR_BROKER_URL", "amqp://queue")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert "TAILOR_PORT" in str(refusal.value)
    assert "TAILOR_BROKER_URL" in str(refusal.value)


def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text("stitch in time/9\n", encoding="utf-8")
    monkeypatch.setenv("TAILOR_DATABASE_URL", "postgresql://tailor@db/tailor")
    monkeypatch.setenv("TAILOR_DATABASE_PASSWORD_FILE", str(secret))
    url = load_settings().resolved_database_url
    assert url == "postgresql+psycopg://tailor:stitch%20in%20time%2F9@db/tailor"


def test_a_missing_secret_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_SECRET_KEY_FILE", "/nowhere/key")
    with pytest.raises(SettingsError, match="TAILOR_SECRET_KEY_FILE names /nowhere/key"):
        load_settings()


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(b"very-secret" * 2 + b"-is-this-k").decode()
    monkeypatch.setenv("TAILOR_SECRET_KEY", key)
    monkeypatch.setenv("TAILOR_DATABASE_PASSWORD", "very-secret-password")
    monkeypatch.setenv("TAILOR_DATABASE_URL", "postgresql://tailor:very-secret@db/tailor")
    monkeypatch.setenv("TAILOR_BROKER_URL", "redis://:very-secret@queue:6379/0")
    text = as_text(load_settings())
    assert "very-secret" not in text
    assert key not in text
    assert "TAILOR_SECRET_KEY = (set)" in text
    assert "postgresql://tailor:***@db/tailor" in text


def test_a_refusal_prints_no_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_SECRET_KEY", "very-secret")
    monkeypatch.setenv("TAILOR_DATABASE_URL", "mysql://tailor:very-secret@db/tailor")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert "very-secret" not in str(refusal.value)
    assert "mysql://tailor:***@db/tailor" in str(refusal.value)


def test_addresses_are_understood_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_DATABASE_URL", "postgres://tailor@db/tailor")
    monkeypatch.setenv("TAILOR_INFERENCE_URL", "http://engine:9000/v1/")
    monkeypatch.setenv("TAILOR_STORAGE_URL", "")
    settings = load_settings()
    assert settings.resolved_database_url == "postgresql+psycopg://tailor@db/tailor"
    assert settings.resolved_inference_url == "http://engine:9000"
    assert settings.storage_root == settings.data_dir


@pytest.mark.parametrize("value", ["", "data"])
def test_the_usual_folder_is_the_same_wherever_one_stands(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILOR_DATA_DIR", value)
    monkeypatch.chdir(tmp_path)
    assert load_settings().data_dir == REPOSITORY_ROOT / "data"


def test_the_table_in_the_docs_is_the_code() -> None:
    written = (REPOSITORY_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written.rstrip("\n") == as_markdown().rstrip("\n"), "run: make settings-docs"


def test_the_changelog_names_this_version() -> None:
    lines = (REPOSITORY_ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    versions = (line for line in lines if line.startswith("## ") and line != "## Unreleased")
    newest = next(versions)
    assert newest.split()[1] == VERSION
