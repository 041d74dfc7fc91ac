"""The model hub: what a repository holds, and its files in byte ranges.

Speaks the hub's public HTTP interface (https://huggingface.co/docs/hub/api and the /resolve/
paths), so any server that does the same can stand in its place (HF_ENDPOINT).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from app.base_models.files import WANTED_NAMES
from app.base_models.safety import UnsafeModelError
from app.base_models.vetted_http import VettedTransport
from app.errors import DomainError, UnavailableError
from app.version import VERSION

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class HubError(UnavailableError):
    """The hub did not give what was asked for."""


class HubRefusedError(HubError):
    """Asking again the same way will not help."""


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; `sha256` is known for the large ones only."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class HubRepository:
    """What will be downloaded: the wanted files of one commit."""

    hub_id: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


class Hub:
    """A client for one hub address and, for gated models, one token."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        headers = {"User-Agent": f"tailor/{VERSION}"}
        if token:
            # httpx drops this header by itself when a redirect leaves the hub.
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            transport=VettedTransport(url), headers=headers, timeout=_TIMEOUT, follow_redirects=True
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
        with self._asking(hub_id):
            response = self._client.get(address, params={"blobs": "true"})
            response.raise_for_status()
            answer = response.json()
            files = tuple(_wanted(answer["siblings"]))
            commit = str(answer["sha"])
        _require_weights(hub_id, files, answer["siblings"])
        return HubRepository(hub_id, commit, files)

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
        path = f"{quote(repository.hub_id)}/resolve/{repository.commit}/{quote(file.name)}"
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            self._asking(repository.hub_id),
            self._client.stream("GET", f"{self._url}/{path}", headers=headers) as response,
        ):
            response.raise_for_status()
            begins = start if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
            yield begins, response.iter_bytes(1024 * 1024)

    @contextmanager
    def _asking(self, hub_id: str) -> Iterator[None]:
        """Turn what can go wrong on the way into sentences."""
        try:
            yield
        except httpx.HTTPStatusError as error:
            raise _refusal(hub_id, error.response.status_code) from error
        except httpx.HTTPError as error:
            raise HubError(
                "The model hub does not answer.",
                why=f"{self._url}: {error or type(error).__name__}.",
                next_step="Check the connection, then continue; what is here already is kept.",
            ) from error
        except (KeyError, ValueError, TypeError) as error:
            raise HubError(
                "The model hub answered in a way that Tailor does not understand.",
                why=f"{self._url}: {error}.",
                next_step="Ask the person who runs Tailor to check HF_ENDPOINT.",
            ) from error


def _wanted(siblings: list[dict[str, Any]]) -> Iterator[HubFile]:
    """Pick configuration, tokenizer and safetensors files of the top folder."""
    names = {str(item["rfilename"]) for item in siblings}
    for item in siblings:
        name = str(item["rfilename"])
        is_weight = name.endswith(".safetensors") and "/" not in name
        # Some repositories hold the same weights twice, the second time for another program.
        if is_weight and name.startswith("consolidated") and len(names) > 1:
            continue
        if is_weight or name in WANTED_NAMES:
            large = item.get("lfs") or {}
            yield HubFile(name, int(item.get("size") or 0), large.get("sha256"))


def _require_weights(
    hub_id: str, files: tuple[HubFile, ...], siblings: list[dict[str, Any]]
) -> None:
    if any(file.name.endswith(".safetensors") for file in files):
        return
    if any(str(item["rfilename"]).endswith((".bin", ".pt", ".pth")) for item in siblings):
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


def _refusal(hub_id: str, status: int) -> DomainError:
    if status in {401, 403}:
        return HubRefusedError(
            f"The hub does not give {hub_id} to this Tailor.",
            why="Its makers ask for a click on the model's page and for an access token.",
            next_step="Accept their terms on the hub, then let an administrator store a token.",
        )
    if status == 404:
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
