"""Where signing in may lead."""

import pytest

from app.web.entrance import safe_next


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/", "//evil.test", "///evil.test", "/\\evil.test", "/\t/evil.test",
        "\\/evil.test", "evil.test", "javascript:alert(1)", "/\r\nSet-Cookie: a=b", "", " /a",
    ],
)  # fmt: skip
def test_it_never_leads_to_another_site(target: str) -> None:
    assert safe_next(target) == "/"


@pytest.mark.parametrize("target", ["/", "/account", "/projects/1/examples?page=2&q=ä"])
def test_it_leads_back_to_a_page_of_ours(target: str) -> None:
    assert safe_next(target) == target
