"""HTTP to the hub that the host chose, and to nowhere inside the host's own network.

The hub answers downloads with redirects to its storage. A redirect, or a name that resolves to
something else the second time, must not lead Tailor to a service behind the firewall
(CVE-2026-5530, CVE-2026-28416). So each name is resolved once, its address is checked, and that
very address is used. Every wait is cut into short ones, so that someone who presses “Stop” is
heard while a server says nothing.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import httpx

from app.errors import UnavailableError

_LISTEN_SECONDS: Final = 0.5
_TRY_TO_CONNECT_SECONDS: Final = 3.0
_PORTS: Final = {"http": 80, "https": 443}


class ForbiddenAddressError(UnavailableError):
    """The hub led to an address that Tailor does not ask."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "The model hub led to a place that Tailor does not ask.",
            why=f"“{host[:200]}” is an address inside a private network, or is not encrypted.",
            next_step="Ask the person who runs Tailor to check HF_ENDPOINT.",
        )


class VettedTransport(httpx.HTTPTransport):
    """Sends requests to checked addresses only.

    Args:
        hub_url: the hub; its own host is trusted, wherever it lies, since the host chose it.
        between: called at least once a second while a server is waited for; what it raises ends
            the request.
    """

    def __init__(self, hub_url: str, between: Callable[[], None]) -> None:
        super().__init__()
        parts = urlsplit(hub_url)
        port = parts.port or _PORTS[parts.scheme]
        self._hub = (parts.scheme, parts.hostname, port)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=2,
            network_backend=_VettedNetwork((str(parts.hostname), port), between),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        place = (url.scheme, url.host, url.port or _PORTS.get(url.scheme))
        if place != self._hub and url.scheme != "https":
            raise ForbiddenAddressError(url.host)
        return super().handle_request(request)


class _VettedNetwork(httpcore.NetworkBackend):
    """Connects to the addresses that were checked, not to what a name says a moment later."""

    def __init__(self, trusted: tuple[str, int], between: Callable[[], None]) -> None:
        self._trusted = trusted
        self._between = between
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        self._between()
        addresses = _addresses(host, port, must_be_public=(host, port) != self._trusted)
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    address,
                    port,
                    min(timeout or _TRY_TO_CONNECT_SECONDS, _TRY_TO_CONNECT_SECONDS),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                self._between()
                if address == addresses[-1]:
                    raise
            else:
                return _AttentiveStream(stream, self._between)
        raise httpcore.ConnectError(f"{host} has no address")

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _AttentiveStream(httpcore.NetworkStream):
    """Waits for bytes in short spells and looks up in between."""

    def __init__(self, inner: httpcore.NetworkStream, between: Callable[[], None]) -> None:
        self._inner = inner
        self._between = between

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while True:
            self._between()
            try:
                return self._inner.read(max_bytes, _LISTEN_SECONDS)
            except httpcore.ReadTimeout:
                if time.monotonic() > deadline:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _AttentiveStream(secured, self._between)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (the interface's own type)
        return self._inner.get_extra_info(info)


def _addresses(host: str, port: int, *, must_be_public: bool) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} is not known") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if must_be_public and not all(_is_public(address) for address in addresses):
        raise ForbiddenAddressError(host)
    return addresses


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast
