"""What a person sees when a file is not what it seems: a sentence at the place, nothing lost."""

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.support.house import House

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
]

_GOOD = "Question,Answer\n" + "".join(f"How many {n}?,There are {n}.\n" for n in range(3))


def _file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "text/csv", "buffer": content}


def _sentence(page: Page) -> str:
    return page.locator(".notice--problem:visible, .field__error:visible").first.inner_text()


def test_a_file_that_cannot_be_used_is_refused_where_it_was_given(embedded: House) -> None:
    with embedded.maker() as maker:
        page = maker.page
        project = maker.new_project("Bad files")
        page.locator("input[type=file]").set_input_files(_file("good.csv", _GOOD.encode()))
        page.wait_for_url("**/imports/*")
        maker.press("Import")
        expect(page.get_by_role("heading", name="What became of your file")).to_be_visible()

        maker.go(f"{project}/examples")
        page.locator("input[type=file]").set_input_files(_file("nothing.csv", b""))
        expect(page.locator(".notice--problem:visible").first).to_be_visible()
        assert "empty" in _sentence(page).lower()

        picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
        maker.upload(project, _file("table.csv", picture))
        expect(page.get_by_role("heading", name="This file cannot be used")).to_be_visible()
        assert "table.csv" in page.locator("main").inner_text()
        assert len(_sentence(page)) > 40

        maker.upload(project, _file("broken.csv", b'Question,Answer\n"Where is it?,Here\nNo,end\n'))
        maker.press("Import")
        expect(page.get_by_role("heading", name="What became of your file")).to_be_visible()
        assert "1" in page.locator(".stat", has_text="Added").inner_text()
        left_out = page.get_by_role("table").locator("tbody tr")
        expect(left_out.filter(has_text="Where is it?")).to_contain_text("quotation mark")

        maker.go(f"{project}/examples")
        expect(page.get_by_role("heading", name="4 examples")).to_be_visible()


def test_three_examples_are_too_few_and_the_pages_say_so(embedded: House) -> None:
    with embedded.maker() as maker:
        page = maker.page
        project = maker.new_project("Few")
        page.locator("input[type=file]").set_input_files(_file("few.csv", _GOOD.encode()))
        page.wait_for_url("**/imports/*")
        maker.press("Import")
        expect(page.get_by_role("heading", name="What became of your file")).to_be_visible()
        maker.go(f"{project}/examples")
        expect(page.locator(".notice").filter(has_text="only 3 examples")).to_be_visible()
        maker.go(f"{project}/base-model")
        maker.press("Use this one")
        maker.go(f"{project}/training")
        expect(page.locator("main")).to_contain_text("fewer than 20 examples")


def test_a_wrong_setting_is_marked_at_its_field_and_stays_typed(embedded: House) -> None:
    with embedded.maker() as maker:
        page = maker.page
        maker.try_sample("reports")
        page.get_by_text("Settings for experts").click()
        page.locator("input[name=epochs]").fill("many")
        maker.press("Start training")
        field = page.locator("input[name=epochs]")
        expect(field).to_be_visible()
        expect(field).to_have_value("many")
        expect(field).to_have_attribute("aria-invalid", "true")
