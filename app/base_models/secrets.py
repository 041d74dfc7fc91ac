"""Secrets that Tailor keeps for the host, such as the hub's token: encrypted, never shown again.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; the secret's name is authenticated with
it, so that one stored secret cannot be put in another's place. The key lies in a file of its own in
the data folder, or comes from TAILOR_SECRET_KEY; a copy of the database alone gives nothing away.
"""

import base64
import binascii
import os
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from app.base_models import repository
from app.errors import DomainError
from app.settings import Settings
from app.storage.folders import Storage, write_atomically

HUB_TOKEN: Final = "hub_token"  # noqa: S105 (the secret's name)
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class SecretKeyError(DomainError):
    """The key does not fit, so the stored secret cannot be read."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "The stored access token cannot be read.",
            why=why,
            next_step="Store the token again, or ask the person who runs Tailor for the right key.",
        )


def store_secret(
    session: Session, settings: Settings, storage: Storage, name: str, value: str
) -> None:
    """Encrypt and keep a secret in place of an earlier one; an empty one is forgotten."""
    if not value:
        repository.delete_secret(session, name)
        return
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
    raw = base64.b64decode(ciphertext)
    try:
        opened = AESGCM(_key(settings, storage)).decrypt(
            raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()
        )
    except InvalidTag as error:
        raise SecretKeyError("It was encrypted with another key.") from error
    return opened.decode()


def _key(settings: Settings, storage: Storage) -> bytes:
    given = settings.secret_key.get_secret_value()
    if given:
        return _checked(given)
    path = storage.folder("keys") / "secret.key"
    if not path.exists():
        write_atomically(path, base64.b64encode(os.urandom(_KEY_BYTES)))
    return _checked(path.read_text(encoding="ascii"))


def _checked(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise SecretKeyError("The secret key is not valid base64.") from error
    if len(key) != _KEY_BYTES:
        raise SecretKeyError(f"The secret key has {len(key)} bytes instead of {_KEY_BYTES}.")
    return key
