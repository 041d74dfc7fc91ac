"""The commands, as a host types them: what they say, and how they fail."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.accounts.links import SETUP, check_link
from app.database.engine import build_engine
from app.database.session import transaction
from app.launcher.health import missing_workers
from app.launcher.programs import WEB, WORKER_OF_QUEUE
from app.settings import REPOSITORY_ROOT
from app.version import VERSION
from tests.support.services import free_port
from tests.support.waiting import wait_until


def tailor(
    *arguments: str, data_dir: Path, typed: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=_environment(data_dir, **variables),
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _environment(data_dir: Path, **variables: str) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("TAILOR_")}
    return {**own, "TAILOR_DATA_DIR": str(data_dir), "TAILOR_OFFLINE": "true", **variables}


def test_each_command_explains_itself(tmp_path: Path) -> None:
    for command in (
        *("up", "web", "worker", "inference", "migrate", "setup-link", "doctor", "settings"),
        *("user add", "user reset-password"),
    ):
        answer = tailor(*command.split(), "--help", data_dir=tmp_path)
        assert answer.returncode == 0, command
        assert "Usage:" in answer.stdout


def test_commands_work_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY_ROOT))
    monkeypatch.chdir(tmp_path)
    migrated = tailor("migrate", data_dir=tmp_path / "data")
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert "up to date" in migrated.stdout


def test_bringing_the_database_up_to_date_leaves_a_set_up_link_good(tmp_path: Path) -> None:
    link = tailor("setup-link", data_dir=tmp_path).stdout.strip()
    tailor("migrate", data_dir=tmp_path)
    engine = build_engine(f"sqlite:///{tmp_path}/db/tailor.sqlite")
    with transaction(engine, read_only=True) as session:
        assert check_link(session, SETUP, link.rpartition("/")[2])
    engine.dispose()


def test_from_set_up_link_to_a_new_password(tmp_path: Path) -> None:
    link = tailor("setup-link", data_dir=tmp_path)
    assert "/setup/" in link.stdout
    assert link.stderr == ""
    added = tailor(
        *("user", "add", "mo@example.org", "--name", "Mo", "--admin"),
        data_dir=tmp_path,
        typed="warm wool blankets\nwarm wool blankets\n",
    )
    assert added.returncode == 0, added.stderr
    assert "mo@example.org can sign in now." in added.stdout
    refused = tailor("setup-link", data_dir=tmp_path)
    assert refused.returncode == 1
    assert "tailor user reset-password" in refused.stderr
    reset = tailor(
        *("user", "reset-password", "mo@example.org"),
        data_dir=tmp_path,
        typed="cold linen sheets\ncold linen sheets\n",
    )
    assert reset.returncode == 0, reset.stderr
    weak = tailor(
        *("user", "reset-password", "mo@example.org"),
        data_dir=tmp_path,
        typed="password\npassword\n",
    )
    assert weak.returncode == 1
    assert "Traceback" not in weak.stderr


def test_the_doctor_names_what_works_and_what_does_not(tmp_path: Path) -> None:
    tailor("migrate", data_dir=tmp_path)
    well = tailor("doctor", data_dir=tmp_path)
    assert "✓ Database: sqlite answers and is up to date." in well.stdout
    assert "✓ Job queue: filesystem works." in well.stdout
    assert well.returncode == 0
    away = f"redis://127.0.0.1:{free_port()}/0"
    ill = tailor("doctor", data_dir=tmp_path, TAILOR_BROKER_URL=away)
    assert "✗ Job queue: The job queue (redis) does not answer" in ill.stdout
    assert ill.returncode == 1


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TAILOR_PORT": "nonsense"}, "TAILOR_PORT is set to “nonsense”"),
        ({"TAILOR_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}, "Check TAILOR_DATABASE_URL"),
        ({"TAILOR_BROKER_URL": "redis://127.0.0.1:1/0"}, "Check TAILOR_BROKER_URL"),
        ({"TAILOR_DATA_DIR": "/proc/tailor"}, "TAILOR_DATA_DIR"),
        ({"TAILOR_SECRET_KEY_FILE": "/nowhere"}, "which cannot be read"),
        ({"TAILOR_STORAGE_URL": "file:///proc/tailor"}, "TAILOR_STORAGE_URL, /proc/tailor"),
        ({"TAILOR_HOST": "nonsense.invalid"}, "Set TAILOR_HOST to one that it has"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_a_sentence(
    variables: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    ports = {"TAILOR_PORT": str(free_port()), "TAILOR_INFERENCE_PORT": str(free_port())}
    folder = {"TAILOR_DATA_DIR": str(tmp_path)}
    environment = _environment(tmp_path, **{**ports, **folder, **variables})
    answer = subprocess.run(
        [sys.executable, "-m", "app.cli", "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_container_is_healthy_while_both_queues_have_their_worker(tmp_path: Path) -> None:
    def run(process_id: str, command: Sequence[str]) -> None:
        (tmp_path / process_id).mkdir()
        (tmp_path / process_id / "cmdline").write_bytes("\0".join([*command, ""]).encode())

    run("1", WEB.command)
    assert missing_workers(tmp_path) == ["runs", "light"]
    run("2", WORKER_OF_QUEUE["light"].command)
    assert missing_workers(tmp_path) == ["runs"]
    run("3", WORKER_OF_QUEUE["runs"].command)
    assert missing_workers(tmp_path) == []


@pytest.mark.slow
def test_nothing_starts_on_tables_of_another_version(tmp_path: Path) -> None:
    for command in (("web",), ("worker",), ("user", "add", "mo@example.org")):
        answer = tailor(*command, data_dir=tmp_path)
        assert (answer.returncode, answer.stdout) == (1, ""), command
        assert answer.stderr == "The database has no tables yet. Run: tailor migrate\n"
    tailor("migrate", data_dir=tmp_path)
    with sqlite3.connect(tmp_path / "db" / "tailor.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = 'of the future'")
    database.close()
    for name in ("web", "worker", "migrate"):
        answer = tailor(name, data_dir=tmp_path)
        assert answer.returncode == 1, name
        assert answer.stderr.startswith("The database was brought up to date by a newer Tailor")


def test_the_version_is_an_option_as_people_expect(tmp_path: Path) -> None:
    assert tailor("--version", data_dir=tmp_path).stdout.strip() == VERSION


def test_a_second_start_on_the_same_folder_or_port_is_refused(tmp_path: Path) -> None:
    ports = {"TAILOR_PORT": str(free_port()), "TAILOR_INFERENCE_PORT": str(free_port())}
    environment = _environment(tmp_path, **ports)
    log = tmp_path.with_suffix(".log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "app.cli", "up"],
            env=environment,
            stdout=output,
            stderr=output,
        ) as first,
    ):
        try:
            wait_until(
                lambda: b"Tailor is running" in log.read_bytes(), timeout=90, what="the first start"
            )
            again = tailor("up", data_dir=tmp_path, **ports)
            assert "already running with the data folder" in again.stderr
            elsewhere = tailor("up", data_dir=tmp_path / "other", **ports)
            assert f"Port {ports['TAILOR_PORT']} on 127.0.0.1 cannot be used" in elsewhere.stderr
        finally:
            first.terminate()
            assert first.wait(60) == 0
    assert "a training saves its state first" in log.read_text()
