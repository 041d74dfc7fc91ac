"""Pages: what they know by themselves, how they fail, and that they keep to the policy."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Request
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from app.errors import InvalidInputError
from app.web import templating
from app.web.templating import (
    STATIC_FOLDER,
    TEMPLATE_FOLDER,
    make_environment,
    page_numbers,
    render,
    render_fragment,
    static,
    with_query,
)


def request(path: str = "/", **state: object) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "query_string": b"",
            "state": dict(state),
        }
    )


def body(response: object) -> str:
    content = getattr(response, "body", b"")
    assert isinstance(content, bytes)
    return content.decode()


def test_a_page_works_without_user_token_or_messages() -> None:
    response = render(request(), "errors/error.html", {"what": "This page does not exist."}, 404)
    assert response.status_code == 404
    assert "<h1>This page does not exist.</h1>" in body(response)


def test_a_page_shows_who_is_signed_in_and_what_happened() -> None:
    user = SimpleNamespace(name="Ada <b>", email="ada@example.org", is_admin=False)
    page = body(
        render(
            request(
                user=user, csrf_token="secret", flashes=[("notice", "Saved."), ("problem", "<i>")]
            ),
            "base.html",
        )
    )
    assert "Signed in as Ada &lt;b&gt;" in page
    assert 'name="csrf_token" value="secret"' in page
    assert '<meta name="csrf-token" content="secret">' in page
    assert 'role="status"' in page
    assert 'role="alert"' in page
    assert "&lt;i&gt;" in page
    assert 'href="/people"' not in page


def test_only_administrators_see_the_people_page() -> None:
    user = SimpleNamespace(name="Ada", email="ada@example.org", is_admin=True)
    assert 'href="/people"' in body(render(request(user=user), "base.html"))


@pytest.mark.parametrize(
    ("path", "current"),
    [("/", "/"), ("/projects/1/chat", "/"), ("/base-models", "/base-models"), ("/account", None)],
)
def test_the_navigation_marks_where_the_reader_is(path: str, current: str | None) -> None:
    user = SimpleNamespace(name="Ada", email="ada@example.org", is_admin=True)
    page = body(render(request(path, user=user), "base.html"))
    marked = re.findall(r'<a href="([^"]+)" aria-current="page"', page)
    assert marked == ([current] if current else [])


def test_the_project_layout_shows_the_path_and_what_comes_next() -> None:
    step = SimpleNamespace(
        key="examples", title="Examples", state="done", url="/projects/1/examples", hint="12 ready"
    )
    page = body(
        render(
            request(
                stepper=[step],
                next_step=SimpleNamespace(sentence="Choose a base model.", url="/x", label=""),
            ),
            "layouts/project.html",
            {"project": SimpleNamespace(id="1", name="Mail"), "active_step": "examples"},
        )
    )
    assert 'class="step step--done"' in page
    assert 'aria-current="page"' in page
    assert "Choose a base model." in page


def test_a_form_keeps_its_token_when_macros_are_imported_without_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(monkeypatch, '{% from "macros/forms.html" import csrf_field %}{{ csrf_field() }}')
    assert 'value="t&#34;1"' in render_fragment("page.html", {}, form_token='t"1')
    assert 'value=""' in render_fragment("page.html", {})


def test_a_misspelt_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "{{ projct.name }}")
    with pytest.raises(UndefinedError):
        render(request(), "page.html", {"project": SimpleNamespace(name="x")})


def test_a_field_says_its_problem_to_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    show(
        monkeypatch,
        '{% from "macros/forms.html" import text_field %}'
        '{{ text_field("Name", "name", "x", hint="Short.", error=error) }}',
    )
    error = InvalidInputError("It is too long.", why="The limit is 10.", next_step="Shorten it.")
    html = render_fragment("page.html", {"error": error})
    assert 'aria-describedby="field-name-hint field-name-error"' in html
    assert 'aria-invalid="true"' in html
    assert "It is too long. The limit is 10. Shorten it." in html
    assert "aria-" not in render_fragment("page.html", {"error": ""}).replace(
        'aria-describedby="field-name-hint"', ""
    )


@pytest.mark.parametrize(
    ("value", "width"), [(-1, "0.0%"), (0, "0.0%"), (25, "25.0%"), (99, "99.0%")]
)
def test_progress_is_drawn_and_said(
    monkeypatch: pytest.MonkeyPatch, value: int, width: str
) -> None:
    show(
        monkeypatch,
        '{% from "macros/ui.html" import stitch_progress %}{{ stitch_progress(v, 100, "Work") }}',
    )
    html = render_fragment("page.html", {"v": value})
    assert f'class="stitches__done" width="{width}"' in html
    assert f'aria-valuenow="{max(value, 0)}"' in html


def test_static_addresses_change_with_the_contents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(templating, "STATIC_FOLDER", tmp_path)
    (tmp_path / "a.css").write_text("a{}")
    first = static("a.css")
    assert re.fullmatch(r"/static/a\.css\?v=[0-9a-f]{12}", first)
    assert static("a.css") == first
    (tmp_path / "a.css").write_text("b{color:red}")
    assert static("a.css") != first
    assert static("a.css", with_digest=False) == "/static/a.css"


def test_with_query() -> None:
    assert with_query("/x?q=a+b&page=2", page=3) == "/x?q=a+b&page=3"
    assert with_query("/x?page=2", page=None) == "/x"


@pytest.mark.parametrize(
    ("page", "pages", "expected"),
    [
        (1, 1, [1]),
        (1, 3, [1, 2, 3]),
        (4, 12, [1, 2, 3, 4, 5, None, 12]),
        (6, 12, [1, None, 5, 6, 7, None, 12]),
        (12, 12, [1, None, 11, 12]),
    ],
)
def test_page_numbers(page: int, pages: int, expected: list[int | None]) -> None:
    assert page_numbers(page, pages) == expected


# The pages are sent with "default-src 'self'": no browser would obey these.
FORBIDDEN = {
    "inline style": re.compile(r"\sstyle\s*="),
    "style element": re.compile(r"<style"),
    "inline script": re.compile(r"<script(?![^>]*\bsrc=)"),
    "inline handler": re.compile(r"<[^>]*\son[a-z]+\s*="),
    "foreign address": re.compile(r"(?:src|href)=\"(?:https?:)?//"),
}


@pytest.mark.parametrize(
    "template", sorted(TEMPLATE_FOLDER.rglob("*.html")), ids=lambda path: path.name
)
def test_no_template_breaks_the_content_policy(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert [name for name, pattern in FORBIDDEN.items() if pattern.search(text)] == []


def test_no_stylesheet_or_script_of_ours_asks_another_machine() -> None:
    files = [*STATIC_FOLDER.glob("css/*.css"), *STATIC_FOLDER.glob("js/*.js")]
    assert files
    assert [file.name for file in files if "://" in file.read_text(encoding="utf-8")] == []


def test_every_font_file_named_in_the_stylesheet_is_there() -> None:
    text = (STATIC_FOLDER / "css" / "fonts.css").read_text(encoding="utf-8")
    named = set(re.findall(r"fonts/([\w-]+\.woff2)", text))
    assert named == {file.name for file in (STATIC_FOLDER / "fonts").glob("*.woff2")}


def show(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Make `page.html` a template of this text, beside the real macros."""
    environment = make_environment()
    real = environment.loader
    assert real is not None
    pages = DictLoader({"page.html": source})
    monkeypatch.setattr(environment, "loader", ChoiceLoader([pages, real]), raising=True)
    monkeypatch.setattr(templating, "_environment", environment)


def test_no_template_uses_a_class_that_no_stylesheet_knows() -> None:
    sheets = " ".join(file.read_text(encoding="utf-8") for file in STATIC_FOLDER.glob("css/*.css"))
    known = set(re.findall(r"\.([a-z][\w-]*)", sheets))
    known |= {name.split("__")[0] for name in known}
    unknown = {
        f"{template.relative_to(TEMPLATE_FOLDER)}: {name}"
        for template in TEMPLATE_FOLDER.rglob("*.html")
        for name in written_classes(template.read_text(encoding="utf-8"))
        if name not in known
    }
    assert unknown == set()


def written_classes(text: str) -> set[str]:
    """The class names that stand in a template as they are; those put together are left out."""
    attributes = " ".join(re.findall(r'class="([^"]*)"', text))
    literal = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", attributes)
    return {name for name in literal.split() if re.fullmatch(r"[a-z][\w-]*[a-z0-9]", name)}
