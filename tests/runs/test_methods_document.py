"""What is written about the methods is what the code says."""

from app.runs.methods import METHODS
from app.runs.methods_document import as_markdown, as_text
from tests.support.run_folders import REPOSITORY


def test_the_document_is_that_of_the_code() -> None:
    written = (REPOSITORY / "docs" / "methods.md").read_text(encoding="utf-8")
    assert written.rstrip("\n") == as_markdown().rstrip("\n"), "run: make methods-docs"


def test_every_method_is_in_it() -> None:
    assert len(as_text().splitlines()) == len(METHODS)
    assert all(f"## {spec.title}\n" in as_markdown() for spec in METHODS.values())
