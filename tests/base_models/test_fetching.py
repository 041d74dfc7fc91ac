"""Downloads over real sockets: whole, broken off, killed, stopped, stalled."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from app.base_models import repository, service
from app.base_models.secrets import store_hub_token
from app.base_models.tables import BaseModel, BaseModelStatus
from app.database.session import transaction
from app.storage.folders import Storage
from tests.base_models.conftest import MODEL, WEIGHTS, Workshop, files_of_a_model, weights
from tests.support.hub_server import COMMIT, canary
from tests.support.services import POSTGRES_VARIABLE
from tests.support.waiting import wait_until

# What the database has no part in is tried on one of them.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
# The promise is two, on a machine that has little else to do. Whoever did not stop would wait for
# the slow hub for twice as long as this, and for the silent one three times.
_SECONDS_TO_STOP = 10
ONE_FETCH = """
import sys
from app.base_models.fetching import fetch_base_model
from app.database.engine import get_engine
from app.storage.folders import get_storage
fetch_base_model(get_engine(), get_storage(), sys.argv[1], "worker that dies")
"""


def _let_the_lease_run_out(workshop: Workshop, base_model_id: str) -> None:
    with transaction(workshop.engine) as session:
        model = repository.get(session, base_model_id)
        assert model is not None
        model.lease_expires_at = 1.0


class TestDownload:
    def test_whole(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        workshop.hub.add(MODEL, files)
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FETCHED
        assert model.problem is None
        assert model.revision == COMMIT
        assert model.facts["licence"] == "apache-2.0"
        folder = workshop.folder(model.id)
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "tokenizer.json",
            WEIGHTS,
        }
        assert (folder / WEIGHTS).read_bytes() == files[WEIGHTS]
        wanted = sum(len(files[name]) for name in ("config.json", "tokenizer.json", WEIGHTS))
        assert model.downloaded_bytes == model.total_bytes == wanted
        assert _pending(workshop) == [("base_models.check", model.id)]

    def test_progress_is_in_real_bytes(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        workshop.hub.bytes_per_second = 300_000
        base_model_id = workshop.ask()
        thread = workshop.start_fetch(base_model_id)
        seen: set[int] = set()
        speeds: set[int] = set()
        while thread.is_alive():
            model = workshop.row(base_model_id)
            seen.add(model.downloaded_bytes)
            speeds.add(model.facts.get("bytes_per_second", 0))
            thread.join(0.1)
        assert len(seen) >= 3, seen
        assert seen <= set(range(model.total_bytes + 1))
        assert 100_000 < max(speeds) < 900_000, speeds
        assert "bytes_per_second" not in workshop.row(base_model_id).facts

    def test_a_broken_connection_costs_nothing(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        workshop.hub.add(MODEL, files)
        workshop.hub.break_off_after = 400_000
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FETCHED
        # What had left the hub but not arrived when the line broke may come twice.
        assert workshop.hub.sent[WEIGHTS] <= len(files[WEIGHTS]) + 256 * 1024

    def test_a_hub_that_knows_no_ranges(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        workshop.hub.add(MODEL, files)
        workshop.hub.ignores_ranges = True
        workshop.hub.break_off_after = 400_000
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FETCHED
        assert (workshop.folder(model.id) / WEIGHTS).read_bytes() == files[WEIGHTS]

    def test_kill_9_in_the_middle(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        workshop.hub.add(MODEL, files)
        workshop.hub.bytes_per_second = 400_000
        base_model_id = workshop.ask()
        worker = subprocess.Popen([sys.executable, "-c", ONE_FETCH, base_model_id])
        part = workshop.folder(base_model_id) / (WEIGHTS + ".part")
        wait_until(
            lambda: part.exists() and part.stat().st_size > 300_000,
            timeout=30,
            what="a third of the weights",
        )
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        assert workshop.row(base_model_id).status == BaseModelStatus.DOWNLOADING
        kept = part.stat().st_size
        workshop.hub.bytes_per_second = 0
        workshop.hub.sent.clear()
        _let_the_lease_run_out(workshop, base_model_id)
        assert _pending(workshop) == [("base_models.fetch", base_model_id)]
        model = workshop.fetch(base_model_id, "another worker")
        assert model.status == BaseModelStatus.FETCHED
        # The answer to the dead worker may still have been writing into its socket.
        twice = workshop.hub.sent[WEIGHTS] - (len(files[WEIGHTS]) - kept)
        assert 0 <= twice <= 32 * 1024
        assert (workshop.folder(model.id) / WEIGHTS).read_bytes() == files[WEIGHTS]

    def test_two_workers_on_one_model(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        workshop.hub.bytes_per_second = 500_000
        base_model_id = workshop.ask()
        threads = [workshop.start_fetch(base_model_id) for _ in range(2)]
        for thread in threads:
            thread.join()
        assert workshop.row(base_model_id).status == BaseModelStatus.FETCHED
        assert workshop.hub.sent[WEIGHTS] == len(weights())

    def test_asking_twice_is_asking_once(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        first = workshop.ask(revision="main")
        assert workshop.ask(revision="main") == first
        workshop.fetch(first)
        assert workshop.ask(revision="main") == first
        assert workshop.ask(revision=COMMIT) == first
        assert workshop.ask() != first

    def test_the_commit_stays_the_same(self, workshop: Workshop) -> None:
        repository_ = workshop.hub.add(MODEL, files_of_a_model())
        base_model_id = workshop.ask()
        workshop.hub.break_off_after = 1
        workshop.fetch(base_model_id)
        repository_.commit = "f" * 40
        with transaction(workshop.engine) as session:
            service.continue_download(
                session, workshop.settings, service.find(session, base_model_id)
            )
        assert workshop.row(base_model_id).revision == COMMIT


class TestStopping:
    @pytest.mark.parametrize("stall", [False, True])
    def test_within_two_seconds(self, workshop: Workshop, *, stall: bool) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        workshop.hub.bytes_per_second = 50_000
        workshop.hub.stall_after = 64 * 1024 if stall else -1
        base_model_id = workshop.ask()
        thread = workshop.start_fetch(base_model_id)
        workshop.wait_for_bytes(base_model_id)
        workshop.change(base_model_id, service.stop)
        began = time.monotonic()
        thread.join(20)
        assert time.monotonic() - began < _SECONDS_TO_STOP
        model = workshop.row(base_model_id)
        assert model.status == BaseModelStatus.CANCELLED
        assert model.problem is None
        assert model.lease_owner is None
        workshop.hub.stall_after = -1
        workshop.hub.bytes_per_second = 0
        with transaction(workshop.engine) as session:
            service.try_again(session, workshop.settings, service.find(session, base_model_id))
        assert workshop.fetch(base_model_id).status == BaseModelStatus.FETCHED

    def test_a_silent_hub_from_the_start(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        workshop.hub.stall_after = 0
        base_model_id = workshop.ask()
        thread = workshop.start_fetch(base_model_id)
        wait_until(lambda: len(workshop.hub.requests) == 2, timeout=10, what="the first file")
        workshop.change(base_model_id, service.stop)
        began = time.monotonic()
        thread.join(20)
        assert time.monotonic() - began < _SECONDS_TO_STOP
        assert workshop.row(base_model_id).status == BaseModelStatus.CANCELLED

    def test_before_a_worker_came(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        base_model_id = workshop.ask()
        workshop.change(base_model_id, service.stop)
        assert workshop.fetch(base_model_id).status == BaseModelStatus.CANCELLED
        assert workshop.hub.requests == []


@ON_SQLITE
class TestRefusals:
    """Refused with a sentence, and before the weights are fetched."""

    def _refused(self, workshop: Workshop) -> BaseModel:
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FAILED
        assert model.problem is not None
        assert all(model.problem[key] for key in ("what", "why", "next_step"))
        assert workshop.hub.sent[WEIGHTS] == 0
        return model

    @pytest.mark.parametrize(
        "config",
        [
            {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}},
            {"_attn_implementation_internal": "evil/kernel"},
            {"text_config": {"attn_implementation": "evil/kernel"}},
            {"quantization_config": {"quant_method": "gptq"}},
            {"architectures": ["BertForMaskedLM"]},
        ],
        ids=lambda config: next(iter(config)),
    )
    def test_configurations(self, workshop: Workshop, config: dict[str, object]) -> None:
        workshop.hub.add(MODEL, files_of_a_model(**config))
        self._refused(workshop)

    def test_pickles_only(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        files["pytorch_model.bin"] = files.pop(WEIGHTS)
        workshop.hub.add(MODEL, files)
        model = self._refused(workshop)
        assert "pickle" in str(model.problem)
        assert workshop.hub.sent.total() == 0

    def test_an_index_that_leads_elsewhere(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        files["model.safetensors.index.json"] = b'{"weight_map": {"w": "../../x.bin"}}'
        workshop.hub.add(MODEL, files)
        self._refused(workshop)

    def test_a_gated_model_and_its_token(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model()).gated_by = "hf_right"
        model = self._refused(workshop)
        assert "token" in str(model.problem)
        with transaction(workshop.engine) as session:
            store_hub_token(session, workshop.settings, workshop.storage, " hf_right ")
            service.try_again(session, workshop.settings, service.find(session, model.id))
        assert workshop.fetch(model.id).status == BaseModelStatus.FETCHED

    def test_no_such_model(self, workshop: Workshop) -> None:
        model = self._refused(workshop)
        assert "does not know" in str(model.problem)

    def test_a_redirect_into_the_network_is_never_followed(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        with transaction(workshop.engine) as session:
            store_hub_token(session, workshop.settings, workshop.storage, "hf_secret")
        with canary() as inside:
            for target in (
                f"{inside.url}/secret",
                inside.url.replace("http", "https"),
                "https://localhost/secret",
                "https://[::ffff:127.0.0.1]/secret",
                "http://169.254.169.254/latest",
            ):
                workshop.hub.redirect_to = target
                model = workshop.fetch(workshop.ask())
                assert model.status == BaseModelStatus.FAILED
                assert "does not ask" in str(model.problem)
            assert inside.visits == []

    def test_hostile_names_are_never_written(self, workshop: Workshop, tmp_path: Path) -> None:
        added = workshop.hub.add(MODEL, files_of_a_model())
        names = ("../x.safetensors", "/x.safetensors", "a/b.safetensors", "n\0.safetensors")
        added.extra = [
            {"rfilename": name, "size": 5, "lfs": {"sha256": "0" * 64}}
            for name in (*names, "..safetensors", "x\\y.safetensors", "é.safetensors")
        ]
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FETCHED
        found = {path.name for path in (tmp_path / "data" / "models").rglob("*") if path.is_file()}
        assert found == {"config.json", "tokenizer.json", WEIGHTS, ".lock"}

    @pytest.mark.parametrize("size", [-1, 10**30, "many", None, 2**62])
    def test_impossible_sizes(self, workshop: Workshop, size: object) -> None:
        workshop.hub.add(MODEL, files_of_a_model()).changes = {WEIGHTS: {"size": size}}
        self._refused(workshop)

    def test_a_configuration_of_a_gigabyte(self, workshop: Workshop) -> None:
        added = workshop.hub.add(MODEL, files_of_a_model())
        added.changes = {"config.json": {"size": 10**9}}
        self._refused(workshop)

    @pytest.mark.parametrize("listing", [b"<html>", b"[1]", b'{"sha": 1}', b"[" * 100_000])
    def test_something_else_answers(self, workshop: Workshop, listing: bytes) -> None:
        workshop.hub.raw_listing = listing
        self._refused(workshop)

    def test_offline(self, workshop: Workshop) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        base_model_id = workshop.ask()
        workshop.settings = workshop.settings.model_copy(update={"offline": True})
        model = workshop.fetch(base_model_id)
        assert "offline" in str(model.problem)
        assert workshop.hub.requests == []


@ON_SQLITE
class TestDamage:
    def test_a_wrong_sum(self, workshop: Workshop) -> None:
        added = workshop.hub.add(MODEL, files_of_a_model())
        added.changes = {WEIGHTS: {"lfs": {"sha256": "0" * 64}}}
        model = workshop.fetch(workshop.ask())
        assert model.status == BaseModelStatus.FAILED
        assert "damaged" in str(model.problem)
        assert not list(workshop.folder(model.id).glob(f"{WEIGHTS}*"))

    def test_a_wrong_sum_of_a_small_file(self, workshop: Workshop) -> None:
        added = workshop.hub.add(MODEL, files_of_a_model())
        added.changes = {"config.json": {"blobId": "a" * 40}}
        model = workshop.fetch(workshop.ask())
        assert "damaged" in str(model.problem)
        assert workshop.hub.sent[WEIGHTS] == 0

    def test_more_comes_than_was_said(self, workshop: Workshop) -> None:
        added = workshop.hub.add(MODEL, files_of_a_model())
        added.changes = {WEIGHTS: {"size": 1000}}
        assert "damaged" in str(workshop.fetch(workshop.ask()).problem)

    def test_a_spoilt_beginning_is_fetched_again_once(self, workshop: Workshop) -> None:
        files = files_of_a_model()
        workshop.hub.add(MODEL, files)
        base_model_id = workshop.ask()
        folder = workshop.storage.folder("models", base_model_id, "files")
        (folder / (WEIGHTS + ".part")).write_bytes(b"x" * 500_000)
        assert workshop.fetch(base_model_id).status == BaseModelStatus.FETCHED
        assert (folder / WEIGHTS).read_bytes() == files[WEIGHTS]

    def test_a_full_disk_is_said_before(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workshop.hub.add(MODEL, files_of_a_model())
        monkeypatch.setattr(Storage, "free_bytes", lambda _: 1000)
        model = workshop.fetch(workshop.ask())
        assert "disk" in str(model.problem)
        assert workshop.hub.sent.total() == 0


@ON_POSTGRESQL
def test_a_disk_that_fills_meanwhile(workshop: Workshop) -> None:
    """A file size limit stands in for the full disk: the write fails in the same place.

    On PostgreSQL, since SQLite's own file would meet the limit too.
    """
    workshop.hub.add(MODEL, files_of_a_model())
    base_model_id = workshop.ask()
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
    )
    subprocess.run([sys.executable, "-c", limit + ONE_FETCH, base_model_id], check=True)
    model = workshop.row(base_model_id)
    assert model.status == BaseModelStatus.FAILED
    part = workshop.folder(base_model_id) / (WEIGHTS + ".part")
    assert part.stat().st_size == 700_000
    with transaction(workshop.engine) as session:
        service.try_again(session, workshop.settings, service.find(session, base_model_id))
    assert workshop.fetch(base_model_id).status == BaseModelStatus.FETCHED


@ON_POSTGRESQL
def test_the_database_may_be_away_meanwhile(workshop: Workshop) -> None:
    workshop.hub.add(MODEL, files_of_a_model())
    workshop.hub.bytes_per_second = 250_000
    base_model_id = workshop.ask()
    thread = workshop.start_fetch(base_model_id)
    workshop.wait_for_bytes(base_model_id)
    name = workshop.engine.url.database
    workshop.engine.dispose()
    with psycopg.connect(os.environ[POSTGRES_VARIABLE], autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname=%s", [name]
        )
        thread.join(5)
        assert thread.is_alive(), "the last word waits for the database"
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    thread.join(20)
    assert workshop.row(base_model_id).status == BaseModelStatus.FETCHED


def test_three_dead_workers_are_enough(workshop: Workshop) -> None:
    workshop.hub.add(MODEL, files_of_a_model())
    base_model_id = workshop.ask()
    with transaction(workshop.engine) as session:
        model = repository.get(session, base_model_id)
        assert model is not None
        model.attempts = 3
    assert workshop.fetch(base_model_id).status == BaseModelStatus.FAILED


def _pending(workshop: Workshop) -> list[tuple[str, str]]:
    with transaction(workshop.engine, read_only=True) as session:
        return service.pending_base_models(session)
