"""The model hub: what a repository holds, and its files in byte ranges.

Speaks the hub's public HTTP interface (https://huggingface.co/docs/hub/api and the /resolve/
paths), so any server that does the same can stand in its place (HF_ENDPOINT). Nothing it answers
is believed: names, sizes and lengths are checked before anything is written.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from app.base_models.files import WANTED_NAMES
from app.base_models.safety import WEIGHT_NAME, UnsafeModelError
from app.base_models.vetted_http import VettedTransport
from app.errors import DomainError, UnavailableError
from app.version import VERSION

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_MOST_ANSWER_BYTES: Final = 32 * 1024**2
_MOST_SMALL_FILE_BYTES: Final = 256 * 1024**2
_MOST_WEIGHT_BYTES: Final = 2**42
_COMMIT: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")


class HubError(UnavailableError):
    """The hub did not give what was asked for."""


class HubRefusedError(HubError):
    """Asking again the same way will not help."""


class StrangeAnswerError(HubRefusedError):
    """Whoever answers is not a model hub, or means ill."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            "The model hub answered in a way that Tailor does not understand.",
            why=f"{url}: {why}",
            next_step="Ask the person who runs Tailor to check HF_ENDPOINT.",
        )


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Attributes:
        name: a plain name, without a folder.
        size: in bytes.
        sha256: of the content, for large files; None where the hub does not say it.
        git_sha1: git's name for the content, for small files; None where the hub does not say it.
    """

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class HubRepository:
    """What will be downloaded: the wanted files of one commit."""

    hub_id: str
    commit: str
    files: tuple[HubFile, ...]
    licence: str

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


class Hub:
    """A client for one hub address and, for gated models, one token.

    Args:
        url: the hub's address.
        token: sent to the hub's own host alone.
        between: called at least once a second while the hub is waited for; what it raises ends
            the request.
    """

    def __init__(
        self, url: str, token: str = "", between: Callable[[], None] = lambda: None
    ) -> None:
        self._url = url
        self._has_token = bool(token)
        headers = {"User-Agent": f"tailor/{VERSION}", "Accept-Encoding": "identity"}
        if token:
            # httpx drops this header by itself when a redirect leaves the hub.
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            transport=VettedTransport(url, between),
            headers=headers,
            timeout=_TIMEOUT,
            follow_redirects=True,
        )

    def close(self) -> None:
        self._client.close()

    def repository(self, hub_id: str, revision: str | None) -> HubRepository:
        """Return the wanted files of a repository at a revision, or its newest commit.

        Raises:
            HubError: if the hub does not answer or does not give access.
            UnsafeModelError: if there are weights, but as pickles only.
        """
        address = f"{self._url}/api/models/{quote(hub_id)}"
        if revision:
            address += f"/revision/{quote(revision, safe='')}"
        answer = self._ask_for_json(hub_id, address)
        try:
            siblings = [entry for entry in answer["siblings"] if isinstance(entry, dict)]
            commit = str(answer["sha"])
            files = tuple(self._wanted(siblings))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            why = "a part of what it says about the model is missing."
            raise StrangeAnswerError(self._url, why) from error
        if not _COMMIT.fullmatch(commit):
            raise StrangeAnswerError(self._url, "it names no commit.")
        _require_weights(hub_id, files, siblings)
        return HubRepository(hub_id, commit, files, _licence(answer))

    @contextmanager
    def open_file(
        self, repository: HubRepository, file: HubFile, start: int
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a file from a byte on.

        Yields:
            The byte at which the answer really begins (0 if the hub ignored the range), and chunks.

        Raises:
            HubError: if the hub does not answer or does not give access.
        """
        path = f"{quote(repository.hub_id)}/resolve/{quote(repository.commit)}/{quote(file.name)}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        with (
            self._asking(repository.hub_id),
            self._client.stream("GET", f"{self._url}/{path}", headers=headers) as response,
        ):
            response.raise_for_status()
            begins = 0
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                begins = start
                if not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
                    raise StrangeAnswerError(self._url, "it sent another part than was asked for.")
            # Raw: what is counted, resumed and summed up are the file's own bytes.
            yield begins, response.iter_raw()

    def _ask_for_json(self, hub_id: str, address: str) -> dict[str, Any]:
        content = b""
        with (
            self._asking(hub_id),
            self._client.stream("GET", address, params={"blobs": "true"}) as response,
        ):
            response.raise_for_status()
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > _MOST_ANSWER_BYTES:
                    raise StrangeAnswerError(self._url, "its answer has no end.")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StrangeAnswerError(self._url, "its answer is not JSON.") from error
        if not isinstance(answer, dict):
            raise StrangeAnswerError(self._url, "its answer is not about a model.")
        return answer

    @contextmanager
    def _asking(self, hub_id: str) -> Iterator[None]:
        """Turn what can go wrong on the way into sentences."""
        try:
            yield
        except httpx.HTTPStatusError as error:
            raise self._refusal(hub_id, error.response.status_code) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HubError(
                "The model hub does not answer.",
                why=f"The connection to {self._url} failed or broke off.",
                next_step="Check the connection, then continue; what is here already is kept.",
            ) from error

    def _wanted(self, siblings: list[dict[str, Any]]) -> Iterator[HubFile]:
        """Pick configuration, tokenizer and safetensors files of the top folder, once each."""
        named = {str(entry["rfilename"]): entry for entry in siblings}
        weights = {name for name in named if WEIGHT_NAME.fullmatch(name)}
        # Some repositories hold the same weights twice, the second time for another program.
        second = {name for name in weights if name.startswith("consolidated")}
        if second != weights:
            weights -= second
        for name in sorted(weights | (WANTED_NAMES & named.keys())):
            size = int(named[name]["size"])
            most = _MOST_WEIGHT_BYTES if name in weights else _MOST_SMALL_FILE_BYTES
            if not 0 <= size <= most:
                raise StrangeAnswerError(self._url, f"it gives {name} an impossible size.")
            large = named[name].get("lfs")
            yield HubFile(
                name,
                size,
                sha256=_sum(_SHA256, (large or {}).get("sha256")),
                git_sha1=None if large else _sum(_SHA1, named[name].get("blobId")),
            )

    def _refusal(self, hub_id: str, status: int) -> DomainError:
        if status in {401, 403}:
            return HubRefusedError(
                f"The hub does not give {hub_id} to this Tailor.",
                why="The stored access token is not accepted for it, or its name is misspelt."
                if self._has_token
                else "Its makers ask for a click on the model's page and for an access token, or "
                "its name is misspelt.",
                next_step="Accept their terms on the hub, let an administrator store a token, "
                "then try again.",
            )
        if status == httpx.codes.NOT_FOUND:
            return HubRefusedError(
                f"The hub does not know {hub_id}.",
                why="The name or the revision may be misspelt, or the model was withdrawn.",
                next_step="Check the name on the hub and try again.",
            )
        return HubError(
            "The model hub is not well at the moment.",
            why=f"It answered with the status {status}.",
            next_step="Try again in a few minutes; what is here already is kept.",
        )


def _require_weights(
    hub_id: str, files: tuple[HubFile, ...], siblings: list[dict[str, Any]]
) -> None:
    names = {file.name for file in files}
    if any(name.endswith(".safetensors") for name in names):
        if "config.json" not in names:
            raise HubRefusedError(
                f"{hub_id} is not a model that Tailor can read.",
                why="It has no config.json; it may be an adapter, or made for another program.",
                next_step="Check the name, or choose another model.",
            )
        return
    if any(str(entry["rfilename"]).endswith((".bin", ".pt", ".pth")) for entry in siblings):
        raise UnsafeModelError(
            f"{hub_id} offers its weights as Python pickles only, and Tailor never opens those.",
            why="A pickle can run any program when it is read.",
            next_step="Look for the same model with files that end in .safetensors.",
        )
    raise HubRefusedError(
        f"{hub_id} holds no weights that Tailor can read.",
        why="There is no file that ends in .safetensors in its top folder.",
        next_step="Check the name, or choose another model.",
    )


def _sum(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _licence(answer: dict[str, Any]) -> str:
    card = answer.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else None
    return licence[:100] if isinstance(licence, str) else ""
