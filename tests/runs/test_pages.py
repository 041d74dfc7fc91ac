"""The pages of training, as people use them."""

import re

import pytest
from sqlalchemy import select

from app.base_models.tables import BaseModel
from app.base_models.transformer_shape import SHAPE_FACT, TransformerShape
from app.datasets.content import NewExample
from app.datasets.service import add_examples
from app.jobs import LIGHT_QUEUE, RUNS_QUEUE
from app.projects.tables import Project
from app.runs.fit_words import about
from app.runs.recipe import Recipe
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run, RunMetric, RunSample
from app.web.formatting import duration
from app.workers.device import Device, DeviceFacts, DeviceKind
from app.workers.repository import report
from app.workers.tables import Worker
from tests.support.devices import GIGABYTE, ONE_CPU, cards, with_few_bits
from tests.support.runs import add_past_run, examples, get_run
from tests.support.web import OWNER, STRANGER, TEAMMATE, VIEWER, Web


@pytest.fixture
def project(web: Web) -> Project:
    """A project that is ready to train, where a worker is there to do it."""
    project = web.project()
    with web.transaction() as session:
        report(session, "here:1/runs", RUNS_QUEUE, ONE_CPU)
        add_examples(session, project.id, examples(30))
        session.merge(project).base_model_id = "starter"
    return project


def start(web: Web, project: Project, **form: str) -> str:
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).rpartition("/")[2]


def runs_of(web: Web, project: Project) -> list[str]:
    with web.transaction() as session:
        return list(session.scalars(select(Run.id).where(Run.project_id == project.id)))


def machine_with(memory_bytes: int) -> DeviceFacts:
    device = Device(id="cpu", name="A machine", memory_bytes=memory_bytes)
    return DeviceFacts(
        host="here",
        kind=DeviceKind.CPU,
        devices=(device,),
        memory_bytes=memory_bytes,
        ram_bytes=memory_bytes,
    )


