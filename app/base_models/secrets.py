"""Secrets that Tailor keeps for the host, such as the hub's token: encrypted, never shown again.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; the secret's name is authenticated with
it, so that one stored secret cannot be put in another's place. The key lies in a file of its own in
the data folder, or comes from TAILOR_SECRET_KEY; a copy of the database alone gives nothing away.
"""

import base64
import binascii
import re
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from app.audit.service import Action, Thing, record
from app.base_models import repository
from app.errors import DomainError, InvalidInputError
from app.settings import SECRET_KEY_BYTES, Settings
from app.storage.durable import create_once
from app.storage.folders import Storage

HUB_TOKEN: Final = "hub_token"  # noqa: S105 (the secret's name)
_TOKEN: Final = re.compile(r"[!-~]{4,500}")
_NONCE_BYTES: Final = 12


class SecretKeyError(DomainError):
    """The key does not fit, so the stored secret cannot be read."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "The stored access token cannot be read.",
            why=why,
            next_step="Store the token again, or ask the person who runs Tailor for the right key.",
        )


class UnusableTokenError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__(
            "This cannot be an access token.",
            why="A token is one word of letters, digits and signs.",
            next_step="Copy it once more from your settings on the hub.",
            field="token",
        )


def store_hub_token(session: Session, settings: Settings, storage: Storage, token: str) -> None:
    """Keep the hub's token.

    Raises:
        UnusableTokenError: if it could not be sent in a request's header.
    """
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise UnusableTokenError
    store_secret(session, settings, storage, HUB_TOKEN, token)
    record(session, Action.HUB_TOKEN_STORED, Thing("access token"))


def forget_hub_token(session: Session) -> None:
    repository.delete_secret(session, HUB_TOKEN)
    record(session, Action.HUB_TOKEN_FORGOTTEN, Thing("access token"))


def has_hub_token(session: Session) -> bool:
    return repository.has_secret(session, HUB_TOKEN)


def store_secret(
    session: Session, settings: Settings, storage: Storage, name: str, value: str
) -> None:
    """Encrypt and keep a secret in place of an earlier one."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(_key(settings, storage)).encrypt(nonce, value.encode(), name.encode())
    repository.put_secret(session, name, base64.b64encode(nonce + sealed).decode())


def read_secret(session: Session, settings: Settings, storage: Storage, name: str) -> str:
    """Return a secret, or an empty string if none is kept.

    Raises:
        SecretKeyError: if it was encrypted with another key.
    """
    ciphertext = repository.secret_ciphertext(session, name)
    if ciphertext is None:
        return ""
    try:
        raw = base64.b64decode(ciphertext)
        opened = AESGCM(_key(settings, storage)).decrypt(
            raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()
        )
    except (InvalidTag, ValueError) as error:
        raise SecretKeyError("It was encrypted with another key.") from error
    return opened.decode()


def _key(settings: Settings, storage: Storage) -> bytes:
    given = settings.secret_key.get_secret_value()
    if given:
        return _checked(given)
    new_key = base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES))
    kept = create_once(storage.folder("keys") / "secret.key", new_key)
    return _checked(kept.decode("utf-8", "replace"))


def _checked(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise SecretKeyError("The secret key is not valid base64.") from error
    if len(key) != SECRET_KEY_BYTES:
        raise SecretKeyError(f"The secret key has {len(key)} bytes instead of {SECRET_KEY_BYTES}.")
    return key
