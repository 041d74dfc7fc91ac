"""Text out of HTML, for answers that were copied from web pages."""

import re
from html.parser import HTMLParser
from typing import Any, Final

_NAMES: Final = (
    "(?:p|br|div|a|b|i|u|em|strong|ul|ol|li|span|h[1-6]|table|tr|td|th|img|"
    "code|pre|blockquote|script|style|font|hr|sup|sub)"
)
_TAG: Final = re.compile(rf"</?{_NAMES}\b[^<>]*>", re.IGNORECASE)
# Code and sums hold what looks like an opening tag (“a <b and c> d”), but none of these.
_SURE_TAG: Final = re.compile(rf"</{_NAMES}>|<br ?/?>", re.IGNORECASE)
_BREAKS: Final = frozenset({"br", "tr", "hr"})
_PARAGRAPHS: Final = frozenset(
    {"p", "div", "ul", "ol", "table", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
)
_UNSHOWN: Final = frozenset({"script", "style", "template", "noscript"})
# Deeper than any text of a message stands in its row; what is nested without end stays as it is.
_LEVELS: Final = 10


def has_html(text: str) -> bool:
    return "<" in text and _TAG.search(text) is not None


def surely_has_html(text: str) -> bool:
    """Say whether it has HTML that cannot be taken for anything else."""
    return "<" in text and _SURE_TAG.search(text) is not None


def text_of_html(text: str) -> str:
    """Return what a browser would show as text; text without tags stays as it is."""
    if not has_html(text):
        return text
    parser = _TextParser()
    parser.feed(text.replace("\r\n", "\n"))
    parser.close()
    joined = re.sub(r"[ \t\xa0]+", " ", "".join(parser.parts))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", joined)).strip()


def without_html(value: Any, levels: int = _LEVELS) -> Any:  # noqa: ANN401 (JSON is anything)
    """Return a value of a row with the text of HTML wherever a text stands in it."""
    if isinstance(value, str):
        return text_of_html(value)
    if levels and isinstance(value, list):
        return [without_html(item, levels - 1) for item in value]
    if levels and isinstance(value, dict):
        return {name: without_html(item, levels - 1) for name, item in value.items()}
    return value


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unshown = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNSHOWN:
            self._unshown += 1
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in _BREAKS:
            self.parts.append("\n")
        elif tag in _PARAGRAPHS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSHOWN:
            self._unshown = max(0, self._unshown - 1)
        elif tag in _PARAGRAPHS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._unshown:
            self.parts.append(data)