class TestTrainingPage:
    def test_it_offers_three_ways_and_one_button(self, web: Web, project: Project) -> None:
        text = web.client_for(OWNER).page(f"/projects/{project.id}/training")
        for word in ("Quick", "Balanced", "Thorough", "Start training", "Tailor Starter"):
            assert word in text
        assert text.count("button--primary") == 1

    def test_it_says_what_it_takes_before_it_starts(self, web: Web, project: Project) -> None:
        text = web.client_for(OWNER).page(f"/projects/{project.id}/training")
        assert "of memory, with" in text
        assert "Full fine-tuning would need about" in text
        assert "too little memory" not in text

    def test_what_will_not_fit_is_said_before_and_may_be_tried(
        self, web: Web, project: Project
    ) -> None:
        small = machine_with(10**8)
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, small)
        text = web.client_for(OWNER).page(f"/projects/{project.id}/training")
        assert "There may be too little memory for this." in text
        assert "a smaller base model" in text
        run = get_run(web.engine, start(web, project, knows_fit="yes"))
        assert run.promise is not None
        assert run.promise["memory_bytes"] > 10**8
        assert run.promise["device"] == "A machine"
        assert run.promise["full_memory_bytes"] > run.promise["memory_bytes"]

    def test_what_was_chosen_is_what_is_foretold(self, web: Web, project: Project) -> None:
        client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
        usual = client.page(address)
        chosen = {"method": "full", "epochs": "7", "preset": "quick"}
        text = client.submit(f"{address}/outlook", chosen).text
        assert "with 7\u00a0passes over your examples" in text
        assert "with 7\u00a0passes" not in usual
        assert not runs_of(web, project)
        promised = re.findall(r"training needs about (\d+\s\w+)", text)
        run = get_run(web.engine, start(web, project, **chosen))
        assert run.promise is not None
        assert promised == [about(run.promise["memory_bytes"])]
        assert f"training needs about {promised[0]}" not in usual

    def test_an_earlier_run_of_another_method_or_device_stands_for_no_other(
        self, web: Web, project: Project
    ) -> None:
        with web.transaction() as session:
            add_past_run(session, project.id, ONE_CPU, number=20, seconds=3600.0)
        after_lora, after_full = (
            self.foretold(web, project, preset="quick", method=method)
            for method in ("lora", "full")
        )
        assert after_full > 1.2 * after_lora > 60
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, cards())
        assert self.foretold(web, project, preset="quick") < after_lora / 3

    def foretold(self, web: Web, project: Project, **chosen: str) -> float:
        """Start a training, which is promised to take what the page said before."""
        address = f"/projects/{project.id}/training/outlook"
        text = web.client_for(OWNER).submit(address, chosen).text
        run = get_run(web.engine, start(web, project, **chosen))
        assert run.expected_seconds is not None
        assert f"Takes {duration(run.expected_seconds)} and" in text
        return run.expected_seconds

    def test_what_was_chosen_and_cannot_be_used_is_said_without_starting_anything(
        self, web: Web, project: Project
    ) -> None:
        address = f"/projects/{project.id}/training/outlook"
        answer = web.client_for(OWNER).submit(address, {"epochs": "a lot"})
        assert answer.status_code == 422
        assert "a lot" in answer.text
        assert not runs_of(web, project)

    def test_a_choice_that_may_not_fit_is_asked_about_once(
        self, web: Web, project: Project
    ) -> None:
        """The page itself promised what LoRA takes, which fits."""
        room = machine_with(645_000_000)
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, room)
        client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
        assert "too little memory" not in client.page(address)
        answer = client.submit(address, {"method": "full"})
        assert "Nothing was started yet" in answer.text
        assert not runs_of(web, project)
        knows = re.search(r'name="(knows_fit)" value="(\w+)"', answer.text)
        assert knows is not None
        again = client.submit(address, {"method": "full", knows[1]: knows[2]})
        assert again.status_code == 303

    def test_where_a_machine_has_several_devices_a_training_may_have_them(
        self, web: Web, project: Project
    ) -> None:
        address = f"/projects/{project.id}/training"
        assert 'name="devices"' not in web.client_for(OWNER).page(address)
        with web.transaction() as session:
            report(session, "there:1/runs", RUNS_QUEUE, cards(6))
        text = web.client_for(OWNER).page(address)
        assert "Graphics cards" in text
        times = re.findall(r">((?:Up to )?\d graphics cards?), takes ([^<]+)<", text)
        assert [name for name, _ in times] == [
            *("1 graphics card", "Up to 2 graphics cards"),
            *("Up to 4 graphics cards", "Up to 6 graphics cards"),
        ]
        run_id = start(web, project, devices="4")
        assert get_run(web.engine, run_id).recipe["devices"] == 4
        again = web.client_for(OWNER).submit(f"/projects/{project.id}/runs/{run_id}/again", {})
        copied = str(again.headers["location"]).rpartition("/")[2]
        assert get_run(web.engine, copied).recipe["devices"] == 4

    def test_a_number_of_devices_that_nobody_has_is_refused(
        self, web: Web, project: Project
    ) -> None:
        with web.transaction() as session:
            report(session, "there:1/runs", RUNS_QUEUE, cards(2))
        for typed in ("0", "17", "two", "-1"):
            answer = web.client_for(OWNER).submit(
                f"/projects/{project.id}/training", {"devices": typed}
            )
            assert answer.status_code == 422
            assert "a number from 1 to 16" in answer.text

    def test_it_says_what_is_missing(self, web: Web) -> None:
        project = web.project()
        client = web.client_for(OWNER)
        assert "Add examples" in client.page(f"/projects/{project.id}/training")
        with web.transaction() as session:
            add_examples(session, project.id, examples(3))
        assert "Choose a base model" in client.page(f"/projects/{project.id}/training")

    def test_a_value_out_of_bounds_is_shown_beside_its_field(
        self, web: Web, project: Project
    ) -> None:
        form = {"preset": "thorough", "epochs": "1000", "lora.rank": "12"}
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
        assert answer.status_code == 422
        assert "from 1 to 100" in answer.text
        assert 'value="12"' in answer.text
        assert 'value="1000"' in answer.text

    def test_a_setting_of_the_method_out_of_bounds_is_shown_beside_its_field(
        self, web: Web, project: Project
    ) -> None:
        form = {"preset": "quick", "lora.rank": "1.5", "lora.dropout": "0.1"}
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
        assert answer.status_code == 422
        assert "a whole number from 1 to 256" in answer.text
        assert 'id="field-lora.rank-error"' in answer.text
        assert 'value="0.1"' in answer.text

    def test_every_value_that_cannot_be_used_is_told_at_once(
        self, web: Web, project: Project
    ) -> None:
        form = {"epochs": "-3", "learning_rate": "abc", "lora.rank": "99999", "devices": "none"}
        for address in ("training", "training/outlook"):
            answer = web.client_for(OWNER).submit(f"/projects/{project.id}/{address}", form)
            assert answer.status_code == 422
            for field in ("epochs", "learning_rate", "lora.rank"):
                assert f'id="field-{field}-error"' in answer.text
            assert answer.text.count('aria-invalid="true" autofocus') == 3
            assert 'id="expert-settings" open' in answer.text
        assert not runs_of(web, project)

    def test_a_method_that_cannot_sort_is_refused_beside_the_methods(
        self, web: Web, project: Project
    ) -> None:
        kinds = [
            NewExample(question=f"Text {n}", answer=f"Kind {n % 3}", is_label=True)
            for n in range(60)
        ]
        with web.transaction() as session:
            add_examples(session, project.id, kinds)
        form = {"goal": "sort", "method": "prompt_tuning"}
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
        assert answer.status_code == 422
        assert 'id="field-method-error"' in answer.text
        assert "does not go with sorting into kinds" in answer.text

    def test_ways_of_learning_preferences_are_explained_and_stay_in_sight(
        self, web: Web, project: Project
    ) -> None:
        pairs = [
            NewExample(question=f"Question {n}?", answer=f"Good {n}", rejected=f"Bad {n}")
            for n in range(60)
        ]
        with web.transaction() as session:
            add_examples(session, project.id, pairs)
        client, address = web.client_for(OWNER), f"/projects/{project.id}/training"
        drawer = 'id="expert-settings" open'
        text = client.submit(f"{address}/outlook", {"goal": "prefer", "objective": "dpo"}).text
        assert drawer not in text
        assert "The better answer is learned word by word" in text
        text = client.submit(f"{address}/outlook", {"goal": "prefer", "objective": "orpo"}).text
        assert drawer in text
        assert 'name="objective" value="orpo" checked' in text

    def test_few_bits_are_shown_greyed_with_the_reason_until_a_machine_can(
        self, web: Web, project: Project
    ) -> None:
        address = f"/projects/{project.id}/training"
        client = web.client_for(OWNER)
        choice = 'name="base_form" value="4bit"'
        text = client.page(address)
        assert f"{choice} disabled" in text
        assert "not known yet" in text
        why = "The program for it (bitsandbytes) is not installed on this machine."
        with web.transaction() as session:
            facts = with_few_bits(ONE_CPU, four_bit=why, eight_bit=why)
            report(session, "here:1/runs", RUNS_QUEUE, facts)
        text = client.page(address)
        assert f"{choice} disabled" in text
        assert why in text
        refused = client.submit(address, {"base_form": "4bit", "lora.rank": "12"})
        assert refused.status_code == 422
        assert why in refused.text
        assert 'id="field-base_form-error"' in refused.text
        assert 'value="12"' in refused.text
        with web.transaction() as session:
            facts = with_few_bits(ONE_CPU, eight_bit=why)
            report(session, "here:1/runs", RUNS_QUEUE, facts)
        text = client.page(address)
        assert f"{choice} disabled" not in text
        assert choice in text
        assert 'value="8bit" disabled' in text

    def test_a_run_in_four_bits_says_so_and_waits_for_a_machine_that_can(
        self, web: Web, project: Project
    ) -> None:
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, with_few_bits(ONE_CPU))
        run_id = start(web, project, base_form="4bit")
        run = get_run(web.engine, run_id)
        assert run.recipe["quantization"] == run.needs_bits == "4bit"
        address = f"/projects/{project.id}/runs/{run_id}"
        assert "4 bits" in web.client_for(OWNER).page(address)
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, ONE_CPU)
        text = web.client_for(OWNER).page(address)
        assert "No machine that is there can hold the base model in fewer bits." in text

    def test_a_method_that_needs_the_whole_numbers_is_refused_in_few_bits(
        self, web: Web, project: Project
    ) -> None:
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, with_few_bits(ONE_CPU))
        form = {"base_form": "4bit", "method": "pissa"}
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", form)
        assert answer.status_code == 422
        assert "does not go with PiSSA" in answer.text

    @pytest.mark.parametrize(("form", "allowed"), [("", True), ("none", False), ("8bit", True)])
    def test_four_bits_are_the_last_resort_unless_the_owner_says_no(
        self, web: Web, project: Project, form: str, *, allowed: bool
    ) -> None:
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, with_few_bits(ONE_CPU))
        run = get_run(web.engine, start(web, project, base_form=form))
        assert Recipe.model_validate(run.recipe).may_fall_to_four_bits is allowed

    def test_four_bits_are_promised_only_where_the_run_falls_back_to_them(
        self, web: Web, project: Project
    ) -> None:
        """The base model's layers fit on the card in 4 bits alone."""
        large = TransformerShape.usual_for(8_000_000_000)
        with web.transaction() as session:
            model = session.get_one(BaseModel, "starter")
            model.facts = {**model.facts, SHAPE_FACT: large.as_fact()}
            small = with_few_bits(cards(2, 12 * GIGABYTE))
            report(session, "here:1/runs", RUNS_QUEUE, small)
        address = f"/projects/{project.id}/training/outlook"
        client = web.client_for(OWNER)
        promise = "the base model is held in 4 bits"
        assert promise in client.submit(address, {}).text
        for chosen in ({"base_form": "none"}, {"devices": "2"}, {"method": "full"}):
            text = client.submit(address, chosen).text
            assert "There may be too little memory for this." in text
            assert promise not in text

    def test_nothing_starts_without_examples(self, web: Web) -> None:
        project = web.project()
        with web.transaction() as session:
            session.merge(project).base_model_id = "starter"
        answer = web.client_for(OWNER).submit(f"/projects/{project.id}/training", {})
        assert answer.status_code == 409
        assert "nothing to learn from" in answer.text
        assert list((web.storage.root / "runs").iterdir()) == []


