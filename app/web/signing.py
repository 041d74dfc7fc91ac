"""Signs what a browser carries for Tailor and must not be able to change."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from app.storage.folders import Storage

_KEY_FILE = "web.key"


class Signer:
    """HMAC-SHA-256 under this installation's key, with a purpose so that uses never mix."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signature(self, purpose: str, value: str) -> str:
        digest = hmac.digest(self._key, f"{purpose}\0{value}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_genuine(self, purpose: str, value: str, signature: str) -> bool:
        return hmac.compare_digest(
            self.signature(purpose, value).encode(), signature.encode("utf-8", "replace")
        )


def load_signer(storage: Storage) -> Signer:
    """Read this installation's key, made when first asked for."""
    path = storage.folder("keys") / _KEY_FILE
    if not path.exists():
        _create_key(path)
    return Signer(path.read_bytes())


def _create_key(path: Path) -> None:
    """Create the key such that two processes starting at once end up with the same one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A hard link fails where the name exists, so the first one wins.
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
