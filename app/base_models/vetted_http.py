"""HTTP to the hub that the host chose, and to nowhere inside the host's own network.

The hub answers downloads with redirects to its storage. A redirect, or a name that resolves to
something else the second time, must not lead Tailor to a service behind the firewall
(CVE-2026-5530, CVE-2026-28416). So each name is resolved once, its address is checked, and that
very address is used.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from app.errors import UnavailableError


class ForbiddenAddressError(UnavailableError):
    """The hub led to an address that Tailor does not ask."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "The model hub led to a place that Tailor does not ask.",
            why=f"“{host}” is an address inside a private network, or is not encrypted.",
            next_step="Ask the person who runs Tailor to check HF_ENDPOINT.",
        )


class VettedTransport(httpx.BaseTransport):
    """Sends a request to a checked address of its host.

    Args:
        hub_url: the hub; its own host is trusted, wherever it lies, since the host chose it.
    """

    def __init__(self, hub_url: str) -> None:
        parts = urlsplit(hub_url)
        self._hub = (parts.scheme, parts.hostname, parts.port)
        self._inner = httpx.HTTPTransport(retries=1)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if (url.scheme, url.host, url.port) != self._hub:
            # The Host header still names the host; only the connection goes to the address.
            request = httpx.Request(
                request.method,
                url.copy_with(host=_public_address(url)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def _public_address(url: httpx.URL) -> str:
    if url.scheme != "https":
        raise ForbiddenAddressError(url.host)
    try:
        found = socket.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"{url.host} is not known: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(ipaddress.ip_address(item).is_global for item in addresses):
        raise ForbiddenAddressError(url.host)
    return addresses[0]