class TestRunPage:
    def test_a_waiting_run_says_its_place_and_can_be_stopped(
        self, web: Web, project: Project
    ) -> None:
        first, second = start(web, project), start(web, project)
        client = web.client_for(OWNER)
        text = client.page(f"/projects/{project.id}/runs/{second}")
        assert "1\N{NO-BREAK SPACE}training is before it." in text
        assert "Stop the training" in text
        assert 'http-equiv="refresh"' in text
        answer = client.submit(f"/projects/{project.id}/runs/{first}/cancel")
        assert answer.status_code == 303
        assert get_run(web.engine, first).status == RunStatus.CANCELLED
        assert "next in line" in client.page(f"/projects/{project.id}/runs/{second}")

    def test_a_run_that_nobody_could_train_says_so(self, web: Web, project: Project) -> None:
        address = f"/projects/{project.id}/runs/{start(web, project)}"
        client = web.client_for(OWNER)
        assert "Nobody is there" not in client.page(address)
        with web.transaction() as session:
            worker = session.get(Worker, "here:1/runs")
            assert worker is not None
            worker.seen_at -= 120
        assert "Nobody is there to train it." in client.page(address)
        with web.transaction() as session:
            report(session, "here:2/light", LIGHT_QUEUE)
        assert "Nobody is there" in client.page(address), "that one trains nothing"
        with web.transaction() as session:
            report(session, "here:1/runs", RUNS_QUEUE, ONE_CPU)
        assert "next in line" in client.page(address)

    def test_a_finished_run_says_what_came_of_it(self, web: Web, project: Project) -> None:
        run_id = start(web, project)
        with web.transaction() as session:
            run = lock(session, run_id)
            assert run is not None
            run.status = RunStatus.SUCCEEDED
            run.event_count += 1
            run.result = {
                "loss_before": 3.0,
                "loss_after": 1.0,
                "seconds": 61.0,
                "best_step": 10,
                "peak_memory_bytes": 10**9,
            }
            assert run.promise is not None
            run.promise = run.promise | {
                "seconds": 122.0,
                "memory_bytes": 1_250_000_000,
                "full_memory_bytes": 4_600_000_000,
            }
            session.add_all(
                RunMetric(run_id=run_id, step=step, name=name, value=value)
                for step, name, value in [
                    (1, "train_loss", 3.1),
                    (10, "train_loss", 0.9),
                    (0, "validation_loss", 3.0),
                    (10, "validation_loss", 1.0),
                ]
            )
            session.add_all(
                RunSample(
                    run_id=run_id,
                    step=step,
                    position=0,
                    question="<img src=x onerror=alert(1)>",
                    expected="An answer",
                    base_answer="Something",
                    answer=answer,
                )
                for step, answer in [(5, "Too early"), (10, "What was kept"), (15, "Too late")]
            )
        text = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
        assert "3 times less surprising" in text
        assert "Try it" in text
        assert "Take it" in text
        assert "<img src=x" not in text
        assert "Foretold, with loading: about 2 minutes." in text
        assert "Foretold: about 1.2\N{NO-BREAK SPACE}GB." in text
        assert "Full fine-tuning would have needed about 4.6\N{NO-BREAK SPACE}GB." in text
        assert "After step 10" in text
        assert "What was kept" in text, "the answers shown are the version's own"
        assert "Too late" not in text
        assert 'http-equiv="refresh"' not in text

    @pytest.mark.parametrize(
        ("objective", "said", "unsaid"),
        [
            ("texts", ["your texts 3 times", "At your held-out texts", "Your own text"], "answer"),
            ("kinds", ["75\N{NO-BREAK SPACE}%", "Texts that it never learned"], "“Before”"),
            ("answers", ["your answers 3 times", "what the base model answers"], "texts"),
        ],
    )
    def test_a_finished_run_speaks_of_what_it_learned(
        self, web: Web, project: Project, objective: str, said: list[str], unsaid: str
    ) -> None:
        run_id = start(web, project)
        with web.transaction() as session:
            run = lock(session, run_id)
            assert run is not None
            run.status = RunStatus.SUCCEEDED
            run.recipe = run.recipe | {"objective": objective}
            run.result = {
                "loss_before": 3.0,
                "loss_after": 1.0,
                "right_before": None,
                "right_after": 0.75 if objective == "kinds" else None,
                "seconds": 61.0,
                "best_step": 10,
                "peak_memory_bytes": 10**9,
            }
            assert run.promise is not None
            run.promise = run.promise | {"full_memory_bytes": run.promise["memory_bytes"]}
            sample = {"question": "Q", "expected": "E", "base_answer": "B", "answer": "A"}
            session.add(RunSample(run_id=run_id, step=10, position=0, **sample))
        text = web.client_for(OWNER).page(f"/projects/{project.id}/runs/{run_id}")
        shown = text[text.index('id="run"') : text.index('id="run-log"')]
        for words in said:
            assert words in shown
        assert unsaid not in shown
        assert "Full fine-tuning" not in shown, "it would not have needed more"

    def test_a_failed_run_says_why_and_starts_again(self, web: Web, project: Project) -> None:
        run_id = start(web, project, preset="quick", epochs="3")
        with web.transaction() as session:
            run = lock(session, run_id)
            assert run is not None
            run.status = RunStatus.FAILED
            run.failure = {
                "code": "out_of_memory",
                "reason": "The memory was too small.",
                "next_step": "Choose a smaller model.",
                "details": "a trace",
                "permanent": True,
                "fitting_tokens": 96,
            }
        client = web.client_for(OWNER)
        text = client.page(f"/projects/{project.id}/runs/{run_id}")
        assert "The memory was too small." in text
        # The button that helps is the first: examples that fit, and all else as it was.
        changes = "epochs=3&amp;max_tokens_per_example=96"
        address = f"/training?preset=quick&amp;{changes}"
        assert f"/projects/{project.id}{address}" in text
        drawer = client.page(f"/projects/{project.id}{address.replace('&amp;', '&')}")
        assert 'value="96"' in drawer
        assert "Choose a smaller model." in text
        assert "a trace" not in text
        with web.transaction() as session:
            session.merge(web.user(OWNER)).is_admin = True
        text_for_administrators = client.page(f"/projects/{project.id}/runs/{run_id}")
        assert "a trace" in text_for_administrators
        answer = client.submit(f"/projects/{project.id}/runs/{run_id}/again")
        again = get_run(web.engine, answer.headers["location"].rpartition("/")[2])
        assert again.recipe["epochs"] == 3
        assert again.version_number == 2

    def test_what_the_machine_broke_off_can_go_on(self, web: Web, project: Project) -> None:
        run_id = start(web, project)
        with web.transaction() as session:
            run = lock(session, run_id)
            assert run is not None
            run.status, run.step = RunStatus.FAILED, 40
            run.failure = {
                "code": "worker_lost",
                "reason": "The worker stopped answering.",
                "next_step": "Look at the machine.",
                "details": "",
                "permanent": False,
            }
        client = web.client_for(OWNER)
        assert "Go on from step 40" in client.page(f"/projects/{project.id}/runs/{run_id}")
        client.submit(f"/projects/{project.id}/runs/{run_id}/continue")
        run = get_run(web.engine, run_id)
        assert (run.status, run.failure, run.finished_at) == (RunStatus.QUEUED, None, None)

    def test_the_forms_of_a_shared_view_carry_each_readers_own_token(
        self, web: Web, project: Project
    ) -> None:
        run_id = start(web, project)
        for email in (OWNER, TEAMMATE):
            client = web.client_for(email)
            text = client.page(f"/projects/{project.id}/runs/{run_id}")
            assert client.csrf_token in text
            assert "token-" not in text

    def test_a_viewer_looks_and_a_stranger_does_not(self, web: Web, project: Project) -> None:
        run_id = start(web, project)
        address = f"/projects/{project.id}/runs/{run_id}"
        assert "Stop the training" not in web.client_for(VIEWER).page(address)
        assert web.client_for(VIEWER).submit(f"{address}/cancel").status_code == 403
        for path in (address, f"{address}/events"):
            assert web.client_for(STRANGER).get(path).status_code == 404
        other = web.project("Another")
        foreign = f"/projects/{other.id}/runs/{run_id}"
        assert web.client_for(OWNER).get(foreign).status_code == 404
        assert web.client_for(OWNER).get(f"{foreign}/events").status_code == 404
