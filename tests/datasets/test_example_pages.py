"""The pages of examples and imports, as people of each role use them."""

import html
import os
import re
import resource
import time
from pathlib import Path

import pytest
from markupsafe import escape

from app.datasets.errors import UploadTooLargeError
from app.datasets.importing import inspect_import, run_import
from app.datasets.tables import ImportStatus
from app.datasets.uploads import PASTED_NAME, IncomingFile, remove_abandoned_uploads
from app.sizes import filesize
from app.storage.folders import DiskFullError
from tests.support.uploads import MANY, all_examples, find, imported
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


def _import_id(url: str) -> str:
    return url.rsplit("/", 1)[1]


def test_from_upload_to_report(web: Web) -> None:
    project = web.project()
    owner = web.client_for(OWNER)
    examples_url = f"/projects/{project.id}/examples"
    assert "No examples yet" in owner.page(examples_url)
    status, url = _send(owner, f"{examples_url}/upload", TABLE.encode(), "Kunden%20%C3%84.csv")
    assert status == 200
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
    assert "Not as good:" in page
    assert "What do you want?" in page
    assert "Kind: card arrival" in page


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
    with web.transaction() as session:
        from app.datasets import service
        from app.datasets.content import NewExample

        examples = [NewExample(f"answer {i}", f"question number {i}") for i in range(120)]
        service.add_examples(session, project.id, examples)
    seen: list[str] = []
    page = owner.page(url)
    while True:
        seen += re.findall(r"question number (\d+)", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if following is None:
            break
        page = owner.page(html.unescape(following[1]))
    assert seen == [str(i) for i in range(119, -1, -1)]
    assert owner.get(f"{url}?after=1-x").status_code == 422
