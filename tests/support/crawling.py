"""Find every page that a signed-in person can reach by following links, one of each kind."""

import re
from collections.abc import Iterator

from tests.support.maker import Maker

# A page that is a file, a stream, or the way out.
_NO_PAGES = re.compile(r"/static/|/events|/download|\.csv$|\.zip$|/logout|/health")


def kind_of(path: str) -> str:
    """A path with its ids taken out, so that ten examples count as one page."""
    path = re.split("[#?]", path, maxsplit=1)[0]
    return re.sub(r"/(?=[^/]*\d)[0-9a-zA-Z_-]{1,64}(?=/|$)", "/*", path)


def links_on(maker: Maker) -> list[str]:
    """The paths that the page links to, on this Tailor."""
    addresses = maker.page.eval_on_selector_all("a[href]", "links => links.map(a => a.href)")
    return [
        address.removeprefix(maker.url)
        for address in addresses
        if address.startswith(f"{maker.url}/") and not _NO_PAGES.search(address)
    ]


def crawl(maker: Maker, first: tuple[str, ...] = ("/",)) -> Iterator[str]:
    """Go to one page of every kind; yields its path while it is open.

    Args:
        maker: who looks.
        first: where to begin; these are all visited, even where two are of a kind.
    """
    waiting = list(first)
    known = {kind_of(path) for path in first}
    while waiting:
        path = waiting.pop(0)
        maker.go(path)
        for link in links_on(maker):
            if kind_of(link) not in known:
                known.add(kind_of(link))
                waiting.append(link)
        yield path
