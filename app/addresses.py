"""Addresses of services, as people write them: checked, and shown without their passwords."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_PASSWORD: Final = re.compile(r"(?<=://)([^:/@\s]*):\S*@")


def masked(address: str) -> str:
    """Return an address with three stars in the place of its password, if it holds one."""
    return _PASSWORD.sub(r"\1:***@", address)


def checked_database_address(address: str) -> str:
    """Return the address of a database, or raise ValueError with what is wrong with it."""
    address = re.sub(r"^postgres://", "postgresql://", address)
    parts = _split(address)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("//"):
        return address
    if parts.scheme == "sqlite":
        raise ValueError("it must name a whole path, for example sqlite:////srv/tailor/db.sqlite.")
    if parts.scheme in {"postgresql", "postgresql+psycopg"} and len(parts.path) > 1:
        return address
    raise ValueError(
        "it must begin with postgresql:// or sqlite:////, "
        "for example postgresql://tailor:secret@db.example.org/tailor."
    )


def checked_broker_address(address: str) -> str:
    """Return the address of a job queue, or raise ValueError with what is wrong with it."""
    parts = _split(address)
    is_server = parts.scheme in {"redis", "rediss"} and parts.hostname
    is_folder = parts.scheme == "filesystem" and not parts.netloc and len(parts.path) > 1
    if not (is_server or is_folder):
        raise ValueError(
            "it must begin with redis://, rediss:// or filesystem:///, "
            "for example redis://127.0.0.1:6379/0 or filesystem:///srv/tailor/queue."
        )
    return address


def checked_folder_address(address: str) -> str:
    """Return the address of a folder, or raise ValueError with what is wrong with it."""
    parts = _split(address)
    if parts.scheme != "file" or parts.netloc or not parts.path:
        raise ValueError("it must begin with file:///, for example file:///srv/tailor.")
    return address


def checked_web_address(address: str) -> str:
    """Return the address of a web server without its last slash, or raise ValueError."""
    parts = _split(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must begin with http:// or https://.")
    return address.rstrip("/")


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port  # Python looks at the port only when it is asked for.
    except ValueError as error:
        raise ValueError("its host or port cannot be read; a port is a number.") from error
    return parts
