"""The pages of examples and imports, as people of each role use them."""

import html
import os
import re
import resource
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from markupsafe import escape

from app.clock import now
from app.database.session import transaction
from app.datasets.content import NewExample
from app.datasets.errors import UploadTooLargeError
from app.datasets.importing import inspect_import, pending_imports, run_import
from app.datasets.service import add_examples
from app.datasets.tables import Import, ImportStatus
from app.datasets.uploads import PASTED_NAME, IncomingFile, remove_abandoned_uploads
from app.jobs import INSPECT_IMPORT
from app.sizes import filesize
from app.storage.folders import DiskFullError
from tests.support.uploads import MANY, all_examples, confirmed, find, imported
from tests.support.web import BASE_URL, OWNER, STRANGER, TEAMMATE, VIEWER, Client, Web

TABLE = "Frage;Antwort;Nr\n" + "".join(f"Frage {i}?;<b>Antwort</b> {i};{i}\n" for i in range(30))


def _send(client: Client, url: str, content: bytes, name: str = "file.csv") -> tuple[int, str]:
    """Upload as upload.js does."""
    response = client.post(
        url,
        content=content,
        headers={
            "origin": BASE_URL,
            "accept": "application/json",
            "x-csrf-token": client.csrf_token,
            "x-file-name": name,
        },
    )
    body = response.json()
    return response.status_code, body["url"] if "url" in body else body["error"]["what"]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _pending_imports(web: Web) -> list[tuple[str, str]]:
    with transaction(web.engine, read_only=True) as session:
        return pending_imports(session)


def _import_id(url: str) -> str:
    return url.rsplit("/", 1)[1]


def test_from_upload_to_report(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    examples_url = f"/projects/{project.id}/examples"
    assert "No examples yet" in owner.page(examples_url)
    status, url = _send(owner, f"{examples_url}/upload", TABLE.encode(), "Kunden%20%C3%84.csv")
    assert status == 200
    web.let_a_worker_be_there()
    assert "Waiting for a free worker" in owner.page(url)
    assert owner.get(f"{url}/progress").headers["x-import-status"] == "uploaded"
    inspect_import(web.engine, web.storage, _import_id(url), "test")
    page = owner.page(url)
    assert "Kunden Ä.csv" in page
    assert "separated by semicolons" in page
    assert "Remove HTML" in page
    assert "&lt;b&gt;Antwort&lt;/b&gt; 0" in page
    form = {"roles": ["question", "answer", "ignore"], "has_header": "yes", "strips_html": "yes"}
    preview = owner.submit(url, {**form, "roles": ["answer", "question", "ignore"]})
    assert preview.status_code == 200
    assert "Is this right?" in preview.text
    wrong = owner.submit(url, {**form, "roles": ["ignore"] * 3, "action": "import"})
    assert wrong.status_code == 422
    assert "Every column is left out." in wrong.text
    assert owner.submit(url, {**form, "action": "import"}).status_code == 303
    run_import(web.engine, web.storage, _import_id(url), "test", MANY)
    assert "What became of your file" in owner.page(url)
    listing = owner.page(examples_url)
    assert "30\N{NO-BREAK SPACE}examples" in listing
    assert "Antwort 29" in listing
    assert "Frage 7?" in owner.page(f"{examples_url}?search=frage+7%3F")
    assert "Imported" in owner.page(f"/projects/{project.id}/imports")


def test_upload_without_scripts(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples/upload"
    response = owner.submit(url, files={"file": ("../../x\u202egpj.csv", TABLE.encode())})
    assert response.status_code == 303
    import_id = _import_id(response.headers["location"])
    assert find(web.engine, project.id, import_id).file_name == "xgpj.csv"
    assert web.storage.path("uploads", import_id, "source").read_bytes() == TABLE.encode()
    nothing = owner.submit(url, {"more": "x"}, files={"other": (None, b"text")})
    assert nothing.status_code == 422
    assert "No file arrived." in nothing.text
    assert list(web.storage.path("tmp").glob("upload-*")) == []


def test_a_large_form_is_found_whole(web: Web) -> None:
    project = web.project()
    content = os.urandom(3_000_000)
    response = web.client_for(OWNER).submit(
        f"/projects/{project.id}/examples/upload", files={"file": ("big.bin", content)}
    )
    import_id = _import_id(response.headers["location"])
    assert web.storage.path("uploads", import_id, "source").read_bytes() == content


@pytest.mark.parametrize("name", ["%00", "x" * 3_000, "%ff%fe", "<script>alert(1)</script>", ""])
def test_hostile_names_are_only_shown(web: Web, name: str) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    status, url = _send(owner, f"/projects/{project.id}/examples/upload", b"a,b\nc,d\n", name)
    assert status == 200
    page = owner.page(url)
    assert "<script>alert" not in page
    assert "\x00" not in page
    assert len(find(web.engine, project.id, _import_id(url)).file_name) <= 120


def test_empty_and_too_large_files_leave_nothing(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples/upload"
    assert _send(owner, url, b"") == (422, "This file is empty.")
    limit = web.settings.max_upload_bytes
    object.__setattr__(web.settings, "max_upload_bytes", 1_000)
    status, what = _send(owner, url, b"x" * 2_000)
    object.__setattr__(web.settings, "max_upload_bytes", limit)
    assert (status, what) == (413, "This file is larger than 1\N{NO-BREAK SPACE}kB.")
    assert list(web.storage.path("tmp").glob("upload-*")) == []
    assert list(web.storage.path("uploads").iterdir()) == []
    assert "No examples yet" in owner.page(f"/projects/{project.id}/examples")


def test_a_disk_that_fills_during_an_upload(web: Web) -> None:
    project = web.project()
    imported(web.engine, web.storage, project.id, TABLE)
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024**2, before[1]))
    try:
        status, what = _send(owner, f"{url}/upload", b"x" * (12 * 1024**2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, what) == (507, "The disk of this machine is full.")
    assert list(web.storage.path("tmp").glob("upload-*")) == []
    assert "Frage 29?" in owner.page(url)


def test_a_full_disk_is_told_in_sizes_people_know() -> None:
    why = DiskFullError(2_100_000_000, 400_000_000).why.replace("\N{NO-BREAK SPACE}", " ")
    assert why == "There must be 2.1 GB of room, and 400 MB is free."


def test_the_limit_is_named_alike_before_and_after(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    limit = filesize(web.settings.max_upload_bytes)
    assert f"up to {limit}." in owner.page(f"/projects/{project.id}/examples")
    incoming = IncomingFile(web.storage, web.settings.max_upload_bytes)
    with pytest.raises(UploadTooLargeError, match=f"larger than {limit}"):
        incoming.expect(web.settings.max_upload_bytes + 1)


def test_pieces_of_long_texts_are_counted_as_pieces(web: Web) -> None:
    project = web.project()
    rows = "".join(f"{number}. {'A sentence of five words. ' * 150}\n" for number in range(3))
    entry = imported(web.engine, web.storage, project.id, f"text\n{rows}")
    page = plain(web.client_for(OWNER).page(f"/projects/{project.id}/imports/{entry.id}"))
    assert entry.report is not None
    assert entry.report["added"] > 3
    assert f"3 rows became {entry.report['added'] + entry.report['duplicates']} pieces" in page


def test_rows_that_were_not_added_stand_in_their_order_with_all_reasons(
    web: Web,
) -> None:
    project = web.project()
    rows = "Hi?,There.\nHi?,There.\nWhat?,\nHow?,So.\nHow?,So.\nWho?,\n"
    entry = imported(web.engine, web.storage, project.id, "question,answer\n" + rows)
    assert entry.report is not None
    assert [row["row"] for row in entry.report["details"]] == [3, 4, 6, 7]
    page = plain(web.client_for(OWNER).page(f"/projects/{project.id}/imports/{entry.id}"))
    assert "2 rows: The answer is empty." in page
    assert "2 rows: It is an exact copy of another example." in page
    assert "Rows that were not added" in page


def test_what_a_killed_process_left_is_removed_after_an_hour(web: Web) -> None:
    young, old = (web.storage.path("tmp", f"upload-{name}") for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 4_000,) * 2)
    assert remove_abandoned_uploads(web.storage) == 1
    assert young.exists()


def test_paste(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples/paste"
    response = owner.submit(url, {"text": "Q: Hi?\r\nA: There.\r\n"})
    assert response.status_code == 303
    import_id = _import_id(response.headers["location"])
    inspect_import(web.engine, web.storage, import_id, "test")
    assert find(web.engine, project.id, import_id).status == ImportStatus.AWAITING_MAPPING
    # Beyond what a form's field holds by default, and within what the page allows.
    long = owner.submit(url, {"text": "Q: Hi?\r\nA: " + "There. " * 200_000})
    assert long.status_code == 303
    nothing = owner.submit(url, {"text": "  "})
    assert nothing.status_code == 422
    assert "There is nothing to import yet." in nothing.text
    too_much = owner.submit(url, {"text": "x" * (5 * 1024**2)})
    assert too_much.status_code == 413
    assert "upload it as a file" in too_much.text


def test_what_was_pasted_and_cannot_be_read_is_there_to_be_mended(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    pasted = '[{"question": "Is <this> kept?", "answer'
    response = owner.submit(f"/projects/{project.id}/examples/paste", {"text": pasted})
    import_id = _import_id(response.headers["location"])
    inspect_import(web.engine, web.storage, import_id, "test")
    page = owner.page(f"/projects/{project.id}/imports/{import_id}")
    assert "This text cannot be used as it is" in page
    assert escape(pasted) in page
    assert f'action="/projects/{project.id}/examples/paste"' in page


def test_a_file_that_is_named_like_a_pasted_text_has_its_report(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    _, address = _send(
        owner, f"/projects/{project.id}/examples/upload", b"\x89PNG\r\n\x1a\n\xff", PASTED_NAME
    )
    import_id = _import_id(address)
    inspect_import(web.engine, web.storage, import_id, "test")
    assert "This file cannot be used" in owner.page(f"/projects/{project.id}/imports/{import_id}")


def test_write_change_and_delete_by_hand(web: Web) -> None:
    project = web.project()
    teammate = web.client_for(TEAMMATE)
    url = f"/projects/{project.id}/examples"
    empty = teammate.submit(f"{url}/new", {"question": "<i>Only</i> this", "answer": ""})
    assert empty.status_code == 422
    assert html.escape("<i>Only</i> this") in empty.text
    assert "The answer is empty." in empty.text
    assert teammate.submit(f"{url}/new", {"question": "Hi?", "answer": "There"}).status_code == 303
    copy = teammate.submit(f"{url}/new", {"question": "Hi?", "answer": "There"})
    assert copy.status_code == 409
    assert "is in the project already" in copy.text
    [example] = all_examples(web.engine, project.id)
    assert "Hi?" in teammate.page(f"{url}/{example.id}")
    changed = teammate.submit(f"{url}/{example.id}", {"question": "Hi?", "answer": "Here"})
    assert changed.status_code == 303
    assert all_examples(web.engine, project.id)[0].answer == "Here"
    assert teammate.submit(f"{url}/{example.id}/delete").status_code == 303
    assert all_examples(web.engine, project.id) == []


def test_two_answers_and_kinds_by_hand(web: Web) -> None:
    project = web.project()
    teammate = web.client_for(TEAMMATE)
    url = f"/projects/{project.id}/examples"
    assert "Answer that is not as good" in teammate.page(f"{url}/new?shape=pair")
    pair = {"shape": "pair", "question": "Hi?", "answer": "Hello.", "rejected": ""}
    refused = teammate.submit(f"{url}/new", pair)
    assert refused.status_code == 422
    assert "The second answer is empty." in refused.text
    assert "Answer that is not as good" in refused.text
    for fields in (
        {**pair, "rejected": "What do you want?"},
        {"shape": "label", "question": "Where is my card?", "answer": "card arrival"},
    ):
        assert teammate.submit(f"{url}/new", fields).status_code == 303
    page = plain(teammate.page(url))
    assert "Not as good" in page
    assert "What do you want?" in page
    assert "Kind: card arrival" in page


def _shown_hash(page: str) -> str:
    match = re.search(r'name="shown_hash" value="(\w+)"', page)
    assert match is not None
    return match[1]


def test_nobody_writes_over_what_someone_else_wrote_meanwhile(web: Web) -> None:
    project = web.project()
    owner, teammate = web.client_for(OWNER), web.client_for(TEAMMATE)
    url = f"/projects/{project.id}/examples"
    owner.submit(f"{url}/new", {"question": "Hi?", "answer": "There"})
    [example] = all_examples(web.engine, project.id)
    one = f"{url}/{example.id}"
    form = {"question": "Hi?", "shown_hash": _shown_hash(owner.page(one))}
    assert teammate.submit(one, {**form, "answer": "Of the teammate"}).status_code == 303
    refused = owner.submit(one, {**form, "answer": "Of the owner"})
    assert refused.status_code == 409
    assert "Someone changed this example meanwhile" in refused.text
    assert "Of the teammate" in refused.text
    assert "Of the owner</textarea>" in refused.text
    assert all_examples(web.engine, project.id)[0].answer == "Of the teammate"
    # Another mistake in between does not make anybody overlook it.
    mistaken = owner.submit(one, {**form, "answer": ""})
    assert mistaken.status_code == 422
    assert _shown_hash(mistaken.text) == form["shown_hash"]
    # Whoever has seen both may save theirs, or both alike.
    seen = _shown_hash(refused.text)
    again = owner.submit(one, {**form, "answer": "Of both", "shown_hash": seen})
    assert again.status_code == 303
    assert teammate.submit(one, {**form, "answer": "Of both"}).status_code == 303
    assert all_examples(web.engine, project.id)[0].answer == "Of both"


@pytest.mark.parametrize("shape", ["answer", "pair"])
def test_what_was_written_into_an_example_that_someone_deleted_is_kept(
    web: Web, shape: str
) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    form = {"shape": shape, "question": "Hi?", "answer": "There", "rejected": "What?"}
    owner.submit(f"{url}/new", form)
    [example] = all_examples(web.engine, project.id)
    one = f"{url}/{example.id}"
    shown = _shown_hash(owner.page(one))
    assert web.client_for(TEAMMATE).submit(f"{one}/delete").status_code == 303
    refused = owner.submit(one, {**form, "answer": "Long thought over", "shown_hash": shown})
    assert refused.status_code == 409
    assert "Someone deleted this example meanwhile." in refused.text
    assert "Long thought over</textarea>" in refused.text
    assert f'action="{url}/new"' in refused.text
    assert f'name="shape" value="{shape}"' in refused.text
    assert owner.submit(f"{url}/new", {**form, "answer": "Long thought over"}).status_code == 303
    assert all_examples(web.engine, project.id)[0].answer == "Long thought over"


def test_whoever_deletes_an_upload_hears_which_later_files_held_its_rows(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    first = "".join(f"Question {i}?,Answer {i}.\n" for i in range(10))
    mended = first + "Question 10?,Answer 10.\nQuestion 11?,Answer 11.\n"

    def bring(name: str, rows: str) -> str:
        content = f"question,answer\n{rows}"
        entry = imported(web.engine, web.storage, project.id, content, name=name)
        return f"/projects/{project.id}/imports/{entry.id}"

    bring("before.csv", "Early?,Bird.\nEarly?,Bird.\n")
    first_url, mended_url = bring("first.csv", first), bring("mended.csv", mended)
    bring("other.csv", "Other?,Matter.\n")
    warning = "Rows that a later file held as well will be gone too."
    page = owner.page(first_url)
    assert warning in page
    assert "dropped from “mended.csv”." in page
    assert warning not in owner.page(mended_url)
    owner.submit(f"{first_url}/delete")
    answers = [example.answer for example in all_examples(web.engine, project.id)]
    assert sorted(answers) == ["Answer 10.", "Answer 11.", "Bird.", "Matter."]
    bring("mended.csv", mended)
    assert len(all_examples(web.engine, project.id)) == 14, "what the page promises"


def test_who_may_only_look_is_not_told_to_act(web: Web) -> None:
    project = web.project()
    owner, viewer = web.client_for(OWNER), web.client_for(VIEWER)
    base = f"/projects/{project.id}"
    for address, sentence, button in (
        ("training", "An owner or editor of this project has to add them.", "Add examples"),
        ("versions", "An owner or editor of this project has to train one.", "Go to training"),
    ):
        assert sentence in viewer.page(f"{base}/{address}")
        assert f">{button}</a>" not in viewer.page(f"{base}/{address}")
        assert sentence not in owner.page(f"{base}/{address}")
        assert f">{button}</a>" in owner.page(f"{base}/{address}")
    _, upload = _send(owner, f"{base}/examples/upload", TABLE.encode())
    inspect_import(web.engine, web.storage, _import_id(upload), "test")
    has_to_say = "An owner or editor of this project has to say whether Tailor understood"
    for address in (f"{base}/examples", upload):
        assert has_to_say in viewer.page(address)
        assert has_to_say not in owner.page(address)
    assert "Is this right?" not in viewer.page(upload)
    assert "waits for you" not in viewer.page(f"{base}/examples")
    choose = "An owner or editor of this project has to choose"
    assert choose in viewer.page(f"{base}/chat")
    assert choose not in owner.page(f"{base}/chat")
    owner.submit(f"{base}/examples/new", {"question": "Hi?", "answer": "There"})
    assert choose in viewer.page(f"{base}/training")
    assert ">Choose a base model</a>" not in viewer.page(f"{base}/training")


def test_the_kind_of_example_that_is_written_is_marked(web: Web) -> None:
    project = web.project()
    page = web.client_for(OWNER).page(f"/projects/{project.id}/examples/new?shape=pair")
    assert re.findall(r'aria-current="true">([^<]+?)\s*<', page) == ["Two answers, one better"]


def test_an_example_that_may_only_be_looked_at_cannot_be_typed_into(web: Web) -> None:
    project = web.project()
    thumb = NewExample(question="Hi?", answer="There", is_liked=False)
    kind = NewExample(question="Hi?", answer="greeting", is_label=True)
    with web.transaction() as session:
        add_examples(session, project.id, [thumb, kind])
    for example in all_examples(web.engine, project.id):
        url = f"/projects/{project.id}/examples/{example.id}"
        page, edited = web.client_for(VIEWER).page(url), web.client_for(OWNER).page(url)
        assert "You may look at this example, but not change it." in page
        assert "You may look" not in edited
        fields = re.findall(r'<(?:textarea|input|select)[^>]* id="field-[^>]*>', page)
        assert fields
        assert all(" readonly" in field for field in fields), fields
        assert " readonly" not in edited
    assert "Thumb down" in web.client_for(VIEWER).page(f"/projects/{project.id}/examples")


def test_viewers_look_and_strangers_see_nothing(web: Web) -> None:
    project = web.project()
    owner, viewer, stranger = (web.client_for(email) for email in (OWNER, VIEWER, STRANGER))
    url = f"/projects/{project.id}/examples"
    _, import_url = _send(owner, f"{url}/upload", TABLE.encode())
    inspect_import(web.engine, web.storage, _import_id(import_url), "test")
    for page in (url, import_url, f"/projects/{project.id}/imports"):
        text = viewer.page(page)
        assert "data-upload" not in text
        assert 'value="import"' not in text
        assert stranger.get(page).status_code == 404
    assert _send(viewer, f"{url}/upload", b"x")[0] == 403
    assert _send(stranger, f"{url}/upload", b"x")[0] == 404
    assert viewer.submit(import_url, {"roles": ["question"], "action": "import"}).status_code == 403
    other = web.project("Another")
    foreign = f"/projects/{other.id}/imports/{_import_id(import_url)}"
    assert owner.get(foreign).status_code == 404
    assert owner.submit(f"{foreign}/delete").status_code == 404


def test_who_sees_wrong_letters_chooses_another_encoding(web: Web) -> None:
    project = web.project()
    owner, viewer, stranger = (web.client_for(email) for email in (OWNER, VIEWER, STRANGER))
    content = "otázka;odpověď\nKde je můj balík?;Příští týden.\n".encode("cp1250")
    _, url = _send(owner, f"/projects/{project.id}/examples/upload", content)
    import_id = _import_id(url)
    inspect_import(web.engine, web.storage, import_id, "test")
    page = owner.page(url)
    assert "Pøíští týden." in page
    assert "Do letters look wrong?" in page
    assert '<option value="cp1252" selected>' in page
    assert "Do letters look wrong?" not in viewer.page(url)

    chosen = {"encoding": "cp1250"}
    assert viewer.submit(f"{url}/encoding", chosen).status_code == 403
    assert stranger.submit(f"{url}/encoding", chosen).status_code == 404
    assert owner.submit(f"{url}/encoding", {"encoding": "zlib"}).status_code == 422
    assert owner.submit(f"{url}/encoding", chosen).headers["location"] == url
    assert "Waiting for a free worker" in owner.page(url) or "Nobody is there" in owner.page(url)
    assert owner.submit(f"{url}/encoding", chosen).status_code == 409

    assert _pending_imports(web) == [(INSPECT_IMPORT, import_id)]
    inspect_import(web.engine, web.storage, import_id, "test")
    page = owner.page(url)
    assert "Příští týden." in page
    assert "in the encoding that you chose" in page
    owner.submit(url, {"roles": ["question", "answer"], "has_header": "yes", "action": "import"})
    run_import(web.engine, web.storage, import_id, "test", MANY)
    [example] = all_examples(web.engine, project.id)
    assert example.answer == "Příští týden."


def test_utf_8_is_no_guess(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    _, url = _send(owner, f"/projects/{project.id}/examples/upload", TABLE.encode())
    inspect_import(web.engine, web.storage, _import_id(url), "test")
    assert "Do letters look wrong?" not in owner.page(url)


def test_a_report_names_every_row_and_offers_the_list(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    content = b"question,answer\n<script>alert(1)</script>,\nWhat?,That.\n"
    _, url = _send(owner, f"/projects/{project.id}/examples/upload", content)
    import_id = _import_id(url)
    inspect_import(web.engine, web.storage, import_id, "test")
    roles = {"roles": ["question", "answer"], "has_header": "yes", "action": "import"}
    owner.submit(url, roles)
    run_import(web.engine, web.storage, import_id, "test", MANY)
    page = owner.page(url)
    assert "The answer is empty." in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    download = owner.get(f"{url}/left-out.csv")
    assert download.status_code == 200
    assert "attachment" in download.headers["content-disposition"]
    assert "2,<script>alert(1)</script>,The answer is empty." in download.text
    assert owner.submit(f"{url}/delete").status_code == 303
    assert owner.get(url).status_code == 404
    assert not Path(web.storage.path("uploads", import_id)).exists()


def test_many_examples_are_deleted_in_short_transactions(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.datasets.service.DELETE_AT_ONCE", 10)
    project = web.project()
    entry = imported(web.engine, web.storage, project.id, TABLE.replace("Frage;Antwort", "Q;A"))
    assert len(all_examples(web.engine, project.id)) == 30
    answer = web.client_for(OWNER).submit(f"/projects/{project.id}/imports/{entry.id}/delete")
    assert answer.status_code == 303
    assert all_examples(web.engine, project.id) == []


def test_pages_of_a_long_list(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    _add_questions(web, project.id, 120)
    seen: list[str] = []
    address: str | None = url
    while address is not None:
        page = owner.page(address)
        seen += re.findall(r"question number (\d+)", page)
        address = _following(page)
    assert seen == [str(i) for i in range(119, -1, -1)]
    assert owner.get(f"{url}?after=1-x").status_code == 422


def _add_questions(web: Web, project_id: str, count: int) -> None:
    examples = [NewExample(f"answer {i}", f"question number {i}") for i in range(count)]
    with web.transaction() as session:
        add_examples(session, project_id, examples)


def _following(page: str) -> str | None:
    """Return the address of the next page of a list, if there is one."""
    link = re.search(r'href="([^"]+)" rel="next"', page)
    return html.unescape(link[1]) if link else None


def _first_example(page: str) -> str:
    """Return where the first example of a list is opened."""
    link = re.search(r'<a href="([^"]+)">Edit<span', page)
    assert link is not None
    return html.unescape(link[1])


@pytest.mark.parametrize("action", ["", "/delete"])
def test_who_changed_an_example_is_back_on_the_same_page_of_the_same_search(
    web: Web, action: str
) -> None:
    project = web.project()
    _add_questions(web, project.id, 120)
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    here = _following(owner.page(f"{url}?search=number&order=oldest"))
    assert here is not None
    opened = _first_example(owner.page(here))
    form = owner.page(opened)
    assert form.count(f'href="{escape(here)}"') == 2, "Cancel, and the way above the title"
    back = re.search(r'name="back" value="([^"]+)"', form)
    assert back is not None
    answers = {"question": "question number 1", "answer": "mended", "back": html.unescape(back[1])}
    refused = owner.submit(opened.partition("?")[0], {**answers, "answer": ""})
    assert f'name="back" value="{back[1]}"' in refused.text
    done = owner.submit(opened.partition("?")[0] + action, answers)
    assert (done.status_code, done.headers["location"]) == (303, here)


def test_a_new_example_is_seen_even_if_it_was_begun_from_a_search(web: Web) -> None:
    project = web.project()
    _add_questions(web, project.id, 3)
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    here = f"{url}?search=number+2"
    begun = re.search(r'href="([^"]+/new[^"]*)"', owner.page(here))
    assert begun is not None
    form = owner.page(html.unescape(begun[1]))
    assert form.count(f'href="{here}"') == 2, "Cancel, and the way above the title"
    other_kind = re.search(r'href="([^"]+shape=pair[^"]*)"', form)
    assert other_kind is not None
    assert f'name="back" value="{here}"' in owner.page(html.unescape(other_kind[1]))
    done = owner.submit(f"{url}/new", {"question": "Hi?", "answer": "Hello.", "back": here})
    assert done.headers["location"] == url
    assert "Hi?" in owner.page(url)


def test_the_way_back_leads_nowhere_but_to_the_list(web: Web) -> None:
    project, other = web.project(), web.project("Another")
    _add_questions(web, project.id, 1)
    owner = web.client_for(OWNER)
    url = f"/projects/{project.id}/examples"
    opened = _first_example(owner.page(url))
    form = {"question": "question number 0", "answer": "mended"}
    for target in (
        "https://evil.test/",
        f"//evil.test{url}",
        f"{url}@evil.test",
        f"{url}/../../../logout",
        f"/projects/{other.id}/examples?search=x",
        "/account",
        "",
    ):
        done = owner.submit(opened, {**form, "back": target})
        assert done.headers["location"] == url, target
        page = owner.page(f"{opened}?{urlencode({'back': target})}")
        assert f'name="back" value="{url}"' in page, target


def test_a_page_whose_last_example_is_deleted_gives_way_to_the_first(web: Web) -> None:
    project = web.project()
    _add_questions(web, project.id, 51)
    owner = web.client_for(OWNER)
    here = _following(owner.page(f"/projects/{project.id}/examples"))
    assert here is not None
    opened = _first_example(owner.page(here))
    owner.submit(f"{opened.partition('?')[0]}/delete", {"back": here})
    assert "question number 50" in owner.page(here)


def test_an_upload_that_waits_is_found_however_many_came_after_it(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    moment = now()
    with web.transaction() as session:
        for number in range(120):
            # Some were uploaded at the very same moment.
            uploaded = moment + timedelta(microseconds=number // 3)
            entry = Import(
                project_id=project.id,
                file_name=f"file {number:03d}.csv",
                status=ImportStatus.IMPORTED,
                created_at=uploaded,
            )
            session.add(entry)
        entry.created_at, entry.file_name = moment - timedelta(days=30), "forgotten.csv"
        entry.status = ImportStatus.AWAITING_MAPPING
    listing = owner.page(f"/projects/{project.id}/examples")
    assert "“forgotten.csv” waits for you." in listing
    seen: list[str] = []
    address: str | None = f"/projects/{project.id}/imports"
    while address is not None:
        page = owner.page(address)
        seen += re.findall(r">(file \d+|forgotten)\.csv", page)
        assert plain(page).count("120 uploads") == 1
        last, address = address, _following(page)
    assert len(seen) == len(set(seen)) == 120
    assert seen[-1] == "forgotten"
    back = re.search(r'href="([^"]+)" rel="prev"', owner.page(last))
    assert back is not None
    assert re.findall(r">(file \d+)\.csv", owner.page(html.unescape(back[1]))) == seen[50:100]
    assert owner.get(f"/projects/{project.id}/imports?after=1-x").status_code == 422


def test_without_a_worker_nobody_is_told_that_it_takes_a_moment(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    _, url = _send(owner, f"/projects/{project.id}/examples/upload", TABLE.encode())
    for address in (url, f"{url}/progress"):
        page = owner.page(address)
        assert "Nobody is there to read it." in page
        assert "Ask the person who runs Tailor to start one" in page
        assert "in a moment" not in page
    assert "nobody is there to read it" in owner.page(f"/projects/{project.id}/examples")
    web.let_a_worker_be_there()
    page = owner.page(f"{url}/progress")
    assert "Nobody is there" not in page
    assert "reads it in a moment" in page
    assert "is being read." in owner.page(f"/projects/{project.id}/examples")


def test_without_a_worker_a_confirmed_import_does_not_begin_by_itself(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    import_id = confirmed(web.engine, web.storage, project.id, TABLE)
    url = f"/projects/{project.id}/imports/{import_id}"
    assert "Nobody is there to import it." in owner.page(url)
    web.let_a_worker_be_there()
    assert "begins by itself" in owner.page(url)


def test_a_preview_says_how_each_thumb_is_understood(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    rows = b"prompt,completion,label\nHi?,Hello.,true\nOh?,What.,no\nWell?,Yes.,perhaps\n"
    _, url = _send(owner, f"/projects/{project.id}/examples/upload", rows)
    inspect_import(web.engine, web.storage, _import_id(url), "test")
    # "perhaps" among so few is no column of thumbs by itself; the maker says that it is.
    roles = {"roles": ["question", "answer", "thumb"], "has_header": "yes", "action": "preview"}
    page = plain(owner.submit(url, roles).text)
    assert "Thumb up" in page
    assert "Thumb down" in page
    assert "Neither up nor down: perhaps" in page
